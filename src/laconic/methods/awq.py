"""Scale channels up where inputs are large, so that rounding harms them less, and search the ranges by output error.

Lin et al. 2023, arXiv:2306.00978: s = (size of the input)^alpha, alpha searched for each group of linears that share an
input; scales are folded into what feeds them, so that the float model's function stays.
Differs from the paper: the size is the root mean square, and the error of a candidate comes from the sum of x x^T, so
that all layers cost one pass over the examples, which goes through the original block by block; ranges are searched for
each alpha and not only for the one that was best without; those of query and key are searched as well, which the
authors' code leaves whole.
"""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import torch

from laconic import calibration, effects, layers, options
from laconic.anatomy import Feed
from laconic.calibration import original
from laconic.contracts import WITH_INPUTS, Sketch, Work
from laconic.layers.quantized import Quantized
from laconic.maths import clip, grid, hessian

STEPS = 20  # of alpha, from 0 to below 1, as in the paper
LEAST = 1e-4  # of the largest input: a channel that hardly fires gets no smaller scale


@dataclass(frozen=True)
class AWQ:
    """`clipping` searches each group's range by output error; without it, by the weights' own error."""

    bits: int = 4
    group: grid.Group = 128
    symmetric: bool = False
    where: str = "linears"
    clipping: bool = True
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit"})
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"sparse", "narrow", "shallow", "tied", "small_vocabulary", "low_rank", "grouped"}
    )

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, WITH_INPUTS)
        calibration.check(self.samples, self.length)
        grid.check(self.bits, self.group)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer bits a weight, scales included."""
        return effects.on_grid(sketch, self.where, self.bits, self.group, self.symmetric)

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Sum up the inputs of a block, fold its scales, then round it; the next is seen as if it were not."""
        feeds, reasons = work.anatomy.feeds(self.where)
        for reason, count in Counter(reasons.values()).items():
            work.log(f"  awq leaves {count} linears unscaled: {reason}")
        pairs = layers.distinct(work.anatomy.linears(self.where))
        first = {path: feed.readers[0] for feed in feeds for path in feed.readers}  # they share its inputs
        read: dict[str, list[tuple[str, torch.nn.Module]]] = {}  # by the path whose sums are a layer's
        for path, module in pairs:
            read.setdefault(first.get(path, path), []).append((path, module))
        for grams in original.grams(work, list(read), self.samples, self.length):
            for feed in feeds:
                if feed.readers[0] in grams:
                    self._fold(work, feed, grams)
            for source, gram in original.each(grams):
                for path, module in read[source]:
                    layers.swap(work.model, path, self._rounded(module, gram))

    def _fold(self, work: Work, feed: Feed, grams: dict[str, torch.Tensor]) -> None:
        """Fold the best scales of one feed; its inputs are then those divided by them."""
        gram = grams[feed.readers[0]]
        weights = [layers.take(work.model.get_submodule(p)).weight.detach().float() for p in feed.readers]
        columns = torch.tensor(feed.columns, device=gram.device)
        scales = self._scales(weights, gram[: len(columns), : len(columns)], columns, len(feed.rows))
        if scales is None:
            return
        feed.fold(work.model, scales)
        whole = gram.new_ones(len(gram))  # a last column for the bias has no scale
        whole[: len(columns)] = scales[columns]
        grams[feed.readers[0]] = gram / whole / whole[:, None]

    def _scales(
        self, weights: list[torch.Tensor], gram: torch.Tensor, columns: torch.Tensor, rows: int
    ) -> torch.Tensor | None:
        """The best scales (rows,) of linears (out, in) with one input, or None where none helps."""
        sums = gram.new_zeros(rows).index_add(0, columns, gram.diagonal())  # (rows,)
        size = (sums / gram.new_zeros(rows).index_add(0, columns, torch.ones_like(gram.diagonal()))).sqrt()
        if not size.max() > 0:
            return None
        size = size.clamp(min=LEAST * float(size.max()))
        best, least = None, float("inf")
        for step in range(STEPS):
            tried = size ** (step / STEPS)
            tried = tried / (tried.max() * tried.min()).sqrt()
            wide = tried[columns]  # (in,)
            scaled = gram / wide / wide[:, None]
            error = sum(self._error(weight * wide, scaled) for weight in weights)
            if error < least:
                best, least = tried if step else None, error
        return best

    def _error(self, weight: torch.Tensor, gram: torch.Tensor) -> float:
        """Error of the outputs on the ranges that are used in the end."""
        if self.clipping:
            return clip.fit(weight, gram, self.bits, self.group, self.symmetric)[2]
        found = grid.fit(weight, self.bits, self.group, self.symmetric)
        return float(hessian.loss(weight, grid.snap(weight, *found, self.bits, self.group), gram).sum())

    def _rounded(self, module: torch.nn.Module, gram: torch.Tensor) -> Quantized:
        """The layer on its grid."""
        weight = layers.take(module).weight.detach().float().contiguous()  # (out, in)
        columns = weight.shape[1]
        scale, zero = grid.fit(weight, self.bits, self.group, self.symmetric)
        if self.clipping:
            scale, zero, _ = clip.fit(weight, gram[:columns, :columns], self.bits, self.group, self.symmetric)
        return Quantized.of(module, bits=self.bits, group=self.group, symmetric=self.symmetric, scale=scale, zero=zero)
