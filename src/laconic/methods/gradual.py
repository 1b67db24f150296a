"""Prune by magnitude a little at a time while the model trains, fast at first and slower towards the end.

Zhu and Gupta 2017, arXiv:1710.01878: sparsity s(t) = s (1 - (1 - t / T)^3), t training steps of T.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from laconic import effects, layers, options, training
from laconic.contracts import WHERE, Sketch, Work
from laconic.errors import RecipeError
from laconic.layers.sparse import Sparse
from laconic.maths import masks


@dataclass(frozen=True)
class Gradual(training.Training):
    """`until` is the share of training after which `sparsity` is reached; masks move every `every` steps until then.

    The other options are those of training; with 0 epochs it prunes at once. The last weights are kept, not those best
    on validation, which would be those pruned least.
    """

    sparsity: float = 0.5
    where: str = "linears"
    scope: masks.Scope = "global"
    until: float = 0.7
    every: int = 20
    epochs: float = 3
    learning_rate: float = 5e-5

    needs: ClassVar[frozenset[str]] = frozenset({"training"})
    makes: ClassVar[frozenset[str]] = frozenset({"sparse"})
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"sparse", "narrow", "shallow", "tied", "small_vocabulary", "low_rank", "grouped"}
    )

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, WHERE)
        masks.check(self.sparsity, self.scope)
        options.fraction("until", self.until)
        options.whole("every", self.every)
        if ":" in self.scope:
            raise RecipeError(f"scope is {self.scope!r}, which cannot grow; use magnitude and heal after it")
        training.Training.check(self if self.epochs else replace(self, epochs=1))

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer weights, and a mask."""
        return effects.thinned(sketch, self.where, self.sparsity)

    def apply(self, work: Work) -> None:
        """Hold masks over the layers, and let them grow."""
        held, fixed = [], []
        layers.thaw(work.model)
        for path, module in layers.distinct(work.anatomy.linears(self.where)):
            mask = layers.take(module).weight.detach() != 0  # (out, in)
            held.append(Sparse.of(module, mask))
            fixed.append(mask.clone())
            layers.swap(work.model, path, held[-1])

        def on_step(step: int, total: int) -> None:
            last = min(self.until * total, total - 1)
            if step % self.every == 0 and step < last:
                self._prune(held, fixed, self.at(step / last))
            elif last <= step < last + 1:
                self._prune(held, fixed, self.sparsity)

        if self.epochs:
            training.fit(work, self, on_step=on_step, best=False)
        else:
            self._prune(held, fixed, self.sparsity)

    def at(self, part: float) -> float:
        """Sparsity after that part of the way, 0 to 1."""
        return self.sparsity * (1 - (1 - part) ** 3)

    @torch.no_grad()
    def _prune(self, held: Sequence[Sparse], fixed: Sequence[torch.Tensor], sparsity: float) -> None:
        """Mask the smallest; a weight that was zero before this step stays zero, one masked by it may come back."""
        scores = [layer.latent.abs() * mask for layer, mask in zip(held, fixed, strict=True)]  # (out, in)
        for layer, mask, kept in zip(held, fixed, masks.kept(scores, sparsity, self.scope), strict=True):
            layer.prune(mask & kept)
