"""Replace attention's projections and the feed-forward by grouped 1x1 convolutions, fitted to what the layers gave.

Iandola et al. 2020, arXiv:2006.11316 (SqueezeBERT: a position-wise layer is a 1x1 convolution, and grouped it costs a
fraction).
Differs from the paper: which inputs and outputs form a group is chosen so that most of the energy stays, and the
weights and bias are the least-squares ones on calibration inputs (He et al. 2017, arXiv:1707.06168), which few tokens
move little from what the dense layer has, where the paper trains from the start in the order as it comes.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from laconic import calibration, effects, layers, options, scoring
from laconic.anatomy.cut import size
from laconic.calibration import original
from laconic.contracts import IN_BLOCKS, Sketch, Work
from laconic.layers.grouped import Grouped
from laconic.maths import grouping, importance


@dataclass(frozen=True)
class Convolve:
    """Every layer that `where` says holds 1 / `groups` of its weights; `permute` chooses what goes together."""

    groups: int = 4
    permute: bool = True
    where: str = "linears"
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"grouped"})
    keeps: ClassVar[frozenset[str]] = frozenset({"narrow", "shallow", "small_vocabulary"})

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.whole("groups", self.groups, 2)
        options.choice("where", self.where, IN_BLOCKS)
        calibration.check(self.samples, self.length)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer parameters in what is replaced."""
        return effects.shrunk(sketch, self.where, 1 / self.groups, 1 / self.groups)

    def apply(self, work: Work) -> None:
        """Fit every layer on the original's inputs, block by block; RecipeError where the groups do not divide one."""
        paths = [path for path, _ in layers.distinct(work.anatomy.whole(self.where))]
        grouping.check(self.groups, {path: size(work.model.get_submodule(path)) for path in paths})
        for path, sums in original.singly(original.grams(work, paths, self.samples, self.length, counted=True)):
            layers.swap(work.model, path, self._fitted(work.model.get_submodule(path), sums))

    @torch.no_grad()
    def _fitted(self, module: nn.Module, sums: torch.Tensor) -> Grouped:
        """The layer in groups; `sums` of x x^T are those of `original.grams`, `counted`."""
        parts = layers.take(module)
        columns = parts.weight.shape[1]
        outputs, inputs = grouping.dealt(parts.weight, sums.diagonal()[:columns], self.groups, permute=self.permute)
        full = scoring.columns(module)  # (out, in) or (out, in + 1)
        found = [
            importance.refit(full[rows_of], sums, columns_of.tolist())
            for rows_of, columns_of in zip(outputs.chunk(self.groups), inputs.chunk(self.groups), strict=True)
        ]  # each (out / groups, in / groups), or + 1
        filters, bias = grouping.parted(found, outputs, columns // self.groups)
        return Grouped.of(filters, bias, (outputs, inputs) if self.permute else None).train(module.training)
