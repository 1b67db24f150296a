"""Replace matrices by two thin factors, chosen by what the task or the layer's inputs say matters.

Hsu et al. 2022, arXiv:2207.00112 (importance "fisher": every input of a layer weighed by the Fisher information of
the weights that read it); Wang et al. 2024, arXiv:2403.07378 (SVD-LLM, "whitened": the outputs on training examples
change least); Eckart and Young 1936 ("none"). With `update`, blocks are replaced in order, each layer fitted so that
its outputs on the inputs as they have become are nearest to what it gave before.
Differs from SVD-LLM: `update` solves for both factors and the bias at once (reduced-rank regression, Izenman 1975)
where the paper fits one factor to the other.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from laconic import calibration, effects, layers, options, scoring
from laconic.anatomy.cut import size
from laconic.calibration import original
from laconic.contracts import IN_BLOCKS, Sketch, Work
from laconic.errors import RecipeError
from laconic.layers.lowrank import LowRank
from laconic.maths import factor

IMPORTANCE = ("whitened", "fisher", "none")


@dataclass(frozen=True)
class SVD:
    """Factors hold the fraction `keep` of a matrix's parameters, or have `rank`; one they make no smaller stays."""

    keep: float = 0.5
    rank: int | None = None
    importance: Literal["whitened", "fisher", "none"] = "whitened"
    update: bool = False
    where: str = "linears"
    samples: int = 256
    length: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"low_rank"})
    keeps: ClassVar[frozenset[str]] = frozenset({"narrow", "shallow", "small_vocabulary", "low_rank"})

    def check(self) -> None:
        """Raise RecipeError for an option that cannot work."""
        options.rank(self)
        options.choice("importance", self.importance, IMPORTANCE)
        options.choice("where", self.where, IN_BLOCKS)
        calibration.check(self.samples, self.length)
        if self.update and self.importance != "whitened":
            raise RecipeError(f"update fits to inputs, and importance is {self.importance!r}; set it to whitened")
        if self.importance == "fisher":  # for their answers, it reads whole examples
            options.unread(self, "importance", "length")
        if self.importance == "none":
            options.unread(self, "importance", "samples", "length")

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer parameters in what is replaced."""
        if self.rank is None:
            return effects.shrunk(sketch, self.where, self.keep, self.keep)
        inner = max(sketch.ffn / (2 * sketch.hidden), 1)  # neurons, where there are two matrices
        shares = [min(1.0, self.rank * (1 / sketch.hidden + 1 / side)) for side in (sketch.hidden, inner)]
        return effects.shrunk(sketch, self.where, *shares)

    def apply(self, work: Work) -> None:
        """Watch the layers' inputs or slopes, then split each."""
        chosen = {}
        for path, module in layers.distinct(work.anatomy.whole(self.where)):
            rank = LowRank.smaller(size(module), self.keep, self.rank)
            if rank is not None and not (isinstance(module, LowRank) and module.rank <= rank):
                chosen[path] = rank
        if self.update:
            before = copy.deepcopy(work.model)
            for path, sums in original.crossed(work, before, list(chosen), self.samples, self.length):
                _replace(work.model, path, *_fitted(work.model.get_submodule(path), *sums, chosen[path]))
            return
        for path, gram in self._weights(work, list(chosen)):
            weight = layers.take(work.model.get_submodule(path)).weight.detach()  # (out, in)
            lower = None if gram is None else factor.whitening(gram)
            _replace(work.model, path, *factor.truncate(weight, chosen[path], lower))

    def _weights(self, work: Work, paths: list[str]) -> Iterator[tuple[str, torch.Tensor | None]]:
        """What each layer's error is weighed by in the original, (in, in), None for nothing; a block's at a time."""
        if not paths or self.importance == "none":
            yield from ((path, None) for path in paths)
        elif self.importance == "fisher":
            for path, values in scoring.fisher(work, paths, self.samples).items():
                yield path, torch.diag(values)
        else:
            inputs = {path: size(work.model.get_submodule(path))[1] for path in paths}
            for path, gram in original.singly(original.grams(work, paths, self.samples, self.length)):
                yield path, gram[: inputs[path], : inputs[path]]


@torch.no_grad()
def _fitted(
    module: nn.Module, cross: torch.Tensor, gram: torch.Tensor, rank: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Factors and bias whose outputs on the inputs now are nearest to the layer's own on the inputs before."""
    parts = layers.take(module)
    biased = parts.bias is not None
    weight = parts.weight.double()  # (out, in)
    between, _ = factor.centred(cross, biased)
    within, mean = factor.centred(gram, biased)
    target = factor.regress(weight, between, within)  # (out, in)
    left, right = factor.truncate(target, rank, factor.whitening(within))
    if parts.bias is None:
        return left, right, None
    original = cross.double()[:-1, -1] / cross[-1, -1].clamp_min(1)  # (in,), mean of the inputs before
    return left, right, parts.bias.double() + weight @ original - left @ (right @ mean)


@torch.no_grad()
def _replace(
    model: nn.Module, path: str, left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None
) -> None:
    layer = LowRank.of(model.get_submodule(path), left, right)
    if bias is not None:
        layers.take(layer).bias.copy_(bias)  # type: ignore[union-attr]
    layers.swap(model, path, layer)
