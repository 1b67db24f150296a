"""The loss of dense weights on texts that no tool has seen, by Laconic's own task: nats a token and bits a byte of a
decoder, nats an example and the score of an encoder, and how far its answers are from those of the float model.

No paper: measurement. With `activations`, what enters each linear of the blocks is rounded token by token, since a tool
that rounds inputs says so of the same linears.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.peers import frame, inputs
from laconic import answers, checkpoint, trained
from laconic.contracts import Example, Task
from laconic.tasks.lm import LM

EXAMPLES = 1000  # of an encoder's validation split


class Judge:
    """A model and the texts it is scored on; weights are put into it by name."""

    def __init__(self, folder: Path) -> None:
        self.task: Task = LM()
        self.examples: Sequence[Example]
        if trained.is_trained(folder):
            origin, held = inputs.splits(folder)
            self.task, self.examples = origin.task, inputs.spread(held.validation, EXAMPLES)
        else:
            self.examples = inputs.texts("validation")
        self.tokenizer = checkpoint.tokenizer(folder)
        self.model = checkpoint.model(self.task.auto, folder).eval()
        self.features = self.task.encode(self.examples, self.tokenizer, answers=False)
        self.said = self.outputs()  # by the float model
        self.float = self.figures(self.said)

    def score(self, dense: Path, activations: int | None = None) -> dict[str, float]:
        """Figures with the dense weights of a file; ValueError where they are not those of the model."""
        self.put(dense)
        with ExitStack() as stack:
            for _, module in frame.linears(self.model) if activations else []:
                stack.callback(module.register_forward_pre_hook(rounding(activations or 8)).remove)
            return self.figures(self.outputs())

    def put(self, dense: Path) -> None:
        """Take the weights of a file."""
        held = {name: t for name, t in load_file(dense).items() if not name.endswith("rotary_emb.inv_freq")}
        own = dict(self.model.named_parameters(remove_duplicate=False))
        unknown, missing = set(held) - set(own), {n for n, _ in self.model.named_parameters()} - set(held)
        if unknown or missing:
            raise ValueError(f"its dense weights are not the model's tensors: {sorted(unknown | missing)[:4]}")
        with torch.no_grad():
            for name, tensor in held.items():
                own[name].copy_(tensor)

    def outputs(self) -> Sequence[np.ndarray]:
        """What the model says of the examples."""
        return answers.outputs(self.model, self.task, self.features, self.tokenizer.pad_token_id or 0)

    def figures(self, raw: Sequence[np.ndarray]) -> dict[str, float]:
        """`nats` are the loss."""
        predictions = self.task.predict(raw, self.features, self.examples)
        found = self.task.score(predictions, self.examples)
        if "bits_per_byte" in found:
            return {"nats": math.log(found["perplexity"]), "bits_per_byte": found["bits_per_byte"]}
        bits = self.task.bits(raw, self.features, self.examples)
        apart = sum(map(divergence, self.said, raw)) / len(self.examples)
        return {"nats": bits * math.log(2) / len(self.examples), "score": found[self.task.main], "divergence": apart}


def divergence(before: np.ndarray, after: np.ndarray) -> float:
    """Kullback-Leibler, in nats, of answers from those of the float model: logits (labels,), or (slots, labels)."""
    p, q = (torch.from_numpy(logits).double().log_softmax(-1) for logits in (before, after))
    return float((p.exp() * (p - q)).sum())


def rounding(bits: int) -> Any:
    """A hook that rounds inputs (..., in) to a symmetric grid whose scale is each token's own."""

    def hook(_: Any, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        x = given[0]
        scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / (2 ** (bits - 1) - 1)
        return ((x / scale).round() * scale,)

    return hook
