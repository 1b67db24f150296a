"""Torch-Pruning: feed-forward neurons, by first-order Taylor importance or magnitude.

No paper: https://github.com/VainF/Torch-Pruning as its documentation uses it on language models, hidden width and
attention left alone. It has no step that fits what is left.
"""

from __future__ import annotations

from typing import Any

import torch
import torch_pruning
from safetensors.torch import save_file

from benchmarks.peers import frame

ROWS = ("gate_proj", "up_proj", "intermediate.dense")  # that have a row for each neuron
IMPORTANCE = {
    "taylor": torch_pruning.importance.GroupTaylorImportance,
    "magnitude": torch_pruning.importance.GroupMagnitudeImportance,
}


def compress(model: Any, job: frame.Job) -> Any:
    """One step of its pruner, with gradients of the calibration tokens where the importance wants them."""
    model.config.use_cache = False
    if job.method == "taylor":
        for i, answer in enumerate(job.answers):
            said = model(**job.batch(i)).logits[0]  # (tokens, labels), or (labels,)
            said = said[answer["slots"]] if "slots" in answer else said[None]
            torch.nn.functional.cross_entropy(said, torch.tensor(answer["labels"]), reduction="sum").backward()
    cut = [m for path, m in frame.linears(model) if path.endswith(ROWS)]
    others = [m for m in model.modules() if not list(m.children()) and m not in cut]
    pruner = torch_pruning.pruner.BasePruner(
        model, example_inputs=job.batch(0), importance=IMPORTANCE[job.method](),
        pruning_ratio=1 - job.setting["keep"], ignored_layers=others, output_transform=lambda out: out.logits.sum(),
    )  # fmt: skip
    pruner.step()
    return model.eval()


@torch.no_grad()
def leave(model: Any, job: frame.Job) -> tuple[dict[str, torch.Tensor], int]:
    """The parameters that are left, in float32."""
    dense = {n: p.detach().contiguous() for n, p in model.named_parameters()}
    (job.out / frame.OWN).mkdir(exist_ok=True)
    save_file(dense, job.out / frame.OWN / "model.safetensors")
    return dense, frame.weigh(job.out / frame.OWN)


if __name__ == "__main__":
    frame.run(frame.opened, compress, leave)
