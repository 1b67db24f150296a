"""Write the matrices of neighbouring blocks with one basis, and coefficients of each block's own.

Wang et al. 2024, arXiv:2410.03765 (Basis Sharing): the matrices of a kind, below one another and whitened by their
inputs, are split by SVD. As in the paper, what writes to the residual stream (attention's and the feed-forward's
outputs) has a basis for each block.
Differs from the paper: coefficients are solved for on each block's own inputs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from laconic import calibration, effects, layers, options, scoring
from laconic.anatomy import Block
from laconic.anatomy.cut import size
from laconic.contracts import IN_BLOCKS, Sketch, Work
from laconic.layers.lowrank import LowRank
from laconic.layers.shared import Shared
from laconic.maths import sharing


@dataclass(frozen=True)
class Basis:
    """`share` blocks have a basis; with coefficients it holds the fraction `keep` of the parameters, or has `rank`."""

    keep: float = 0.5
    rank: int | None = None
    share: int = 2
    where: str = "linears"
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"low_rank", "tied"})
    keeps: ClassVar[frozenset[str]] = frozenset({"narrow", "shallow", "small_vocabulary"})

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.rank(self)
        options.whole("share", self.share, 2)
        options.choice("where", self.where, IN_BLOCKS)
        calibration.check(self.samples, self.length)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer parameters in what is replaced."""
        rank = self.keep if self.rank is None else min(1.0, self.rank / sketch.hidden * (1 + 1 / self.share))
        return effects.shrunk(sketch, self.where, rank, rank)

    def apply(self, work: Work) -> None:
        """Split every set of matrices when its last block's inputs have come, which are those of the original.

        RecipeError where no stack has so many blocks.
        """
        anatomy = work.anatomy
        sharing.check(self.share, [len(stack.blocks) for stack in anatomy.stacks], "basis")
        alike: list[list[str]] = []
        for stack in anatomy.stacks:
            for indices in sharing.sets(len(stack.blocks), self.share, "sequence"):
                blocks = [stack.blocks[i] for i in indices]
                writers = {path for block in blocks for path in _writers(block)}
                for paths in anatomy.alike(blocks, self.where):
                    alike += [[path] for path in paths] if paths[0] in writers else [paths]
        chosen = {}
        for paths in alike:
            shape = size(work.model.get_submodule(paths[0]))
            rank = LowRank.smaller(shape, self.keep, self.rank, len(paths))
            if rank is not None:
                chosen[tuple(paths)] = rank
        if chosen:
            for together, sums in scoring.gathered(work, list(chosen), self.samples, self.length):
                _share(work.model, together, sums, chosen[tuple(together)])


def _writers(block: Block) -> list[str]:
    """What writes to the residual stream."""
    return [block.ffn.output, *(a.o for a in (block.attention, block.cross) if a is not None)]


@torch.no_grad()
def _share(model: nn.Module, paths: Sequence[str], sums: list[torch.Tensor], rank: int) -> None:
    modules = [model.get_submodule(path) for path in paths]
    weights = [layers.take(module).weight for module in modules]  # (out, in) each
    grams = [gram[: w.shape[1], : w.shape[1]] for gram, w in zip(sums, weights, strict=True)]
    coefficients, right = sharing.basis(weights, grams, rank)
    for i, (path, module, left) in enumerate(zip(paths, modules, coefficients, strict=True)):
        layer = LowRank.of(module, left, right)
        if i:
            layer.down = Shared.of(layer.down, f"{paths[0]}.down").train(module.training)
        layers.swap(model, path, layer)
