"""Round to a grid whose zero points are fitted so that few large errors stand for many small ones; needs no data.

Badri and Shaji 2023, https://mobiusml.github.io/hqq_blog (half-quadratic quantization): the l_p norm of the errors, p
below 1, is lowered by shrinking the errors and moving the zero point, in turns.
Differs from the source: it starts from the clipped range of least squared error as well as from the whole one, and
every group keeps the best zero point it has seen, a float16 number, so that none is worse than rounded to nearest.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch

from laconic import effects, layers, options
from laconic.contracts import WHERE, Sketch, Work
from laconic.errors import RecipeError
from laconic.layers.quantized import Quantized
from laconic.maths import grid

BETA, KAPPA = 10.0, 1.01  # weight of the quadratic part, and its growth by round, as in the source


@dataclass(frozen=True)
class HQQ:
    """`norm` is the p of the errors' norm, at most 1; `rounds` how often errors are shrunk and zero points moved."""

    bits: int = 4
    group: grid.Group = 64
    where: str = "linears"
    norm: float = 0.7
    rounds: int = 20

    needs: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit"})
    keeps: ClassVar[frozenset[str]] = effects.ON_GRID - {"sparse"}

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, WHERE)
        options.fraction("norm", self.norm)
        options.whole("rounds", self.rounds)
        grid.check(self.bits, self.group)
        if self.group == "tensor":
            raise RecipeError("group is 'tensor'; give 'channel' or a number of columns per zero point, such as 64")

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer bits a weight, with a scale and a zero point of 16 bits each."""
        width = self.group if isinstance(self.group, int) else sketch.hidden
        return effects.lowered(sketch, self.where, self.bits + 32 / width)

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Replace each layer by its rounded self."""
        for path, module in layers.distinct(work.anatomy.linears(self.where)):
            weight = layers.take(module).weight.detach().float()  # (out, in)
            scale, zero = solve(weight, self.bits, self.group, self.norm, self.rounds)
            rounded = Quantized.of(module, bits=self.bits, group=self.group, symmetric=False, scale=scale, zero=zero)
            layers.swap(work.model, path, rounded)


def solve(
    weight: torch.Tensor, bits: int, group: grid.Group, norm: float, rounds: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point, both (R, G) float16 numbers in float32; each group has the best of both starts."""
    found = []
    for ratios in ((1.0,), grid.RATIOS):
        scale, start = grid.fit(weight, bits, group, False, ratios=ratios)
        assert start is not None
        found.append((scale, *_moved(weight, scale, start.float(), bits, group, norm, rounds)))
    (scale, zero, error), (other_scale, other_zero, other_error) = found
    better = other_error < error  # (R, G)
    return torch.where(better, other_scale, scale), torch.where(better, other_zero, zero)


def _moved(
    weight: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor,
    bits: int,
    group: grid.Group,
    norm: float,
    rounds: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best zero point found from one start, and the sum of |error|^norm there, both (R, G)."""
    real = grid.split(torch.ones_like(weight), group)  # (R, G, n), 0 where a short last group is filled up
    parts, step = grid.split(weight, group), scale.unsqueeze(-1)  # (R, G, n), (R, G, 1)
    best, least, beta = zero, torch.full_like(zero, torch.inf), BETA
    for round_number in range(rounds + 1):
        codes = grid.split(grid.codes(weight, scale, zero, bits, group), group).float()  # (R, G, n)
        error = parts - (codes - zero.unsqueeze(-1)) * step
        total = (error.abs().pow(norm) * real).sum(-1)  # (R, G)
        best, least = torch.where(total < least, zero, best), torch.minimum(total, least)
        if round_number < rounds:
            kept = shrink(error, beta, norm)
            moved = ((codes - (parts - kept) / step) * real).sum(-1) / real.sum(-1)  # (R, G)
            zero, beta = grid.half(moved), beta * KAPPA
    return best, least


def shrink(error: torch.Tensor, beta: float, norm: float) -> torch.Tensor:
    """The errors that are let stand: the generalised soft threshold of l_p."""
    size = error.abs()
    return error.sign() * (size - size.clamp(min=torch.finfo(size.dtype).tiny).pow(norm - 1) / beta).clamp(min=0)
