"""Remove the feed-forward neurons that the task misses least.

Molchanov et al. 2019, arXiv:1906.10771: |dL/d gate| of every neuron, gates at 1, one pass. With importance "fisher", by
its square (Kwon et al. 2022, arXiv:2204.09656, section 4.1); with "activation", by the root mean square of what a
neuron adds to the residual stream (after Muralidharan et al. 2024, arXiv:2407.14679).
`reconstruct` then fits the output projection, bias included, to what it gave before (He et al. 2017, arXiv:1707.06168).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from laconic import options, scoring
from laconic.calibration import original
from laconic.contracts import Sketch, Work
from laconic.maths.importance import SCOPES, share


@dataclass(frozen=True)
class Neurons:
    """Keeps a fraction of the neurons: the same of each block, or the best of all with scope "global"."""

    keep: float = 0.5
    importance: Literal["taylor", "fisher", "activation"] = "taylor"
    scope: Literal["block", "global"] = "block"
    reconstruct: bool = True
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"narrow"})
    keeps: ClassVar[frozenset[str]] = frozenset({"narrow", "shallow", "small_vocabulary"})
    touches: ClassVar[frozenset[str]] = frozenset({"ffn"})

    def check(self) -> None:
        """Raise RecipeError for a fraction, a choice or a count that cannot work."""
        scoring.check(self)
        options.choice("scope", self.scope, SCOPES)

    def forecast(self, sketch: Sketch) -> Sketch:
        """The feed-forward shrinks with its neurons."""
        return replace(sketch, ffn=sketch.ffn * self.keep)

    def apply(self, work: Work) -> None:
        """Score every neuron in one pass; in another, through the original, fit what stays; then cut."""
        anatomy = work.anatomy
        blocks = [block for stack in anatomy.stacks for block in stack.blocks]
        sites = {block.ffn.output: 1 for block in blocks}
        if self.importance == "activation":
            scores = scoring.activation(work, sites, self.samples, self.length)
        else:
            scores = scoring.gates(work, sites, self.samples, squared=self.importance == "fisher")
        shares = dict(zip(sites, share([scores[p] for p in sites], self.keep, self.scope), strict=True))
        kept = {path: some for path, some in shares.items() if len(some) < len(scores[path])}
        if self.reconstruct and kept:
            for path, gram in original.singly(
                original.grams(work, list(kept), self.samples, self.length, counted=True)
            ):
                scoring.refit(work.model.get_submodule(path), gram, kept[path])
        for block in blocks:
            if block.ffn.output in kept:
                anatomy.remove_neurons(block, sorted(set(range(block.ffn.size)) - set(kept[block.ffn.output])))
