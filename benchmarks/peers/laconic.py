"""Laconic under the same frame as the peers: a method by its name, the artifact's weights as it stores them.

No paper: measurement.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import frame
from laconic import artifact, checkpoint, layers, methods, tasks, trained, units
from laconic.contracts import Example, Feature, Splits, Task, Work
from laconic.errors import RecipeError
from laconic.tasks.lm import LM

RECIPES: dict[str, list[dict[str, Any]]] = {
    "gptq-best": [{"method": "gptq", "scale": "best"}],
    "gptq-propagate": [{"method": "gptq", "scale": "best", "propagate": 1.0}],
    "sparsegpt-propagate": [{"method": "sparsegpt", "propagate": 1.0}],
    "smoothquant": [{"method": "smoothquant"}, {"method": "gptq"}],
    "taylor": [{"method": "neurons", "importance": "taylor"}],
    "activation": [{"method": "neurons", "importance": "activation"}],
}
"""What a setting's method is here, where it is not one of the same name."""


@dataclass(frozen=True)
class Windows(LM):
    """Language modelling on texts that are tokens already: an example is {"ids": [...]}, one window."""

    def encode(self, examples: Sequence[Example], tokenizer: Any, *, answers: bool) -> list[Feature]:
        """A window predicts all tokens but its first."""
        features = []
        for i, example in enumerate(examples):
            ids = example["ids"]
            feature = {"example": [i], "input_ids": ids, "attention_mask": [1] * len(ids), "uncoded": [0]}
            feature |= {"choices": [1], "slots": list(range(len(ids) - 1))}
            features.append(feature | ({"labels": ids[1:]} if answers else {}))
        return features

    def answers(self, example: Example) -> int:
        """A token each."""
        return len(example["ids"])

    def unit(self, example: Example) -> str:
        """Tokens are counted."""
        return "token"


def steps(setting: dict[str, Any]) -> list[Any]:
    """The recipe that a setting asks for, each method with those of the setting's options that it has."""
    found = []
    for step in RECIPES.get(setting["method"], [setting]):
        kind = units.find(methods, step["method"], RecipeError)
        fields = {field.name for field in dataclasses.fields(kind)}
        given = {"where": "linears", **setting, **step}
        found.append(kind(**{key: value for key, value in given.items() if key in fields}))
        found[-1].check()
    return found


def task_of(job: frame.Job) -> Task:
    """What the examples are of, which must have the features that the peers are given."""
    if not trained.is_trained(job.folder):
        return Windows()
    described = json.loads((job.folder / trained.RUN_FILE).read_text(encoding="utf-8"))["task"]
    task = tasks.build(**described)
    features = task.encode(job.examples, checkpoint.tokenizer(job.folder), answers=False)
    if [feature["input_ids"] for feature in features] != job.tokens:
        raise SystemExit("the samples are not those of the examples")
    return task


def compress(model: Any, job: frame.Job) -> Any:
    """Apply the methods as a recipe does."""
    tokenizer = checkpoint.tokenizer(job.folder)
    task, examples = task_of(job), job.examples
    config = model.config.to_dict()
    splits = Splits(examples, examples, "0" * 64)
    setting = {"samples": len(examples), **job.setting}
    work = Work(model, tokenizer, task, splits, None, 0, job.out, False, lambda _: None)
    for method in steps(setting):
        method.apply(work)
    layers.freeze(work.model)
    job.state |= {"tokenizer": tokenizer, "config": config, "task": tasks.describe(task)}
    return work.model


def leave(model: Any, job: frame.Job) -> tuple[dict[str, torch.Tensor], int]:
    """Dense weights, and the artifact's weights file."""
    held = dict(layers.held(model))
    inside = tuple(f"{path}." for path in held)
    dense = {name: t for name, t in model.state_dict().items() if not name.startswith(inside)}
    for path, layer in held.items():
        parts = layers.take(layer)
        dense[f"{path}.weight"] = parts.weight
        if parts.bias is not None:
            dense[f"{path}.bias"] = parts.bias
    folder = job.out / frame.OWN
    artifact.save(
        folder, model, job.state["tokenizer"], task=job.state["task"], recipe=None, provenance={}, measures={},
        base_config=job.state["config"],
    )  # fmt: skip
    return dense, frame.weigh(folder)


def opened(folder: Path) -> Any:
    """The model as Laconic opens it."""
    return (trained.read(folder).model if trained.is_trained(folder) else checkpoint.model(LM.auto, folder)).eval()


if __name__ == "__main__":
    frame.run(opened, compress, leave)
