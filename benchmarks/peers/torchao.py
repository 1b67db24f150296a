"""torchao: weight-only rounding to nearest.

No paper: https://github.com/pytorch/ao as its documentation uses it. Its CPU kernels aside, the layers hold each number
in a byte, whatever its bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torchao.quantization import IntxWeightOnlyConfig, MappingType, PerAxis, PerGroup, quantize_

from benchmarks.peers import frame


def compress(model: Any, job: frame.Job) -> Any:
    """`quantize_` on the linears of the blocks."""
    group = job.setting["group"]
    config = IntxWeightOnlyConfig(
        weight_dtype=getattr(torch, f"int{job.setting['bits']}"),
        granularity=PerAxis(0) if group == "channel" else PerGroup(group),
        mapping_type=MappingType.SYMMETRIC if job.setting["symmetric"] else MappingType.ASYMMETRIC,
    )
    chosen = {path for path, _ in frame.linears(model)}
    quantize_(model, config, filter_fn=lambda _, path: path in chosen)
    return model


@torch.no_grad()
def leave(model: Any, job: frame.Job) -> tuple[dict[str, torch.Tensor], int]:
    """Weights as its tensors give them back; its own state is saved by torch.save, as its documentation does."""
    chosen = {f"{path}.weight" for path, _ in frame.linears(model)}
    dense = {n: p.dequantize() if n in chosen else p for n, p in model.named_parameters()}
    (job.out / frame.OWN).mkdir(exist_ok=True)
    torch.save(model.state_dict(), job.out / frame.OWN / "model.pt")
    return dense, frame.weigh(job.out / frame.OWN)


if __name__ == "__main__":
    frame.run(frame.opened, compress, leave)
