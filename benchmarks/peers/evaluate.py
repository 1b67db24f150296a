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
from laconic import answers, checkpoint, data, trained
from laconic.contracts import Example, Task
from laconic.tasks.lm import LM

EXAMPLES = 1000  # of an encoder's validation split, at least, spread over it


class Judge:
    """A model and the texts it is scored on; weights are put into it by name."""

    def __init__(self, folder: Path) -> None:
        self.task: Task = LM()
        self.examples: Sequence[Example]
        if trained.is_trained(folder):
            origin = trained.read(folder)
            self.task = origin.task
            found = data.read_splits(origin.data(), self.task, origin.seed, progress=False).validation
            self.examples = found[:: max(1, len(found) // EXAMPLES)]
        else:
            self.examples = inputs.texts("validation")
        self.tokenizer = checkpoint.tokenizer(folder)
        self.model = checkpoint.model(self.task.auto, folder).eval()
        self.features = self.task.encode(self.examples, self.tokenizer, answers=False)
        self.said: Sequence[np.ndarray] | None = None  # by the float model
        self.float = self.score(None)

    def score(self, dense: Path | None, activations: int | None = None) -> dict[str, float]:
        """Figures with the dense weights of a file, or with those that the judge holds; `nats` are the loss."""
        if dense is not None:
            held = {name: t for name, t in load_file(dense).items() if not name.endswith("rotary_emb.inv_freq")}
            own = dict(self.model.named_parameters(remove_duplicate=False))
            unknown, missing = set(held) - set(own), {n for n, _ in self.model.named_parameters()} - set(held)
            if unknown or missing:
                raise SystemExit(f"{dense} has other tensors than the model: {sorted(unknown | missing)[:4]}")
            with torch.no_grad():
                for name, tensor in held.items():
                    own[name].copy_(tensor)
        with ExitStack() as stack:
            for _, module in frame.linears(self.model) if activations else []:
                stack.callback(module.register_forward_pre_hook(rounding(activations or 8)).remove)
            raw = answers.outputs(self.model, self.task, self.features, self.tokenizer.pad_token_id or 0)
        predictions = self.task.predict(raw, self.features, self.examples)
        found = self.task.score(predictions, self.examples)
        if "bits_per_byte" in found:
            return {"nats": math.log(found["perplexity"]), "bits_per_byte": found["bits_per_byte"]}
        bits = self.task.bits(raw, self.features, self.examples)
        self.said = self.said or raw
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
