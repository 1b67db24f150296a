"""Heal with low-rank updates that are merged when training ends.

Hu et al. 2021, arXiv:2106.09685 (LoRA): weight + (alpha / rank) B A, with B zero at first and A as in a fresh linear,
as peft has it. What is trained is laid under a layer's mask or grid, not beside it: a pruned weight stays zero, one on
a grid is rounded as it will be stored (gradients go straight through), and merging changes nothing by a bit.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from laconic import layers, options, training
from laconic.contracts import IN_BLOCKS, PROPERTIES, Sketch, Work
from laconic.errors import RecipeError
from laconic.layers.quantized import Quantized

HELD = ("latent", "weight")  # what a layer in training holds its weight as


@dataclass(frozen=True)
class LoRA(training.Training):
    """Adds `alpha` / `rank` times a product of that rank, of full rank at most; nothing else is trained.

    The rest are training's options.
    """

    rank: int = 8
    alpha: float = 16.0
    where: str = "linears"
    epochs: float = 2
    learning_rate: float = 5e-4

    needs: ClassVar[frozenset[str]] = frozenset({"training"})
    makes: ClassVar[frozenset[str]] = frozenset()
    keeps: ClassVar[frozenset[str]] = PROPERTIES - {"half"}
    adds: ClassVar[bool] = True

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        training.Training.check(self)
        options.whole("rank", self.rank)
        options.positive("alpha", self.alpha)
        options.choice("where", self.where, IN_BLOCKS)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Sizes stay."""
        return sketch

    def apply(self, work: Work) -> None:
        """Train the updates, then merge them."""
        layers.thaw(work.model)
        generator = torch.Generator().manual_seed(work.seed)
        places = []
        for path, module in layers.distinct(work.anatomy.linears(self.where)):
            name = next((name for name in HELD if name in module._parameters), None)
            if name is None:
                held = cast(Any, module).kind
                raise RecipeError(f"{path} is held as {held}, which has no weight to add to; use finetune or distill")
            places.append((module, name))
        with _only(work.model):
            for module, name in places:
                parametrize.register_parametrization(
                    module, name, Update(module, name, self.rank, self.alpha, generator)
                )
            try:
                training.fit(work, self)
            finally:
                for module, name in places:
                    parametrize.remove_parametrizations(module, name)


class Update(nn.Module):
    """Adds alpha / rank x `up` (out, rank) @ `down` (rank, in) to a weight; zeros of one on a grid stay zero."""

    def __init__(self, module: nn.Module, name: str, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        weight = cast(torch.Tensor, getattr(module, name))
        self.turned = isinstance(module, Conv1D)  # holds (in, out)
        self.held = isinstance(module, Quantized)
        rows, columns = reversed(weight.shape) if self.turned else weight.shape
        rank = min(rank, rows, columns)  # more can say no more
        bound = 1 / math.sqrt(columns)
        start = torch.empty(rank, columns).uniform_(-bound, bound, generator=generator)
        self.scale, self.down = alpha / rank, nn.Parameter(start.to(weight))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The updated weight, in the shape the module holds it."""
        change = self.scale * (self.up @ self.down)  # (out, in)
        change = change.t() if self.turned else change
        return weight + torch.where(weight != 0, change, 0.0) if self.held else weight + change


@contextmanager
def _only(model: nn.Module) -> Iterator[None]:
    """No parameter that is there now is trained within."""
    trained = [p for p in model.parameters() if p.requires_grad]
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
