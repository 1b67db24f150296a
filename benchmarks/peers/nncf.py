"""NNCF: weight compression to 8 and 4 bits, rounded to nearest or with its AWQ and scale estimation.

No paper: https://github.com/openvinotoolkit/nncf as its documentation uses it on PyTorch models; embeddings and head
are left as they are, as every tool here leaves them.
"""

from __future__ import annotations

from typing import Any

import nncf
import torch
from nncf.torch.function_hook import get_hook_storage

from benchmarks.peers import frame


def compress(model: Any, job: frame.Job) -> Any:
    """`compress_weights` of the linears of the blocks."""
    bits, group = job.setting["bits"], job.setting["group"]
    model.config.use_cache = False
    samples = [job.batch(i) for i in range(len(job.samples))]
    mode = nncf.CompressWeightsMode(f"int{bits}_{'sym' if job.setting['symmetric'] else 'asym'}")
    options: dict[str, Any] = {"mode": mode}
    if bits < 8:
        options |= {"group_size": -1 if group == "channel" else group, "ratio": 1.0}
    if job.method == "awq":
        options |= {"awq": True, "scale_estimation": True, "subset_size": len(samples)}
    tables = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Embedding)]
    kept = nncf.IgnoredScope(patterns=[f"{path.replace('.', '/')}/.*" for path in (*tables, *frame.others(model))])
    return nncf.compress_weights(model, dataset=nncf.Dataset(samples), ignored_scope=kept, **options)


@torch.no_grad()
def leave(model: Any, job: frame.Job) -> tuple[dict[str, torch.Tensor], int]:
    """Weights as its hooks on them make them; its own state is saved by torch.save."""
    hooks = get_hook_storage(model)
    dense = dict(model.named_parameters())
    for path, _ in frame.linears(model):
        name = f"{path}.weight"
        dense[name] = hooks.execute_post_function_hooks(f"{path.replace('.', ':')}:weight", 0, dense[name])
        if not dense[name].is_floating_point():
            raise SystemExit(f"{name} has no hook that decompresses it")
    (job.out / frame.OWN).mkdir(exist_ok=True)
    torch.save(model.state_dict(), job.out / frame.OWN / "model.pt")
    return {n: t for n, t in dense.items() if not n.startswith("__nncf")}, frame.weigh(job.out / frame.OWN)


if __name__ == "__main__":
    frame.run(frame.opened, compress, leave)
