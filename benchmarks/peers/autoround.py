"""AutoRound: learned rounding by signed gradient descent.

No paper: https://github.com/intel/auto-round as its documentation uses it, with its default of 200 steps a block;
in float32, since it would round embeddings and norms to bfloat16 as well.
"""

from __future__ import annotations

from typing import Any

import torch
from auto_round import AutoRound
from transformers import AutoTokenizer

from benchmarks.peers import frame

BATCH = 8


def compress(model: Any, job: frame.Job) -> Any:
    """`quantize` on batches of the calibration tokens."""
    rows = torch.tensor(job.tokens)
    batches = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in rows.split(BATCH)]
    group = -1 if job.setting["group"] == "channel" else job.setting["group"]
    job.state["tool"] = AutoRound(
        model, AutoTokenizer.from_pretrained(str(job.folder)), bits=job.setting["bits"], group_size=group,
        sym=job.setting["symmetric"], dataset=batches, seqlen=rows.shape[1], nsamples=len(rows), batch_size=BATCH,
        device_map="cpu", enable_torch_compile=False, amp=False,
    )  # fmt: skip
    made, _ = job.state["tool"].quantize()
    return made


@torch.no_grad()
def leave(model: Any, job: frame.Job) -> tuple[dict[str, torch.Tensor], int]:
    """The weights as it leaves them rounded in the model; its own format is the one of GPTQ's layers."""
    dense = {n: p.detach().clone() for n, p in model.named_parameters()}
    job.state["tool"].save_quantized(str(job.out / frame.OWN), format="auto_gptq", inplace=True)
    return dense, frame.weigh(job.out / frame.OWN)


if __name__ == "__main__":
    frame.run(frame.opened, compress, leave)
