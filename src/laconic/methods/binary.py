"""Let every weight be -s or s, with a scale s for each group, to be trained through by `distill` or `finetune`.

Rastegari et al. 2016, arXiv:1603.05279 (binary weight networks): s is the mean magnitude, which has the least squared
error. Differs from the paper: the scale learns with the weights in place of being computed from them at every step, and
a weight's gradient passes while its magnitude is below 2 s in place of 1.
"""

from dataclasses import dataclass
from typing import ClassVar

from laconic import effects, layers, options
from laconic.contracts import WHERE, Sketch, Work
from laconic.layers.quantized import Quantized
from laconic.maths import grid

BITS = 1


@dataclass(frozen=True)
class Binary:
    """`group` is what shares a scale: "tensor", "channel" (a row) or a number of columns."""

    group: grid.Group = "channel"
    where: str = "linears"

    needs: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit"})
    keeps: ClassVar[frozenset[str]] = effects.ON_GRID - {"sparse"}

    def check(self) -> None:
        """Raise RecipeError for a group or a place that cannot work."""
        options.choice("where", self.where, WHERE)
        grid.check(BITS, self.group, least=BITS)

    def forecast(self, sketch: Sketch) -> Sketch:
        """One bit a weight, and a scale."""
        return effects.lowered(sketch, self.where, grid.cost(BITS, self.group, True, sketch.hidden))

    def apply(self, work: Work) -> None:
        """Replace each layer; floats stay behind it for training, and the scales learn with them."""
        for path, module in layers.distinct(work.anatomy.linears(self.where)):
            scale = grid.binary(layers.take(module).weight.detach(), self.group)
            layer = Quantized.of(module, bits=BITS, group=self.group, scale=scale, learned=True)
            layers.swap(work.model, path, layer)
