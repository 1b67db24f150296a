"""Let blocks share the weights of their matrices, fitted to what each of them gave, with differences where asked.

Lan et al. 2020, arXiv:1909.11942 (ALBERT: sharing across blocks); Bae et al. 2024, arXiv:2410.20672 (relaxed recursive
transformers: sharing with a low-rank difference for each block).
Differs from the papers: the shared weight is the least-squares solution over the calibration inputs of all its layers;
every layer keeps a bias, fitted as well, and norms of its own, which weigh next to nothing.
All inputs are those of the original. Neighbours are fitted when the last of them has been run. Of blocks far apart,
as many sets are watched in one pass as their sums weigh no more than the model does, or ROOM.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from laconic import calibration, effects, layers, options, scoring
from laconic.anatomy.cut import size
from laconic.contracts import IN_BLOCKS, Sketch, Work
from laconic.layers.delta import Delta
from laconic.layers.dense import Dense
from laconic.layers.shared import Shared
from laconic.maths import factor, sharing

PATTERNS = ("sequence", "cycle")


@dataclass(frozen=True)
class Tie:
    """`share` blocks have one weight: neighbours ("sequence"), or blocks equally far apart ("cycle").

    With `delta_rank`, every layer adds a difference of that rank of its own.
    """

    share: int = 2
    pattern: Literal["sequence", "cycle"] = "sequence"
    delta_rank: int = 0
    where: str = "linears"
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"tied"})
    keeps: ClassVar[frozenset[str]] = frozenset({"narrow", "shallow", "small_vocabulary"})

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.whole("share", self.share, 2)
        options.choice("pattern", self.pattern, PATTERNS)
        options.whole("delta_rank", self.delta_rank, 0)
        options.choice("where", self.where, IN_BLOCKS)
        calibration.check(self.samples, self.length)

    def forecast(self, sketch: Sketch) -> Sketch:
        """One weight for `share` blocks, and the differences."""
        own = min(1.0, 2 * self.delta_rank / sketch.hidden)
        left = min(1.0, -(-sketch.blocks // self.share) / max(sketch.blocks, 1) + own)
        return effects.shrunk(sketch, self.where, left, left)

    def apply(self, work: Work) -> None:
        """Fit every matrix that blocks share; where that takes several passes, put all in when the last has ended.

        RecipeError where no stack has so many blocks.
        """
        anatomy = work.anatomy
        sharing.check(self.share, [len(stack.blocks) for stack in anatomy.stacks], "tie")
        alike: list[list[str]] = []
        for stack in anatomy.stacks:
            for indices in sharing.sets(len(stack.blocks), self.share, self.pattern):
                if len(indices) > 1:
                    alike += anatomy.alike([stack.blocks[i] for i in indices], self.where)
        rounds = [alike] if self.pattern == "sequence" else list(_rounds(work.model, alike))
        made: calibration.Pairs = []
        for sets in rounds:
            for paths, sums in scoring.gathered(work, sets, self.samples, self.length):
                made += self._shared(work.model, paths, sums)
                while made and len(rounds) == 1:
                    layers.swap(work.model, *made.pop(0))
        for path, layer in made:
            layers.swap(work.model, path, layer)

    @torch.no_grad()
    def _shared(self, model: nn.Module, paths: Sequence[str], sums: Sequence[torch.Tensor]) -> calibration.Pairs:
        """One weight for the layers at `paths`; `sums` are their inputs' Gram matrices, a bias as the last column."""
        parts = [layers.take(model.get_submodule(path)) for path in paths]
        about = [factor.centred(gram, part.bias is not None) for part, gram in zip(parts, sums, strict=True)]
        rank = min(self.delta_rank, *parts[0].weight.shape)
        weights = [part.weight.double() for part in parts]  # (out, in) each
        weight, deltas = sharing.common(weights, [gram for gram, _ in about], rank)
        source = f"{paths[0]}.base" if rank else paths[0]
        made: calibration.Pairs = []
        for i, (path, part, (_, mean)) in enumerate(zip(paths, parts, about, strict=True)):
            own = weight + deltas[i][0] @ deltas[i][1] if rank else weight
            old = model.get_submodule(path)
            dense = Dense.of(old)
            dense.weight.copy_(weight)
            layer = dense if i == 0 else Shared.of(dense, source)
            if layer.bias is not None and part.bias is not None:
                layer.bias.copy_(part.bias.double() + (weights[i] - own) @ mean)
            made.append((path, Delta.of(layer, *deltas[i]) if rank else layer))
        return made


def _rounds(model: nn.Module, alike: Sequence[list[str]]) -> Iterator[list[list[str]]]:
    """Sets of layers in rounds: sums of several sets weigh no more than the model does, or ROOM."""
    room = max(calibration.ROOM, sum(p.numel() * p.element_size() for p in model.parameters()))
    sets: list[list[str]] = []
    held = 0
    for paths in alike:
        weigh = sum(4 * size(model.get_submodule(path))[1] ** 2 for path in paths)
        if sets and held + weigh > room:
            yield sets
            sets, held = [], 0
        sets.append(paths)
        held += weigh
    if sets:
        yield sets
