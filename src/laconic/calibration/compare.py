"""Inputs of layers beside those in the original: how far rewriting what comes earlier has moved them.

Arai and Ichikawa 2025, arXiv:2504.09629 (QEP), and Li et al. 2025, arXiv:2504.02692 (GPTAQ: asymmetric calibration).
Differs from the papers: where a layer's outputs are added to a residual stream, how far that has moved counts as well,
since the layer can make up for it. What is the original here is the model before the step.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import PreTrainedModel

from laconic import calibration, layers, machine
from laconic.anatomy import Residual
from laconic.calibration import Group, Pairs, Stage, stages
from laconic.calibration.sums import gram, tokens
from laconic.contracts import Work
from laconic.errors import RecipeError
from laconic.flow import Enough, entering, quiet
from laconic.layers.lowrank import LowRank
from laconic.maths import hessian

Given = dict[str, list[torch.Tensor]]  # path -> what each call was given, (batch, longest, channels)


@dataclass(frozen=True)
class Compared:
    """Layers that read one tensor; sums over its tokens x, of which x' is the same in the original, None if none came.

    `gram` is sum x x^T and `moved` sum (x' - x) x^T, (in, in) float32 both. `stream` is sum (r' - r) x^T, (out, in),
    where r is what a layer's outputs are added to, and r' is that in the original.
    """

    pairs: Pairs
    gram: torch.Tensor | None = None
    moved: torch.Tensor | None = None
    stream: torch.Tensor | None = None


def inputs(
    work: Work, original: PreTrainedModel, where: str, samples: int, *, sequential: bool, length: int | None
) -> Iterator[Compared]:
    """As `calibration.inputs`, beside an `original`: a copy of the model, which nobody rewrites.

    With `sequential` layers that read one tensor have a pass of their own from the start of their block.
    """
    before = replace(work, model=original)
    residuals = _residuals(work)
    with machine.returning_memory():
        both = (stages(one, where, samples, length=length) for one in (work, before))
        for now, then in zip(*both, strict=True):
            order = now.groups()
            yield from (Compared([pair]) for pair in now.unread(order))
            parts = [[group] for group in order] if sequential or not order else [order]
            for part in parts:
                for group, found in zip(part, _compared(now, then, part, residuals), strict=True):
                    whole = None if found.gram is None else now.with_others(group, found.gram)
                    yield replace(found, pairs=now.of(group), gram=whole)


@dataclass(frozen=True)
class Wanted:
    """Layers that read one tensor, sum x x^T of its tokens (in, in), None if none came, and the weights to be had."""

    pairs: Pairs
    gram: torch.Tensor | None
    weights: list[torch.Tensor]  # (out, in) float32, one of each layer


def weights(
    work: Work, where: str, samples: int, part: float, *, sequential: bool, length: int | None
) -> Iterator[Wanted]:
    """`inputs`, with the weights that make up for `part` of what has moved; layers' own weights where that is 0."""
    how: dict[str, Any] = {"sequential": sequential, "length": length}
    if not part:
        for given in calibration.inputs(work, where, samples, **how):
            yield Wanted(given.pairs, given.gram, _own(given.pairs))
        return
    for found in inputs(work, copy.deepcopy(work.model), where, samples, **how):
        held = _own(found.pairs)
        if found.gram is not None and found.moved is not None:
            sums = found.gram, found.moved, found.stream
            whole = hessian.propagated(torch.cat(held), *sums, part=part)
            held = list(torch.split(whole, [len(weight) for weight in held]))
        yield Wanted(found.pairs, found.gram, held)


def check(propagate: float) -> None:
    """Raise RecipeError unless that part of what has moved can be made up for."""
    if not 0 <= propagate <= 1:
        raise RecipeError(f"propagate is {propagate}; give a part of what the step has changed so far, 0 to 1")


def _own(pairs: Pairs) -> list[torch.Tensor]:
    return [layers.take(module).weight.detach().float() for _, module in pairs]


def _residuals(work: Work) -> dict[str, Residual]:
    """What the outputs of layers are added to, by the layers' paths; of a low-rank layer, its last factor's."""
    found = {}
    for block in (block for stack in work.anatomy.stacks for block in stack.blocks):
        for path in block.outputs:
            residual = block.residual(path)
            while isinstance(work.model.get_submodule(path), LowRank):
                path += ".up"
            found[path] = residual
    return found


@torch.no_grad()
def _compared(now: Stage, then: Stage, groups: Sequence[Group], residuals: dict[str, Residual]) -> list[Compared]:
    """The sums of each group, without its layers."""
    firsts = [group.paths[0] for group in groups]
    wanted = {path: residuals[path] for path in firsts if path in residuals}
    sums = {path: (torch.zeros(()), torch.zeros(()), torch.zeros(())) for path in firsts}
    passes = zip(now.examples.masks, *(_passes(one, groups, wanted) for one in (now, then)), strict=True)
    for sides, ours, theirs in passes:
        for path in firsts:
            for call, given in enumerate(ours[path]):
                x = tokens(given, sides)  # (tokens, in)
                square, moved, stream = sums[path]
                if path in wanted:
                    here, there = (_state(*pair, wanted[path], call) for pair in ((now, ours), (then, theirs)))
                    stream = stream + gram(tokens(there, sides) - tokens(here, sides), x)
                sums[path] = square + gram(x), moved + gram(tokens(theirs[path][call], sides) - x, x), stream
    found = [(path in wanted, *sums[path]) for path in firsts]
    return [Compared([], square, moved, stream if added else None) for added, square, moved, stream in found]


def _passes(stage: Stage, groups: Sequence[Group], wanted: dict[str, Residual]) -> Iterator[Given]:
    """What enters each group, and what its residual is made of, batch by batch; a pass ends with the last group."""
    firsts = [group.paths[0] for group in groups]
    paths = dict.fromkeys([*firsts, *(path for r in wanted.values() for path in (r.enters, *r.added))])
    for batch in range(len(stage.examples.masks)):
        with entering(stage.examples.model, list(paths), (firsts[-1], groups[-1].calls)) as seen, suppress(Enough):
            stage.run(batch)
        yield seen


def _state(stage: Stage, given: Given, residual: Residual, call: int) -> torch.Tensor:
    """The residual stream (batch, longest, hidden) in one of a block's calls."""
    model = stage.examples.model
    state = given[residual.enters][call]
    with quiet(model):
        for path in residual.added:
            state = state + model.get_submodule(path)(given[path][call])
    return state
