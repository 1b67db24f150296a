"""Give each layer as many bits as it needs, under a mean for all, and round to nearest.

Dong et al. 2019, arXiv:1911.03852 (HAWQ-V2: damage = sensitivity * squared rounding error, added over layers); Shoham
and Gersho 1988 for the allotment. Differs from the paper: a layer's sensitivity is measured, as the change of the
model's outputs on training examples when that layer alone is rounded, and not derived from the trace of its Hessian.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from laconic import answers, calibration, effects, layers, options
from laconic.contracts import WHERE, Feature, Sketch, Work
from laconic.errors import RecipeError
from laconic.layers.dense import Dense
from laconic.layers.quantized import Quantized
from laconic.maths import allot, grid

EXACT = 1e-5  # of the error of 2 bits: weights lie on the grid already; rounding others to 8 bits leaves 2e-4
WIDTHS = tuple(range(2, 9))


@dataclass(frozen=True)
class Mixed:
    """`bits` is the mean over all weights that `where` says; each layer gets 2 to 8."""

    bits: float = 4.0
    group: grid.Group = "channel"
    symmetric: bool = True
    where: str = "linears"
    samples: int = 64

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit"})
    keeps: ClassVar[frozenset[str]] = effects.ON_GRID

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, WHERE)
        calibration.check(self.samples)
        grid.check(WIDTHS[0], self.group)
        if not WIDTHS[0] <= self.bits <= WIDTHS[-1]:
            raise RecipeError(f"bits is {self.bits}; give a mean from {WIDTHS[0]} to {WIDTHS[-1]}")

    def forecast(self, sketch: Sketch) -> Sketch:
        """The mean, scales included."""
        scales = grid.cost(WIDTHS[0], self.group, self.symmetric, sketch.hidden) - WIDTHS[0]
        return effects.lowered(sketch, self.where, self.bits + scales)

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Measure what each layer's rounding does alone, allot, round."""
        paths = [path for path, _ in layers.distinct(work.anatomy.linears(self.where))]
        for path in paths:  # a dense layer's weight can be put in place and taken back
            layers.swap(work.model, path, Dense.of(work.model.get_submodule(path)))
        features = calibration.draw(work, self.samples)
        said = _outputs(work, features)
        damage = [self._damage(work, path, features, said) for path in paths]
        sizes = [layers.take(work.model.get_submodule(path)).weight.numel() for path in paths]
        given = allot.allot(damage, sizes, WIDTHS, self.bits * sum(sizes))
        work.log(f"  mixed gives {min(given)} to {max(given)} bits: {', '.join(map(str, given))}")
        for path, bits in zip(paths, given, strict=True):
            rounded = Quantized.of(
                work.model.get_submodule(path), bits=bits, group=self.group, symmetric=self.symmetric
            )
            layers.swap(work.model, path, rounded)

    def _damage(self, work: Work, path: str, features: Sequence[Feature], said: np.ndarray) -> list[float]:
        """Squared change of the outputs at every width: measured at the mean's, in proportion to the rounding error.

        Where weights lie on a grid of that width already, it is measured at the next lower one at which they do not.
        """
        weight = layers.take(work.model.get_submodule(path)).weight
        kept = weight.clone()
        rounded = {
            bits: grid.snap(kept, *grid.fit(kept, bits, self.group, self.symmetric), bits, self.group)
            for bits in WIDTHS
        }
        errors = {bits: float((w - kept).square().sum()) for bits, w in rounded.items()}
        probes = [bits for bits in WIDTHS if bits <= self.bits and errors[bits] > EXACT * errors[WIDTHS[0]]]
        if not probes:
            return [0.0] * len(WIDTHS)
        weight.copy_(rounded[probes[-1]])
        change = float(np.square(_outputs(work, features) - said).sum())
        weight.copy_(kept)
        return [change * errors[bits] / errors[probes[-1]] for bits in WIDTHS]


def _outputs(work: Work, features: Sequence[Feature]) -> np.ndarray:
    """What the model says of the examples, as the task keeps it, flat."""
    raw = answers.outputs(work.model, work.task, features, work.tokenizer.pad_token_id or 0)
    return np.concatenate([row.reshape(-1) for row in raw])
