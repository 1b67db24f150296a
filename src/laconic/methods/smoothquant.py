"""Move the difficulty of large input channels into the weights, so that both fit 8 bits; the function stays.

Xiao et al. 2022, arXiv:2211.10438, eq. 4: s = max|x|^alpha / max|w|^(1 - alpha) per channel, inputs divided and weights
multiplied by it. What computes on int8 inputs, or a step that rounds the weights, comes after.
Differs from the paper: scales are folded wherever that is exact, into values and ungated neurons as well as into norms.
"""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import torch

from laconic import calibration, layers, options, scoring
from laconic.contracts import IN_BLOCKS, Sketch, Work
from laconic.errors import AnatomyError

LEAST = 1e-5  # of a channel's range, as in the paper's code


@dataclass(frozen=True)
class SmoothQuant:
    """`alpha` is how much of the difficulty moves, above 0: near 0 weights are levelled, at 1 the inputs."""

    alpha: float = 0.5
    where: str = "linears"
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset()
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"sparse", "narrow", "shallow", "tied", "small_vocabulary", "low_rank", "grouped"}
    )
    scales: ClassVar[bool] = True

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, IN_BLOCKS)
        calibration.check(self.samples, self.length)
        options.fraction("alpha", self.alpha)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Sizes stay."""
        return sketch

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Find all ranges in one pass, then fold."""
        feeds, reasons = work.anatomy.feeds(self.where)
        if not feeds:
            raise AnatomyError(f"no linear of this model can be smoothed: {'; '.join(sorted(set(reasons.values())))}")
        for reason, count in Counter(reasons.values()).items():
            work.log(f"  smoothquant leaves {count} linears as they are: {reason}")
        peaks = scoring.peaks(work, [feed.readers[0] for feed in feeds], self.samples, self.length)
        for feed in feeds:
            if feed.readers[0] in peaks:
                inputs = peaks[feed.readers[0]]  # (in,)
                weights = [layers.take(work.model.get_submodule(p)).weight.detach().abs() for p in feed.readers]
                columns = torch.tensor(feed.columns, device=inputs.device)
                start = inputs.new_zeros(len(feed.rows))
                x, w = (
                    start.scatter_reduce(0, columns, high, "amax").clamp(min=LEAST)
                    for high in (inputs, torch.cat(weights).amax(0))
                )  # (rows,)
                feed.fold(work.model, x**self.alpha / w ** (1 - self.alpha))
