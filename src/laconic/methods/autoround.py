"""Learn which way each weight is rounded, and how far ranges are clipped, so that a block's outputs stay.

Cheng et al. 2023, arXiv:2309.05516 (SignRound, AutoRound): an offset in [-1/2, 1/2] for each weight and a factor for
the ends of each range, by signed gradient descent whose steps fall linearly, block by block. A block reads what the
blocks before it, rounded, give it, and is to give what the original's block gave, so that it makes up for them.
A block keeps the best it has seen. Differs from the paper: ranges begin with the least squared error and not with the
whole, so that they may also grow, where the authors' code only shrinks them; the best is that over all examples, looked
at ten times, and not that of one batch at each step, so that no block is worse than rounded to nearest. A weight that
layers of later blocks read learns what its own block is to give, and what those layers gave on the inputs they had
before the step; taken together over the weights of a block, neither is worse than rounded to nearest.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from laconic import calibration, effects, flow, layers, options
from laconic.calibration.lessons import Lesson, Masks, batched, lessons
from laconic.calibration.readers import Elsewhere, elsewhere
from laconic.calibration.sums import tokens
from laconic.contracts import IN_BLOCKS, Sketch, Work
from laconic.errors import RecipeError
from laconic.flow import Seen
from laconic.layers.dense import Dense
from laconic.layers.quantized import Quantized
from laconic.maths import grid

FACTORS = (0.5, 1.5)  # of the ends of a range
LOOKS = 10  # at the error over all examples, on the way
LEAST = 1e-20  # a squared error; dividing by it stays in the range of floats


@dataclass(frozen=True)
class AutoRound:
    """`steps` of descent a block, on `batch` examples each; the first step is 1 / `steps` long, as in the paper."""

    bits: int = 4
    group: grid.Group = 128
    symmetric: bool = True
    where: str = "linears"
    steps: int = 200
    batch: int = 8
    samples: int = 128
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit"})
    keeps: ClassVar[frozenset[str]] = effects.ON_GRID

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        if self.where in ("head", "all"):
            raise RecipeError(
                f"where is {self.where!r}, but autoround learns by what blocks give, and a head stands behind them; "
                f"choose one of {', '.join(IN_BLOCKS)}, and gptq for the head"
            )
        options.choice("where", self.where, IN_BLOCKS)
        for name in ("steps", "batch"):
            options.whole(name, getattr(self, name))
        calibration.check(self.samples, self.length)
        grid.check(self.bits, self.group)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer bits a weight, scales included."""
        return effects.on_grid(sketch, self.where, self.bits, self.group, self.symmetric)

    def apply(self, work: Work) -> None:
        """Each block on what the blocks before it, rounded, give it, towards what the original's block gave."""
        generator = torch.Generator().manual_seed(work.seed)
        original = replace(work, model=copy.deepcopy(work.model))
        features = calibration.draw(work, self.samples, length=self.length)
        mine, theirs = (batched(one, features, self.batch) for one in (work, original))
        depths = [range(1, stack.runs + 1) for stack in mine.stacks]
        chosen = layers.distinct(work.anatomy.linears(self.where))
        others = elsewhere(mine, chosen)
        for block, calls in lessons(mine, theirs, depths):
            paths = [path for path, _ in chosen if path.startswith(f"{block}.")]
            for path in paths:  # a dense layer's weight is a parameter, for which another can stand
                layers.swap(work.model, path, Dense.of(work.model.get_submodule(path)))
            found = {path: Rounding(work.model.get_submodule(path), self, others.get(path)) for path in paths}
            inside = {path.removeprefix(f"{block}."): rounding for path, rounding in found.items()}
            if inside and calls:
                with flow.quiet(work.model):
                    self._learn(work.model, inside, calls, generator)
            for path, rounding in found.items():
                layers.swap(work.model, path, rounding.layer(work.model.get_submodule(path)))

    def _learn(
        self, model: nn.Module, inside: Mapping[str, "Rounding"], calls: Sequence[Lesson], generator: torch.Generator
    ) -> None:
        """Signed descent on the squared error of the block's outputs, from rounding to nearest.

        Where others read its weights, on that of theirs too, which weighs as much at first; the larger one is judged.
        """
        learned = [parameter for rounding in inside.values() for parameter in rounding.learned]
        least, best = _loss(model, inside, calls), [parameter.detach().clone() for parameter in learned]
        share = least / max(float(_apart(inside).detach()), LEAST)
        for step in range(self.steps):
            i = int(torch.randint(len(calls), (), generator=generator))
            with torch.enable_grad():
                error = functional.mse_loss(*_outputs(model, inside, *calls[i])) + share * _apart(inside)
                slopes = torch.autograd.grad(error, learned)
            with torch.no_grad():
                for parameter, slope in zip(learned, slopes, strict=True):
                    parameter -= slope.sign() * (1 - step / self.steps) / self.steps
            for rounding in inside.values():
                rounding.bound()
            if (step + 1) % max(1, self.steps // LOOKS) and step + 1 < self.steps:
                continue
            reached = max(_loss(model, inside, calls), share * float(_apart(inside).detach()))
            if reached < least:
                least, best = reached, [parameter.detach().clone() for parameter in learned]
        with torch.no_grad():
            for parameter, kept in zip(learned, best, strict=True):
                parameter.copy_(kept)


class Rounding:
    """One weight (out, in), the offset of each of its numbers, and factors (R, G) of the ends of its ranges."""

    def __init__(self, module: nn.Module, options: AutoRound, others: Elsewhere | None = None) -> None:
        self.others = others  # what enters the layers of later blocks that read this weight
        self.bits, self.group, self.symmetric = options.bits, options.group, options.symmetric
        self.weight = layers.take(module).weight.detach().float()
        self.scale, self.zero = grid.fit(self.weight, self.bits, self.group, self.symmetric)
        self.free = self.weight != 0  # what is zero stays so
        self.offset = torch.zeros_like(self.weight, requires_grad=True)
        self.high = torch.ones_like(self.scale, requires_grad=True)
        self.low = torch.ones_like(self.scale, requires_grad=not self.symmetric)

    @property
    def learned(self) -> list[torch.Tensor]:
        """What descent moves; a symmetric range has one end."""
        return [self.offset, self.high, *([] if self.symmetric else [self.low])]

    @torch.no_grad()
    def bound(self) -> None:
        """Put what descent moved back into its range."""
        self.offset.clamp_(-0.5, 0.5)
        self.high.clamp_(*FACTORS)
        self.low.clamp_(*FACTORS)

    def soft(self) -> torch.Tensor:
        """The rounded weight, with gradients that pass through rounding."""
        scale, zero = self._grid()
        lowest = scale.new_full(scale.shape, 1 - 2 ** (self.bits - 1)) if self.symmetric else -zero  # (R, G)
        highest = lowest + 2**self.bits - (2 if self.symmetric else 1)
        offset = grid.split(self.offset * self.free, self.group)
        steps = _straight(grid.split(self.weight, self.group) / scale.unsqueeze(-1) + offset)  # (R, G, n)
        bounded = torch.clamp(steps, lowest.unsqueeze(-1), highest.unsqueeze(-1))
        return grid.join(bounded * scale.unsqueeze(-1), *self.weight.shape)

    def layer(self, module: nn.Module) -> Quantized:
        """The layer on its grid, in place of the module."""
        with torch.no_grad():
            scale, zero = self._grid()
            solved = self.soft()
            whole = None if self.symmetric else zero.round().to(torch.uint8)
            solved = grid.snap(solved, scale, whole, self.bits, self.group)
        return Quantized.of(
            module, bits=self.bits, group=self.group, symmetric=self.symmetric, latent=solved, scale=scale, zero=whole
        )

    def _grid(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point, (R, G) both; the zero point of a symmetric range says nothing."""
        if self.zero is None:
            return grid.half(self.scale * self.high, grid.SMALLEST), torch.zeros_like(self.scale)
        most = 2**self.bits - 1
        low, high = self.zero * self.scale * self.low, (most - self.zero.float()) * self.scale * self.high
        scale = grid.half((high + low) / most, grid.SMALLEST)
        return scale, _straight(low / scale).clamp(0, most)


def _straight(x: torch.Tensor) -> torch.Tensor:
    """The nearest whole number, with the gradient of x."""
    return x.detach().round() + (x - x.detach())


def _outputs(
    model: nn.Module, inside: Mapping[str, Rounding], seen: Seen, masks: Masks
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the block gives with its weights rounded, and what it should, without padding: (tokens, hidden) both."""
    weights = {f"{name}.weight": rounding.soft() for name, rounding in inside.items()}
    return tokens(seen.call.again(model, seen.given, weights), masks), tokens(seen.gave, masks)


def _apart(inside: Mapping[str, Rounding]) -> torch.Tensor:
    """Squared error of what readers in later blocks give with these weights on the inputs they had: ()."""
    total = torch.zeros(())
    for rounding in inside.values():
        if rounding.others is not None:
            moved = rounding.soft() - rounding.weight  # (out, in)
            total = total + ((moved @ rounding.others.gram) * moved).sum()
    return total


@torch.no_grad()
def _loss(model: nn.Module, inside: Mapping[str, Rounding], calls: Sequence[Lesson]) -> float:
    """Mean squared error of the block's outputs over all examples."""
    total, count = 0.0, 0
    for rounded, wanted in (_outputs(model, inside, *call) for call in calls):
        total, count = total + float((rounded - wanted).square().sum()), count + wanted.numel()
    return total / max(count, 1)
