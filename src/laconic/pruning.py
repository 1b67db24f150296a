"""Prune a little at a time while the model trains, fast at first and slower towards the end.

Zhu and Gupta 2017, arXiv:1710.01878: sparsity s(t) = s (1 - (1 - t / T)^3), t training steps of T. What a weight is
judged by is the matter of a method.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch

from laconic import effects, layers, options, training
from laconic.contracts import WHERE, Sketch, Work
from laconic.errors import RecipeError
from laconic.layers.sparse import Sparse
from laconic.maths import masks

OF_TRAINING = tuple(option.name for option in fields(training.Training) if option.name != "epochs")


@dataclass(frozen=True)
class Pruning(training.Training):
    """`until` is the share of training after which `sparsity` is reached; masks move every `every` steps until then.

    The other options are those of training; with 0 epochs, nothing reads them, nor these two. The last weights are
    kept, not those best on validation, which would be those pruned least.
    """

    sparsity: float = 0.5
    where: str = "linears"
    scope: masks.Growing = "global"
    until: float = 0.7
    every: int = 20
    epochs: float = 3
    learning_rate: float = 5e-5

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.choice("where", self.where, WHERE)
        masks.check(self.sparsity, self.scope)
        options.fraction("until", self.until)
        options.whole("every", self.every)
        if ":" in self.scope:
            raise RecipeError(f"scope is {self.scope!r}, which cannot grow; use magnitude and heal after it")
        if self.epochs < 0:
            raise RecipeError(f"epochs is {self.epochs}; give a finite number, 0 or above")
        if self.epochs:
            training.Training.check(self)
        else:
            options.unread(self, "epochs", "until", "every", *OF_TRAINING)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer weights, and a mask."""
        return effects.thinned(sketch, self.where, self.sparsity)

    def prune(self, work: Work, judge: Callable[[Sparse], torch.Tensor], *, movement: bool = False) -> None:
        """Hold masks over the layers, and let them grow; `judge` says what a layer's weights are worth, (out, in).

        With `movement`, layers record it meanwhile.
        """
        held, fixed = [], []
        layers.thaw(work.model)
        for path, module in layers.distinct(work.anatomy.linears(self.where)):
            mask = layers.take(module).weight.detach() != 0  # (out, in)
            held.append(Sparse.of(module, mask))
            held[-1].record(movement)
            fixed.append(mask.clone())
            layers.swap(work.model, path, held[-1])

        def on_step(step: int, total: int) -> None:
            last = min(self.until * total, total - 1)
            if step % self.every == 0 and step < last:
                self._mask(held, fixed, judge, self.at(step / last))
            elif last <= step < last + 1 and (step or not movement):  # nothing has moved before the first step
                self._mask(held, fixed, judge, self.sparsity)

        if self.epochs:
            training.fit(work, self, on_step=on_step, best=False)
        if movement and self.sparsity:
            self._check_moved(held, fixed)
        self._finish(held, fixed, judge)
        for layer in held:
            layer.freeze()  # forgets what it recorded, and the weights that are masked
            layer.thaw()

    def at(self, part: float) -> float:
        """Sparsity after that part of the way, 0 to 1."""
        return self.sparsity * (1 - (1 - part) ** 3)

    def _check_moved(self, held: Sequence[Sparse], fixed: Sequence[torch.Tensor]) -> None:
        """Raise RecipeError where the lowest would be sought among weights of which none has moved."""
        still = [bool(m.any()) and h.moved is not None and not h.moved.any() for h, m in zip(held, fixed, strict=True)]
        if all(still) or (any(still) and self.scope != "global"):
            raise RecipeError(
                f"training has moved no weight of {sum(still)} of {len(still)} layers, so none of theirs can be chosen "
                "by its movement; give other examples, scope global where some have moved, or use gradual"
            )

    def _finish(
        self, held: Sequence[Sparse], fixed: Sequence[torch.Tensor], judge: Callable[[Sparse], torch.Tensor]
    ) -> None:
        """Mask what is still asked for, where training stopped before the schedule's end; nothing where it did not."""
        before = [layer.mask.clone() for layer in held]
        self._mask(held, fixed, judge, self.sparsity)
        if sum(int(mask.sum()) for mask in before) <= sum(int(layer.mask.sum()) for layer in held):
            for layer, mask in zip(held, before, strict=True):
                layer.prune(mask)

    @torch.no_grad()
    def _mask(
        self,
        held: Sequence[Sparse],
        fixed: Sequence[torch.Tensor],
        judge: Callable[[Sparse], torch.Tensor],
        sparsity: float,
    ) -> None:
        """Mask what is worth least; a weight that was zero before this step stays zero, one masked by it may return."""
        fixed = [mask.to(h.weight.device) for h, mask in zip(held, fixed, strict=True)]  # training may be elsewhere
        scores = [judge(h).masked_fill(~mask, -torch.inf) for h, mask in zip(held, fixed, strict=True)]  # (out, in)
        for layer, mask, kept in zip(held, fixed, masks.kept(scores, sparsity, self.scope), strict=True):
            layer.prune(mask & kept)
