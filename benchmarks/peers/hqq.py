"""HQQ: half-quadratic quantization.

No paper: https://github.com/mobiusml/hqq as its documentation uses it, scales along the inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

from benchmarks.peers import frame


def compress(model: Any, job: frame.Job) -> Any:
    """Every linear of the blocks becomes one of HQQ's."""
    group = None if job.setting["group"] == "channel" else job.setting["group"]
    config = BaseQuantizeConfig(nbits=job.setting["bits"], group_size=group, axis=1)
    for path, module in frame.linears(model):
        layer = HQQLinear(module, config, compute_dtype=torch.float32, device="cpu")
        holder, name = path.rsplit(".", 1)
        setattr(model.get_submodule(holder), name, layer)
    return model


@torch.no_grad()
def leave(model: Any, job: frame.Job) -> tuple[dict[str, torch.Tensor], int]:
    """What its layers compute with; its own state is saved as its documentation does, by torch.save."""
    held = {path: m for path, m in model.named_modules() if isinstance(m, HQQLinear)}
    inside = tuple(f"{path}." for path in held)
    dense = {n: p for n, p in model.named_parameters() if not n.startswith(inside)}
    own = {n: p.detach() for n, p in dense.items()}
    dense |= {f"{path}.weight": layer.dequantize() for path, layer in held.items()}
    dense |= {f"{path}.bias": layer.bias for path, layer in held.items() if layer.bias is not None}
    (job.out / frame.OWN).mkdir(exist_ok=True)
    torch.save({**own, **{path: layer.state_dict() for path, layer in held.items()}}, job.out / frame.OWN / "model.pt")
    return dense, frame.weigh(job.out / frame.OWN)


if __name__ == "__main__":
    frame.run(frame.opened, compress, leave)
