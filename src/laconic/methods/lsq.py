"""Put weights on grids whose scales learn, for training that follows (`distill`, `finetune`).

Esser et al. 2020, arXiv:1902.08153 (learned step size quantization): a scale's gradient counts how rounding and
clipping move with it, and is made as large as the weights' (`layers/quantized.py`).
Differs from the paper: weights only; scales begin with the least squared error in place of 2 mean|w| / sqrt(largest
code), so that the step is useful without training, and a zero point stays where it is.
"""

from dataclasses import dataclass
from typing import ClassVar

from laconic import effects, layers, options
from laconic.contracts import WHERE, Sketch, Work
from laconic.layers.quantized import Quantized
from laconic.maths import grid


@dataclass(frozen=True)
class LSQ:
    """`group` is what shares a scale: "tensor", "channel" (a row) or a number of columns; zeros stay zero."""

    bits: int = 4
    group: grid.Group = "channel"
    symmetric: bool = True
    where: str = "linears"

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
        """Replace each layer by its rounded self; what trains later trains the scales too."""
        for path, module in layers.distinct(work.anatomy.linears(self.where)):
            rounded = Quantized.of(module, bits=self.bits, group=self.group, symmetric=self.symmetric, learned=True)
            layers.swap(work.model, path, rounded)
