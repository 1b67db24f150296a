"""Round every weight to the nearest point of a grid.

Jacob et al. 2018, arXiv:1712.05877; ranges clipped where that lessens the squared error (Banner et al. 2019,
arXiv:1810.05723). Layers stay trainable behind a straight-through estimator until they are frozen.
"""

from dataclasses import dataclass
from typing import ClassVar

from laconic import effects, layers, options
from laconic.contracts import WHERE, Sketch, Work
from laconic.layers.quantized import Quantized
from laconic.maths import grid


@dataclass(frozen=True)
class RTN:
    """`group` is what shares a scale: "tensor", "channel" (a row) or a number of columns; zeros stay zero."""

    bits: int = 8
    group: grid.Group = "channel"
    symmetric: bool = True
    where: str = "all"

    needs: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit"})
    keeps: ClassVar[frozenset[str]] = effects.ON_GRID

    def check(self) -> None:
        """Raise RecipeError for bits, a group or a place that cannot work."""
        options.choice("where", self.where, WHERE)
        grid.check(self.bits, self.group)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer bits a weight, scales included."""
        return effects.on_grid(sketch, self.where, self.bits, self.group, self.symmetric)

    def apply(self, work: Work) -> None:
        """Replace each layer by its rounded self."""
        for path, module in layers.distinct(work.anatomy.linears(self.where)):
            rounded = Quantized.of(module, bits=self.bits, group=self.group, symmetric=self.symmetric)
            layers.swap(work.model, path, rounded)
