"""Sums over what enters layers in the model as a step finds it, a block's at a time.

No paper: least squares for a layer needs the sum x x^T of its inputs, (in, in), and those of all layers together are
larger than the model. Examples go through the blocks in turn, as in `calibration`, but what a block gives is
computed with its sums, before the caller rewrites it: no layer's inputs feel what the step does to others.
Held are the sums of one block, and of a weight that several blocks read, from the first of them to the last: it is
handed out then, since what is rewritten earlier would change what comes between.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from laconic import layers, machine
from laconic.calibration import Group, Stage, draw, staged, unreached
from laconic.calibration.examples import Examples, Part
from laconic.calibration.sums import add, gram, mirrored, tokens
from laconic.contracts import Work
from laconic.flow import Enough, entering
from laconic.maths.separable import behind

Sums = dict[str, torch.Tensor]
Crossed = tuple[torch.Tensor, torch.Tensor]
Found = TypeVar("Found")


@torch.no_grad()
def grams(
    work: Work,
    paths: Sequence[str],
    samples: int,
    length: int | None = None,
    taps: int = 1,
    *,
    counted: bool = False,
) -> Iterator[Sums]:
    """sum x x^T over the tokens that enter each layer, {path: (in, in)} float32, of one block after another.

    The inputs of a layer with a bias end with a 1, so its matrix is (in + 1, in + 1) and the bias counts as a column.
    If `counted`, the inputs of all layers do, and the last number of a matrix is that of tokens.
    With `taps`, x is a token and those before it, (taps * in,), as `separable.behind` has them.
    Layers that read one tensor have one matrix, not to be written into; one that no example reaches has none.
    The caller may rewrite the layers it is handed, and takes out what it is done with, so that no more is held.
    """
    readers = layers.readers(work.model)
    left = {path: {path, *(p for p in readers.get(path, ()) if p not in paths)} for path in paths}  # still to come
    owner = {reader: path for path, some in left.items() for reader in some}
    biased = {path: layers.take(work.model.get_submodule(path)).bias is not None for path in paths}
    ones = {reader: counted or biased[path] for reader, path in owner.items()}
    every = [(reader, work.model.get_submodule(reader)) for reader in owner]
    held: Sums = {}
    examples = Examples.of(work, draw(work, samples, length=length))
    with machine.returning_memory():
        for stage in staged(examples, work.anatomy, every, {}):
            _collect(stage, owner, ones, held, taps)
            for reader, _ in stage.pairs:
                left[owner[reader]].discard(reader)
            done = [path for path, some in left.items() if not some]
            left = {path: some for path, some in left.items() if some}
            _named(work, [path for path in done if path not in held])
            yield {path: held.pop(path) for path in done if path in held}


@torch.no_grad()
def crossed(
    work: Work, before: PreTrainedModel, paths: Sequence[str], samples: int, length: int | None = None
) -> Iterator[tuple[str, Crossed]]:
    """(sum x x'^T, sum x' x'^T) of inputs x in the model `before` and x' in the model as it is by then, by path.

    As `grams` gives them, block by block; the inputs of a block's layers are from before any of them is rewritten.
    """
    features = draw(work, samples, length=length)
    now, then = (Examples.of(one, features) for one in (work, replace(work, model=before)))
    with machine.returning_memory():
        for stack, other in zip(now.stacks, then.stacks, strict=True):
            for part, goal in zip(now.walk(stack), then.walk(other), strict=True):
                for block in part.paths:
                    own = [(path, work.model.get_submodule(path)) for path in paths if path.startswith(block)]
                    found = _crossed(Stage(now, own, part.run, part), goal)
                    _named(work, [path for path, _ in own if path not in found])
                    yield from each(found)


def each(found: dict[str, Found]) -> Iterator[tuple[str, Found]]:
    """What is found, one by one, each let go of as it is handed out."""
    for path in list(found):
        yield path, found.pop(path)


def singly(blocks: Iterable[dict[str, Found]]) -> Iterator[tuple[str, Found]]:
    """`each` of one block after another."""
    for found in blocks:
        yield from each(found)


def _named(work: Work, missed: Sequence[str]) -> None:
    """Say in the log of layers that no example reaches that they are left."""
    if missed:
        unreached(work, [(path, work.model.get_submodule(path)) for path in missed])


def _collect(stage: Stage, owner: Mapping[str, str], ones: Mapping[str, bool], held: Sums, taps: int) -> None:
    """Add the sums of a stage's layers to those held of the layers whose weights they read."""
    for group, found in _summed(stage, ones, taps):
        for reader, own in _each_of(group, found, ones):
            path = owner[reader]
            held[path] = held[path] + own if path in held else own


def _summed(stage: Stage, ones: Mapping[str, bool], taps: int) -> Iterator[tuple[Group, torch.Tensor]]:
    """sum x x^T of each group of a stage, with a last column of ones where one of it asks; the part leaves outputs."""
    order, part = stage.groups(), stage.part if stage.more else None
    if not order:
        return
    firsts = [group.paths[0] for group in order]
    ends = {group.paths[0]: _biased(group, ones) for group in order}
    below: Sums = {}
    outputs: list[torch.Tensor] = []
    with entering(stage.examples.model, firsts, None if part else (firsts[-1], order[-1].calls)) as seen:
        for batch, sides in enumerate(stage.examples.masks):
            seen.clear()
            with suppress(Enough):
                if part:
                    outputs.append(part.run(batch))
                else:
                    stage.run(batch)
            for path in firsts:
                for given in seen[path]:
                    wide = given if taps == 1 else behind(given, taps).flatten(-2)  # (batch, tokens, taps * in)
                    x = tokens(wide, sides, ones=ends[path])  # (tokens, in)
                    if path not in below:
                        below[path] = x.new_zeros(x.shape[1], x.shape[1], dtype=torch.float32)
                    add(below[path], x)
    if part:
        part.outputs = outputs
    for group in order:
        yield group, mirrored(below.pop(group.paths[0]))


def _crossed(now: Stage, then: Part) -> dict[str, Crossed]:
    """The sums of a block's layers, in the model now and in that before, whose part leaves its outputs."""
    order = now.groups()
    if not order:
        return {}
    ones = {path: layers.take(module).bias is not None for path, module in now.pairs}
    firsts = [group.paths[0] for group in order]
    sums = dict.fromkeys(firsts, (torch.zeros(()), torch.zeros(())))
    then.outputs = []
    last = firsts[-1], order[-1].calls
    with entering(then.model, firsts) as before, entering(now.examples.model, firsts, last) as after:
        for batch, sides in enumerate(now.examples.masks):
            before.clear()
            after.clear()
            then.outputs.append(then.run(batch))
            with suppress(Enough):
                now.run(batch)
            for group in order:
                path = group.paths[0]
                for pair in zip(before[path], after[path], strict=True):
                    x, y = (tokens(given, sides, ones=_biased(group, ones)) for given in pair)  # (tokens, in)
                    sums[path] = sums[path][0] + gram(x, y), sums[path][1] + gram(y)
    made: dict[str, Crossed] = {}
    for group in order:
        cross, own = (dict(_each_of(group, found, ones)) for found in sums.pop(group.paths[0]))
        made |= {path: (cross[path], own[path]) for path in group.paths}
    return made


def _biased(group: Group, ones: Mapping[str, bool]) -> bool:
    return any(ones[path] for path in group.paths)


def _each_of(group: Group, found: torch.Tensor, ones: Mapping[str, bool]) -> Iterator[tuple[str, torch.Tensor]]:
    """The matrix of each layer of a group, without the last column for one that has no bias and others do."""
    for path in group.paths:
        yield path, found if ones[path] or not _biased(group, ones) else found[:-1, :-1]
