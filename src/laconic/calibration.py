"""Calibration, the same for all methods: which examples are run, and what enters the layers, block by block.

Frantar et al. 2022, arXiv:2210.17323: a block's inputs come from the blocks before it as they are after rewriting, and
with `sequential` (its authors' "true sequential") a layer's inputs from the layers before it in its block.
Held are the examples, the hidden states that enter the next block with what it is given beside them, and one batch's
activations. Blocks are called again with the arguments the
model gave them, taken down in one pass a stack in which all but the stack's first block are stood in for, so that no
architecture has to be known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from laconic import layers, options
from laconic.anatomy import Stack
from laconic.contracts import Example, Feature, Work
from laconic.data.batching import batches, lengths, mask_of, masks, model_inputs
from laconic.flow import Answer, Call, Enough, entering, quiet, replaced, standing_in

TOKENS = 8192  # of a batch: enough to fill the processor, and few enough to hold what a block computes of them

Pairs = list[tuple[str, nn.Module]]


@dataclass(frozen=True)
class Inputs:
    """Layers that read one and the same tensor, and sum x x^T of its tokens, (in, in) float32; None where none came."""

    pairs: Pairs
    gram: torch.Tensor | None


def check(samples: int, length: int | None = None) -> None:
    """Raise RecipeError unless these options can work."""
    options.whole("samples", samples)
    if length is not None:
        options.whole("length", length)


def drawn(work: Work, samples: int) -> list[Example]:
    """So many training examples, drawn by the seed, in the order they have in the data."""
    rng = np.random.default_rng(work.seed)
    return [work.data.train[i] for i in sorted(rng.permutation(len(work.data.train))[:samples].tolist())]


def draw(work: Work, samples: int, *, answers: bool = False, length: int | None = None) -> list[Feature]:
    """Features of the examples `drawn`; of those longer than `length` tokens, the first tokens."""
    features = work.task.encode(drawn(work, samples), work.tokenizer, answers=answers)
    if length is None:
        return features
    return [{key: row[:length] for key, row in feature.items()} for feature in features]


def tokens(x: torch.Tensor, masks: Sequence[torch.Tensor], *, ones: bool = False) -> torch.Tensor:
    """Tokens of a batch without padding: (tokens, channels) of (batch, longest, channels), with `ones` a 1 behind.

    `masks` are `batching.masks`, one or two.
    """
    mask = mask_of(x, masks)
    x = x.flatten(0, -2) if mask is None else x[mask]
    return torch.cat([x, x.new_ones(len(x), 1)], 1) if ones else x


def gram(x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
    """sum x x'^T over tokens of (tokens, in), (in, in) float32; x' is x itself where there is no `other`."""
    x = x.float()
    return x.T @ (x if other is None else other.float())


def inputs(
    work: Work, where: str, samples: int, *, sequential: bool = False, length: int | None = None
) -> Iterator[Inputs]:
    """The layers that `where` says, in the order the model reads them, each with its inputs as the model is by then.

    The caller rewrites what it is handed before it asks for the next.
    """
    for stage in stages(work, where, samples, length=length):
        yield from stage.inputs(sequential=sequential)


def reached(
    work: Work, where: str, samples: int, *, sequential: bool = False, length: int | None = None
) -> Iterator[tuple[Pairs, torch.Tensor]]:
    """`inputs` of the layers that examples reach, as pairs and gram; of others the log says that they are left."""
    for found in inputs(work, where, samples, sequential=sequential, length=length):
        if found.gram is None:
            work.log(f"no training example reaches {', '.join(path for path, _ in found.pairs)}: left as it is")
        else:
            yield found.pairs, found.gram


def stages(work: Work, where: str, samples: int, *, length: int | None = None) -> Iterator[Stage]:
    """What stands before the blocks, each block, and what stands after them: those in which `where` says layers.

    A stage is as the model is when it is asked for; what comes later runs through what its layers became by then.
    """
    anatomy = work.anatomy
    chosen = layers.distinct(anatomy.linears(where))
    places = tuple(f"{stack.path}." for stack in anatomy.stacks)
    inside = {path: module for path, module in chosen if path.startswith(places)}
    entry = {path for path, _ in anatomy.linears("embeddings")}
    early = [p for p in chosen if p[0] in entry]
    late = [p for p in chosen if p[0] not in inside and p not in early]
    examples = _Examples(work, draw(work, samples, length=length))
    yield from (Stage(examples, [p], examples.before) for p in early)
    for stack in anatomy.stacks:
        if not inside and not late:
            return
        for paths, run in examples.walk(stack):
            pairs = [(path, inside.pop(path)) for path in list(inside) if path.startswith(paths)]
            if pairs:
                yield Stage(examples, pairs, run)
            if not inside and not late:
                return
    if late:
        yield Stage(examples, late, examples.after)


@dataclass(frozen=True)
class Stage:
    """A part of the model that is rewritten at a time: its layers, and a way to run it on each batch."""

    examples: _Examples
    pairs: Pairs
    run: Callable[[int], object]

    def inputs(self, *, sequential: bool = False) -> Iterator[Inputs]:
        """Layers by the tensor they read, in order; with `sequential`, each as the layers before it are by then."""
        modules = dict(self.pairs)
        order = self._order([path for path, module in self.pairs if layers.take(module).role == "linear"])
        called = {path for group in order for path in group.paths}
        yield from (Inputs([p], None) for p in self.pairs if p[0] not in called)
        sums = [] if sequential else self._grams(order)
        for i, group in enumerate(order):
            found = self._grams([group])[0] if sequential else sums[i]
            yield Inputs([(p, modules[p]) for p in group.paths], found)

    @torch.no_grad()
    def _order(self, paths: Sequence[str]) -> list[_Group]:
        """Paths by the very tensor they read first, in the order of calls; those not called are left out."""
        groups: dict[int, list[str]] = {}
        if not paths or not self.examples.masks:
            return []
        with entering(self.examples.model, paths) as seen, suppress(Enough):
            self.run(0)
        for path, given in seen.items():
            groups.setdefault(id(given[0]), []).append(path)
        return [_Group(tuple(group), len(seen[group[0]])) for group in groups.values()]

    @torch.no_grad()
    def _grams(self, groups: Sequence[_Group]) -> list[torch.Tensor]:
        """sum x x^T over the tokens that enter each group; a pass ends when the last group has its inputs."""
        firsts = [group.paths[0] for group in groups]
        sums = dict.fromkeys(firsts, torch.zeros(()))
        last = (firsts[-1], groups[-1].calls) if groups else None
        with entering(self.examples.model, firsts, last) as seen:
            for batch, sides in enumerate(self.examples.masks):
                seen.clear()
                with suppress(Enough):
                    self.run(batch)
                for path in firsts:
                    for x in seen[path]:
                        sums[path] = sums[path] + gram(tokens(x, sides))
        return list(sums.values())


@dataclass(frozen=True)
class _Group:
    """Layers that read one tensor, and how often each is called in a pass."""

    paths: tuple[str, ...]
    calls: int


class _Examples:
    """Batches of examples on their way through the model: the hidden states that enter the next block."""

    def __init__(self, work: Work, features: Sequence[Feature]) -> None:
        self.model = work.model
        longest = max(lengths(features), default=1)
        found = batches(features, max(1, TOKENS // longest), work.tokenizer.pad_token_id or 0)
        self.batches = [batch for _, batch in found]
        self.masks = [masks(batch, work.model.device) for batch in self.batches]  # each (batch, longest)
        self.stacks = work.anatomy.stacks
        self.hidden: list[torch.Tensor] = []  # (batch, longest, hidden), of each batch
        self.gave: list[dict[str, Any]] = [{} for _ in self.batches]  # of each batch, what a block of a stack gave

    @torch.no_grad()
    def walk(self, stack: Stack) -> Iterator[tuple[tuple[str, ...], Callable[[int], torch.Tensor]]]:
        """Blocks of a stack in turn: their paths with a dot behind, and how to run them on a batch.

        Blocks whose runs alternate (ALBERT's) come together. When the next are asked for, the hidden states go through.
        """
        calls = [self._enter(stack, batch) for batch in range(len(self.batches))]
        for start, end in _runs([call.path for call in calls[0]] if calls else []):

            def run(batch: int, start: int = start, end: int = end) -> torch.Tensor:
                x = self.hidden[batch]
                for call in calls[batch][start:end]:
                    x = call.again(self.model, x)
                return x

            yield tuple({f"{call.path}.": None for call in calls[0][start:end]}), run
            with quiet(self.model):
                for batch in range(len(self.batches)):
                    self.hidden[batch] = run(batch)
        for batch, gave in enumerate(self.gave):
            gave[stack.path] = replaced(gave[stack.path], self.hidden[batch])
        self.hidden = []

    def before(self, batch: int) -> None:
        """Run what stands before the first block."""
        self._forward(batch, {block.path: _end for block in self.stacks[0].blocks})

    def after(self, batch: int) -> None:
        """Run what stands after the last block; all stacks have been walked."""
        self._forward(batch, self._walked(batch))

    def _enter(self, stack: Stack, batch: int) -> list[Call]:
        """The calls of a stack's blocks, in order, as the model makes them; their first tensor is kept as `hidden`.

        The first block answers itself, for what it gives beside hidden states; the others give the same again.
        """
        calls: list[Call] = []
        runs = sum(block.repeats for block in stack.blocks)

        def answer(call: Call, given: torch.Tensor, own: Callable[[], Any]) -> Any:
            if not calls:
                self.hidden.append(given)
                self.gave[batch][stack.path] = own()
            calls.append(call)
            if len(calls) == runs:
                raise Enough
            return self.gave[batch][stack.path]

        self._forward(batch, {**self._walked(batch), **{block.path: answer for block in stack.blocks}})
        return calls

    def _walked(self, batch: int) -> dict[str, Answer]:
        """Answers of stacks that have been walked: what their last block gives."""
        found: dict[str, Answer] = {}
        for stack in self.stacks:
            if stack.path in self.gave[batch]:
                given = self.gave[batch][stack.path]
                found |= {block.path: lambda *_, given=given: given for block in stack.blocks}
        return found

    def _forward(self, batch: int, answers: dict[str, Answer]) -> None:
        with standing_in(self.model, answers), suppress(Enough):
            self.model(**model_inputs(self.batches[batch], self.model.device))


def _end(*_: Any) -> Any:
    raise Enough


def _runs(paths: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Ranges of calls in which every path has all its calls, as short as can be."""
    last = {path: i for i, path in enumerate(paths)}
    start = reach = 0
    for i, path in enumerate(paths):
        reach = max(reach, last[path])
        if i == reach:
            yield start, i + 1
            start = i + 1
