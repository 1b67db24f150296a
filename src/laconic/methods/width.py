"""Remove the hidden dimensions that are least seen, from every layer at once.

Muralidharan et al. 2024, arXiv:2407.14679 (Minitron): mean |norm output| of every dimension, over all norms of the
residual stream. These are read where they enter attention, feed-forward and head. With importance "taylor", by
|dL/d gate| at the same places (Molchanov et al. 2019, arXiv:1906.10771), with "fisher", by its square (Kwon et al.
2022, arXiv:2204.09656).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from laconic import options, scoring
from laconic.anatomy import Anatomy
from laconic.contracts import Sketch, Work
from laconic.maths.importance import count, strongest


@dataclass(frozen=True)
class Width:
    """Keeps a fraction of the hidden dimensions, rounded to a multiple of `multiple`."""

    keep: float = 0.5
    importance: Literal["activation", "taylor", "fisher"] = "activation"
    multiple: int = 32
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"narrow"})
    keeps: ClassVar[frozenset[str]] = frozenset({"narrow", "shallow", "small_vocabulary"})

    def check(self) -> None:
        """Raise RecipeError for a fraction, a choice or a count that cannot work."""
        scoring.check(self)
        options.whole("multiple", self.multiple)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Every matrix shrinks on its hidden side."""
        hidden = count(self.keep, sketch.hidden, self.multiple)
        share = hidden / sketch.hidden
        return replace(
            sketch,
            hidden=hidden,
            attention=sketch.attention * share,
            ffn=sketch.ffn * share,
            rest=int(sketch.rest * share),
        )

    def apply(self, work: Work) -> None:
        """Score every dimension in one pass, then cut."""
        anatomy = work.anatomy
        kept = count(self.keep, anatomy.hidden, self.multiple)
        if kept == anatomy.hidden:
            return
        paths = readers(anatomy)
        if self.importance == "activation":
            scores = scoring.sizes(work, paths, self.samples, self.length)  # (hidden,)
        else:
            squared, sites = self.importance == "fisher", dict.fromkeys(paths, 1)
            slopes = scoring.gates(work, sites, self.samples, squared=squared)
            scores = torch.stack(list(slopes.values())).sum(0)  # (hidden,)
        anatomy.remove_hidden(sorted(set(range(anatomy.hidden)) - set(strongest(scores, kept))))


def readers(anatomy: Anatomy) -> list[str]:
    """Layers that between them read every norm's output: each attention and feed-forward, and the head's first."""
    paths = []
    for block in (b for stack in anatomy.stacks for b in stack.blocks):
        paths.append(block.attention.q)
        if block.cross is not None:
            paths += [block.cross.q, block.cross.k]
        paths.append(block.ffn.inputs[0])
    return list(dict.fromkeys([*paths, *anatomy.head[:1]]))
