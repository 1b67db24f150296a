"""Remove whole blocks.

Men et al. 2024, arXiv:2403.03853 (ShortGPT): the blocks that turn their tokens least, by 1 - cos(in, out), go. With
"angular" those blocks in a row go that together turn their tokens least, by the angle (Gromov et al. 2024,
arXiv:2403.17887). "even" keeps blocks spread evenly (Sanh et al. 2019, arXiv:1910.01108), "first" those nearest the
input (Sajjad et al. 2020, arXiv:2004.03844).
Differs from the papers: the angle is the mean over all tokens, not that of the last one, since encoders read them all.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from laconic import calibration, options, scoring
from laconic.anatomy import Stack
from laconic.contracts import Sketch, Work
from laconic.errors import RecipeError
from laconic.maths.importance import count, evenly, strongest

CHOOSE = ("influence", "angular", "even", "first")


@dataclass(frozen=True)
class Blocks:
    """Keeps a fraction of each stack's blocks, chosen by `choose`; or those listed in `blocks`, counted from 0."""

    keep: float = 0.5
    choose: Literal["influence", "angular", "even", "first"] = "influence"
    blocks: list[int] | None = None
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"shallow"})
    keeps: ClassVar[frozenset[str]] = frozenset({"narrow", "shallow", "small_vocabulary"})
    touches: ClassVar[frozenset[str]] = frozenset({"attention", "ffn"})

    def check(self) -> None:
        """Raise RecipeError for a fraction, a choice or a list that cannot work."""
        options.fraction("keep", self.keep)
        options.choice("choose", self.choose, CHOOSE)
        calibration.check(self.samples, self.length)
        listed = self.blocks
        if listed is not None and (not listed or len(set(listed)) < len(listed) or min(listed) < 0):
            raise RecipeError(f"blocks is {listed}; list different blocks to keep, counted from 0")
        if listed is not None:
            options.unread(self, "blocks", "keep", "choose", "samples", "length")
        if self.choose in ("even", "first"):
            options.unread(self, "choose", "samples", "length")

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer blocks of the same size."""
        kept = count(self.keep, sketch.blocks) if self.blocks is None else min(len(self.blocks), sketch.blocks)
        return replace(sketch, blocks=kept)

    def apply(self, work: Work) -> None:
        """Choose in every stack, then cut."""
        anatomy = work.anatomy
        gone = {}
        for i, stack in enumerate(anatomy.stacks):
            gone[i] = sorted(set(range(stack.depth)) - set(self._kept(work, stack)))
        for i, indices in gone.items():
            if indices:
                anatomy.remove_blocks(anatomy.stacks[i], indices)

    def _kept(self, work: Work, stack: Stack) -> list[int]:
        total = stack.depth
        if self.blocks is not None:
            if max(self.blocks) >= total:
                raise RecipeError(f"blocks is {self.blocks}, but {stack.path} has {total} blocks, 0 to {total - 1}")
            return self.blocks
        kept = count(self.keep, total)
        if (
            self.choose == "first" or kept == total or len(stack.blocks) < total
        ):  # one block that repeats is any of them
            return list(range(kept))
        if self.choose == "even":
            return evenly(kept, total)
        paths = [block.path for block in stack.blocks]
        if self.choose == "angular":
            angles = scoring.angles(work, paths, total - kept, self.samples, self.length)
            start = angles.index(min(angles))
            return [i for i in range(total) if not start <= i < start + total - kept]
        found = scoring.influences(work, paths, self.samples, self.length)
        return strongest(torch.tensor([found[path] for path in paths], dtype=torch.float64), kept)
