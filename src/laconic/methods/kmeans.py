"""Let weights share the values of a small codebook, found by k-means; later training moves the values.

Han et al. 2016, arXiv:1510.00149 (Deep Compression); squared errors weighed by the mean square of each weight's input
over training examples, which is what an error costs at the layer's output when inputs are uncorrelated (Kim et al.
2023, arXiv:2306.07629, weigh by gradients). One codebook for all layers, of which a group takes a multiple, as in
Dettmers et al. 2023, arXiv:2305.14314 (NormalFloat), found from the weights instead of from a distribution.
Differs from the papers: of several starts each group keeps the best; a weight that was pruned has the value 0, which is
one of the codebook's.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from laconic import calibration, effects, layers, options, scoring
from laconic.contracts import WHERE, Sketch, Work
from laconic.errors import RecipeError
from laconic.layers.codebook import Codebook
from laconic.maths import cluster, grid


@dataclass(frozen=True)
class KMeans:
    """`importance` weighs errors by the inputs of linears, or all alike; `group` is what shares a codebook.

    With `share` linears have one codebook together, and embeddings one; then `group` is what shares a multiple of it.
    The rows of grouped layers are too short for codebooks of their own: there it takes `share`, or the group "tensor".
    """

    bits: int = 4
    group: grid.Group = "channel"
    where: str = "linears"
    share: bool = False
    importance: Literal["activation", "none"] = "activation"
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"low_bit"})
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"sparse", "narrow", "shallow", "tied", "small_vocabulary", "low_bit", "half", "low_rank"}
    )
    pools: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Say what this step keeps, which `share` and `group` decide: codebooks can weigh more than short rows."""
        if self.share or self.group == "tensor":
            object.__setattr__(self, "keeps", self.keeps | {"grouped"})

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, WHERE)
        options.choice("importance", self.importance, ("activation", "none"))
        calibration.check(self.samples, self.length)
        if self.importance == "none":
            options.unread(self, "importance", "samples", "length")
        grid.check(self.bits, self.group, least=1)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer bits a weight, and for each group a codebook of 16 bits a value, or its multiple of the common one."""
        width = {"tensor": sketch.hidden**2, "channel": sketch.hidden}.get(str(self.group), self.group)
        return effects.lowered(sketch, self.where, self.bits + 16 * (1 if self.share else 2**self.bits) / float(width))

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Weigh all layers in one pass, then give each its codebooks."""
        pairs = layers.distinct(work.anatomy.linears(self.where))
        if self.bits == 1:
            _none_pruned(pairs)
        roles = {role: [(p, m) for p, m in pairs if layers.take(m).role == role] for role in layers.ROLES}
        if self.share and max(map(len, roles.values())) < 2:
            raise RecipeError(f"share needs two layers of a kind, and {self.where!r} has {len(pairs)}; leave share out")
        weighed = [p for p, m in pairs if layers.take(m).role == "linear"] if self.importance == "activation" else []
        squares = scoring.squares(work, weighed, self.samples, self.length) if weighed else {}
        if self.share:
            for alike in filter(None, roles.values()):
                self._share(work, alike, squares)
            return
        for path, module in pairs:
            weight = layers.take(module).weight.detach()  # (out, in)
            codes, values, pruned = cluster.fit(weight, self.bits, self.group, squares.get(path))
            layer = Codebook.of(module, bits=self.bits, group=self.group, codes=codes, values=values, pruned=pruned)
            layers.swap(work.model, path, layer)

    def _share(self, work: Work, pairs: list[tuple[str, nn.Module]], squares: dict[str, torch.Tensor]) -> None:
        """Give layers one codebook, which the first holds."""
        weights = [layers.take(module).weight.detach() for _, module in pairs]  # (out, in) each
        found, values, pruned = cluster.common(weights, self.bits, self.group, [squares.get(p) for p, _ in pairs])
        for i, ((path, module), (codes, scale)) in enumerate(zip(pairs, found, strict=True)):
            layer = Codebook.of(
                module, bits=self.bits, group=self.group, codes=codes, values=None if i else values, pruned=pruned,
                scale=scale, source=pairs[0][0] if i else "",
            )  # fmt: skip
            layers.swap(work.model, path, layer)


def _none_pruned(pairs: list[tuple[str, nn.Module]]) -> None:
    """Raise RecipeError where a row has zeros beside other weights: two values are for both signs, and none for 0."""
    for path, module in pairs:
        zeros = layers.take(module).weight == 0  # (out, in)
        if bool((zeros.any(1) & ~zeros.all(1)).any()):
            raise RecipeError(f"weights of {path} were pruned, and bits is 1, which has no 0; give at least 2 bits")
