"""GPTQModel: GPTQ, and GPTAQ (Li et al. 2025, arXiv:2504.02692), which follows the outputs of the original.

No paper: https://github.com/ModelCloud/GPTQModel as its documentation uses it, with its columns in the order of their
inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
from gptqmodel.quantization.config import GPTAQConfig

from benchmarks.peers import frame


def compress(model: Any, job: frame.Job) -> Any:
    """`quantize` of a model that it opens itself; saved and opened again, as only then its layers compute rightly."""
    group = -1 if job.setting["group"] == "channel" else job.setting["group"]
    config = QuantizeConfig(
        bits=job.setting["bits"],
        group_size=group,
        sym=job.setting["symmetric"],
        desc_act=True,
        device="cpu",
        offload_to_disk=False,
        gptaq=GPTAQConfig(device="cpu") if job.setting["method"] == "gptaq" else None,
    )
    tool = GPTQModel.load(str(job.folder), config, dtype=torch.float32)
    samples = [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in job.tokens]
    tool.quantize(samples, batch_size=8, backend=BACKEND.TORCH)
    tool.save(str(job.out / frame.OWN))
    made = GPTQModel.load(str(job.out / frame.OWN), backend=BACKEND.TORCH, device="cpu", dtype=torch.float16)
    job.state["rest"] = model
    return made.model.float()


@torch.no_grad()
def leave(model: Any, job: frame.Job) -> tuple[dict[str, torch.Tensor], int]:
    """Weights as its layers compute with them; the rest as it was, which it opens in float16."""
    held = {path: m for path, m in model.named_modules() if hasattr(m, "dequantize_weight")}
    dense = dict(job.state["rest"].named_parameters())
    dense |= {f"{path}.weight": layer.dequantize_weight().t() for path, layer in held.items()}
    return dense, frame.weigh(job.out / frame.OWN)


if __name__ == "__main__":
    frame.run(frame.opened, compress, leave)
