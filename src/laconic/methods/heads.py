"""Remove the attention heads that the task misses least.

Michel et al. 2019, arXiv:1905.10650: |dL/d gate| of every head, gates at 1, one pass. With importance "fisher", by its
square (Kwon et al. 2022, arXiv:2204.09656, section 4.1); with "activation", by the root mean square of what a head adds
to the residual stream (after Muralidharan et al. 2024, arXiv:2407.14679).
`reconstruct` then fits the output projection, bias included, to what it gave before (He et al. 2017, arXiv:1707.06168).
Where query heads share keys and values, a group of them is one structure and goes together; where all blocks share a
position bias per head (T5), a head is one structure over all of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from laconic import options, scoring
from laconic.anatomy import Anatomy, Attention, Block, Stack
from laconic.calibration import original
from laconic.contracts import Sketch, Work
from laconic.maths.importance import SCOPES, share


@dataclass(frozen=True)
class Heads:
    """Keeps a fraction of the heads: the same of each block, or the best of all with scope "global"."""

    keep: float = 0.5
    importance: Literal["taylor", "fisher", "activation"] = "taylor"
    scope: Literal["block", "global"] = "block"
    reconstruct: bool = True
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"narrow"})
    keeps: ClassVar[frozenset[str]] = frozenset({"narrow", "shallow", "small_vocabulary"})
    touches: ClassVar[frozenset[str]] = frozenset({"attention"})

    def check(self) -> None:
        """Raise RecipeError for a fraction, a choice or a count that cannot work."""
        scoring.check(self)
        options.choice("scope", self.scope, SCOPES)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Attention shrinks with its heads."""
        return replace(sketch, attention=sketch.attention * self.keep)

    def apply(self, work: Work) -> None:
        """Score every head in one pass; in another, through the original, fit what stays; then cut."""
        anatomy = work.anatomy
        parts = list(_parts(anatomy))
        sites = {a.o: a.head_size * _each(a) for _, _, attentions in parts for a in attentions}
        if self.importance == "activation":
            scores = scoring.activation(work, sites, self.samples, self.length)
        else:
            scores = scoring.gates(work, sites, self.samples, squared=self.importance == "fisher")
        summed = [torch.stack([scores[a.o] for a in attentions]).sum(0) for _, _, attentions in parts]  # (structures,)
        cuts: list[tuple[Block | Stack, list[int], bool]] = []
        stay: dict[str, list[int]] = {}  # columns of the projections
        for (part, cross, attentions), kept in zip(parts, share(summed, self.keep, self.scope), strict=True):
            heads = range(attentions[0].heads)
            gone = [h for h in heads if h // _each(attentions[0]) not in kept]
            if gone:
                cuts.append((part, gone, cross))
                stay |= {a.o: a.columns([h for h in heads if h not in gone]) for a in attentions}
        if self.reconstruct and stay:
            for path, gram in original.singly(
                original.grams(work, list(stay), self.samples, self.length, counted=True)
            ):
                scoring.refit(work.model.get_submodule(path), gram, stay[path])
        for part, gone, cross in cuts:
            anatomy.remove_heads(part, gone, cross=cross)


def _each(attention: Attention) -> int:
    """Query heads that share a key and a value: one structure."""
    return attention.heads // attention.kv_heads


def _parts(anatomy: Anatomy) -> Iterator[tuple[Block | Stack, bool, list[Attention]]]:
    """What `remove_heads` takes at a time, whether of cross-attention, and the attentions that lose the same heads."""
    for stack in anatomy.stacks:
        for part in [stack] if stack.shared_heads else stack.blocks:
            blocks = stack.blocks if isinstance(part, Stack) else (part,)
            yield part, False, [b.attention for b in blocks]
            cross = [b.cross for b in blocks if b.cross is not None]
            if cross:
                yield part, True, cross
