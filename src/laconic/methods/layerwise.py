"""Teach the blocks one after another to give what the original's blocks gave.

Li et al. 2021, arXiv:2102.05426 (BRECQ: reconstruction block by block); Romero et al. 2015, arXiv:1412.6550 (hidden
states as targets). A block reads what the blocks before it have become, so that it makes up for them; it needs no
labels, and one block's activations are held at a time.
Differs from the papers: a block's error is not weighed by Fisher information, and all its weights learn, not the way
each is rounded, so that it serves whatever was done to the block; where blocks are gone, those that are left are mapped
evenly to the original's; what several blocks read (tied weights, a common basis or codebook) stays, since teaching one
would undo what another learned.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from laconic import calibration, layers, optimizers, options
from laconic.anatomy import Anatomy, Stack
from laconic.calibration.lessons import Lesson, Masks, alike, lessons
from laconic.calibration.sums import tokens
from laconic.contracts import PROPERTIES, Sketch, Teacher, Work
from laconic.errors import RecipeError
from laconic.flow import Seen
from laconic.teacher import layer_map


@dataclass(frozen=True)
class Layerwise:
    """`epochs` passes over `samples` training examples for each block; the learning rate falls linearly to 0."""

    epochs: int = 8
    learning_rate: float = 3e-4
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration", "teacher"})
    makes: ClassVar[frozenset[str]] = frozenset()
    keeps: ClassVar[frozenset[str]] = PROPERTIES - {"half"}

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.whole("epochs", self.epochs)
        options.positive("learning_rate", self.learning_rate)
        calibration.check(self.samples, self.length)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Sizes stay."""
        return sketch

    def apply(self, work: Work) -> None:
        """Teach every block, in order; RecipeError where hidden states cannot be compared."""
        if work.teacher is None:
            raise RecipeError(
                "layerwise needs a teacher, the model before compression; run it through laconic compress"
            )
        layers.thaw(work.model)
        was_training = work.model.training
        mine, theirs = work.anatomy, Anatomy(work.teacher.model)
        if mine.hidden != theirs.hidden:
            raise RecipeError(f"hidden states are {mine.hidden} wide and the original's {theirs.hidden}; use distill")
        work.model.train(False)
        with _common_kept(work.model, mine.stacks):
            self._teach_all(work, work.teacher)
        work.model.train(was_training)

    def _teach_all(self, work: Work, teacher: Teacher) -> None:
        """Every block of every stack, each on what the blocks before it have become."""
        mine, theirs = alike(work, teacher, self.samples, self.length)
        goals = [layer_map(own.runs, other.runs) for own, other in zip(mine.stacks, theirs.stacks, strict=True)]
        for path, told in lessons(mine, theirs, goals):
            before, after = self._teach(work.model, path, told, work.seed)
            work.log(f"  {path}: error {before:.3g} -> {after:.3g}")

    def _teach(self, model: nn.Module, path: str, lessons: Sequence[Lesson], seed: int) -> tuple[float, float]:
        """Train one block in place; its error before and after. One that learned nothing is left as it was."""
        block = model.get_submodule(path)
        start, before = copy.deepcopy(block.state_dict()), _error(model, lessons)
        made = optimizers.build(block, "adamw", self.learning_rate)
        rng, done, total = np.random.default_rng(seed), 0, self.epochs * len(lessons)
        for _ in range(self.epochs):
            for i in rng.permutation(len(lessons)):
                for group in made.param_groups:
                    group["lr"] = self.learning_rate * (1 - done / total)
                made.zero_grad()
                with torch.enable_grad():
                    _loss(model, *lessons[i]).backward()  # type: ignore[no-untyped-call]
                made.step()
                done += 1
        made.zero_grad()
        after = _error(model, lessons)
        if not after < before:
            block.load_state_dict(start)
        return before, min(before, after)


@contextmanager
def _common_kept(model: nn.Module, stacks: Sequence[Stack]) -> Iterator[None]:
    """Parameters that layers of another block read do not learn in here."""
    places = [f"{block.path}." for stack in stacks for block in stack.blocks]
    common: list[nn.Parameter] = []
    for path, layer in layers.held(model):
        source = str(getattr(layer, "source", ""))
        if source and any(source.startswith(place) != path.startswith(place) for place in places):
            read = model.get_submodule(source).named_parameters()
            common += [p for name, p in read if name != "bias" and p.requires_grad]
    for parameter in common:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in common:
            parameter.requires_grad_(True)


def _loss(model: nn.Module, seen: Seen, masks: Masks) -> torch.Tensor:
    """Squared error of the block's tokens in units of the goal's mean square."""
    own, goal = tokens(seen.call.again(model, seen.given), masks), tokens(seen.gave, masks)  # (tokens, hidden)
    return functional.mse_loss(own, goal) / goal.square().mean()


@torch.no_grad()
def _error(model: nn.Module, lessons: Sequence[Lesson]) -> float:
    return float(torch.stack([_loss(model, *lesson) for lesson in lessons]).mean())
