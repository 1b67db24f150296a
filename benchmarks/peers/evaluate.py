"""The loss of dense weights on texts that no tool has seen: nats a token and bits a byte, by Laconic's own task.

No paper: measurement. With `activations`, what enters each linear of the blocks is rounded token by token, since a tool
that rounds inputs says so of the same linears.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.peers import frame, inputs
from laconic import answers, checkpoint
from laconic.tasks.lm import LM


class Judge:
    """A model and the texts it is scored on; weights are put into it by name."""

    def __init__(self, folder: Path) -> None:
        self.task = LM()
        self.tokenizer = checkpoint.tokenizer(folder)
        self.model = checkpoint.model(LM.auto, folder).eval()
        self.examples = inputs.texts("validation")
        self.features = self.task.encode(self.examples, self.tokenizer, answers=False)
        self.float = self.score(None)

    def score(self, dense: Path | None, activations: int | None = None) -> dict[str, float]:
        """Nats a token and bits a byte with the dense weights of a file, or with those that the judge holds."""
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
        return {"nats_per_token": math.log(found["perplexity"]), "bits_per_byte": found["bits_per_byte"]}


def rounding(bits: int) -> Any:
    """A hook that rounds inputs (..., in) to a symmetric grid whose scale is each token's own."""

    def hook(_: Any, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        x = given[0]
        scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-12) / (2 ** (bits - 1) - 1)
        return ((x / scale).round() * scale,)

    return hook
