"""Replace attention's projections and the feed-forward by depthwise-separable convolutions, fitted to what they gave.

Howard et al. 2017, arXiv:1704.04861 (depthwise along the text, then pointwise); Iandola et al. 2020, arXiv:2006.11316
(the pointwise part grouped).
Differs from the papers: the filters and the groups' weights are fitted to the dense layer on calibration inputs, in
turn, from the grouped layer that `convolve` makes, and never lose more there; and the filters read back only, by which
a text's answer does not depend on the padding behind it.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from laconic import calibration, effects, layers, options
from laconic.anatomy.cut import size
from laconic.calibration import original
from laconic.contracts import IN_BLOCKS, Sketch, Work
from laconic.errors import RecipeError
from laconic.layers.grouped import Grouped
from laconic.layers.separable import Separable as Layer
from laconic.maths import grouping, separable


@dataclass(frozen=True)
class Separable:
    """Every layer that `where` says reads `taps` positions, a filter for each channel, and then in `groups`."""

    groups: int = 4
    taps: int = 3
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
        options.whole("taps", self.taps, 2)
        options.choice("where", self.where, IN_BLOCKS)
        calibration.check(self.samples, self.length)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer parameters in what is replaced, and the filters."""
        left = min(1.0, 1 / self.groups + self.taps / sketch.hidden)
        return effects.shrunk(sketch, self.where, left, left)

    def apply(self, work: Work) -> None:
        """Fit every layer on the original's inputs, block by block.

        RecipeError where the groups do not divide a layer, or where no part of the model reads its texts whole.
        """
        places = _whole_texts(work)
        paths = [path for path, _ in layers.distinct(work.anatomy.whole(self.where)) if path.startswith(places)]
        grouping.check(self.groups, {path: size(work.model.get_submodule(path)) for path in paths})
        for path, sums in original.singly(original.grams(work, paths, self.samples, self.length, taps=self.taps)):
            layers.swap(work.model, path, self._fitted(work.model.get_submodule(path), sums))

    @torch.no_grad()
    def _fitted(self, module: nn.Module, sums: torch.Tensor) -> Layer:
        """The layer in two parts; `sums` of u u^T over its inputs and those before them, as `separable.fit` has u."""
        parts = layers.take(module)
        rows, columns = parts.weight.shape
        outputs, inputs = grouping.dealt(parts.weight, sums.diagonal()[:columns], self.groups, permute=self.permute)
        full = torch.cat([parts.weight, parts.weight.new_zeros(rows, (self.taps - 1) * columns)], 1)
        if parts.bias is not None:
            full = torch.cat([full, parts.bias[:, None]], 1)  # (out, u)
        kernel, found = full.new_zeros(self.taps, columns), []
        for rows_of, columns_of in zip(outputs.chunk(self.groups), inputs.chunk(self.groups), strict=True):
            matrix, kernel[:, columns_of] = separable.fit(full[rows_of], sums, columns_of, self.taps)
            found.append(matrix)  # (out / groups, in / groups), or + 1
        filters, bias = grouping.parted(found, outputs, columns // self.groups)
        pointwise = Grouped.of(filters, bias, (outputs, inputs) if self.permute else None)
        return Layer.of(pointwise.train(module.training), kernel)


def _whole_texts(work: Work) -> tuple[str, ...]:
    """Beginnings of the paths of the blocks that see a text whole whenever they run; RecipeError where there are none.

    A decoder that writes is given one token at a time. What it remembers of those before is their keys and values, not
    what entered its layers.
    """
    model = work.model
    if getattr(model.config, "chunk_size_feed_forward", 0):
        raise RecipeError("chunk_size_feed_forward cuts texts before the feed-forward; set it to 0 for separable")
    blocks = [block for stack in work.anatomy.stacks for block in stack.blocks]
    if model.can_generate():
        blocks = [block for block in blocks if model.config.is_encoder_decoder and block.cross is None]
    if not blocks:
        raise RecipeError(
            f"{type(model).__name__} writes token by token and remembers keys and values, not what entered its layers, "
            "so a filter of separable would have nothing to read; use convolve, which reads no other position"
        )
    return tuple(f"{block.path}." for block in blocks)
