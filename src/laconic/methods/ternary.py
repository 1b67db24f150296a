"""Let every weight be -s, 0 or s, with a scale s for each group, to be trained through by `distill` or `finetune`.

Li et al. 2016, arXiv:1605.04711 (ternary weight networks); Zhu et al. 2017, arXiv:1612.01064 (scales that learn).
Differs from the papers: the threshold and scale of least squared error are found exactly, by sorting, in place of 0.7
mean|w|; both signs have one scale, and the threshold stays at half of it while that learns.
"""

from dataclasses import dataclass
from typing import ClassVar

from laconic import effects, layers, options
from laconic.contracts import WHERE, Sketch, Work
from laconic.layers.quantized import Quantized
from laconic.maths import grid

BITS = 2  # of which one code is never used, so that entropy coding leaves at most 1.58


@dataclass(frozen=True)
class Ternary:
    """`group` is what shares a scale: "tensor", "channel" (a row) or a number of columns."""

    group: grid.Group = "channel"
    where: str = "linears"

    needs: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit"})
    keeps: ClassVar[frozenset[str]] = effects.ON_GRID

    def check(self) -> None:
        """Raise RecipeError for a group or a place that cannot work."""
        options.choice("where", self.where, WHERE)
        grid.check(BITS, self.group, least=BITS)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Two bits a weight before entropy coding, and a scale."""
        return effects.lowered(sketch, self.where, grid.cost(BITS, self.group, True, sketch.hidden))

    def apply(self, work: Work) -> None:
        """Replace each layer; floats stay behind it for training, and the scales learn with them."""
        for path, module in layers.distinct(work.anatomy.linears(self.where)):
            scale = grid.ternary(layers.take(module).weight.detach(), self.group)
            layer = Quantized.of(module, bits=BITS, group=self.group, scale=scale, learned=True)
            layers.swap(work.model, path, layer)
