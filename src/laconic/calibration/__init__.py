"""Calibration, the same for all methods: which examples are run, and what enters the layers, block by block.

Frantar et al. 2022, arXiv:2210.17323: a block's inputs come from the blocks before it as they are after rewriting, and
with `sequential` (its authors' "true sequential") a layer's inputs from the layers before it in its block. Of a weight
that layers of several blocks share, the inputs of all of them count.
Held are the examples and the hidden states that enter the next block. With `sequential`, held is also what a block has
computed of all of them so far: its passes wait at each layer while that is rewritten, so that one pass serves all
layers. Where there is no room, or a block is called more than once, every layer has its own pass from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import nn

from laconic import layers, machine, options
from laconic.anatomy import Anatomy
from laconic.calibration.examples import Examples, Part
from laconic.calibration.readers import Elsewhere, elsewhere
from laconic.calibration.sums import add, gram, mirrored, tokens
from laconic.contracts import Example, Feature, Work
from laconic.errors import RecipeError
from laconic.flow import Enough, entering, waiting

ROOM = 2**30  # bytes that waiting passes may hold where the model has fewer itself
HELD = 8  # tensors of a hidden state's size that a block holds while it waits: residual, query, key, value and more

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
    """So many training examples, drawn by the seed, in the order they have; RecipeError where there are none."""
    if not work.data.train:
        raise RecipeError("there is no training example to calibrate on; give some")
    rng = np.random.default_rng(work.seed)
    return [work.data.train[i] for i in sorted(rng.permutation(len(work.data.train))[:samples].tolist())]


def draw(work: Work, samples: int, *, answers: bool = False, length: int | None = None) -> list[Feature]:
    """Features of the examples `drawn`; of those longer than `length` tokens, the first tokens."""
    features = work.task.encode(drawn(work, samples), work.tokenizer, answers=answers)
    return [cut(feature, length) for feature in features]


def cut(feature: Feature, length: int | None) -> Feature:
    """The first `length` tokens of an example without answers, or all of them."""
    if length is None:
        return feature
    return {key: row[:length] for key, row in feature.items()}


def inputs(
    work: Work, where: str, samples: int, *, sequential: bool = False, length: int | None = None
) -> Iterator[Inputs]:
    """The layers that `where` says, in the order the model reads them, each with its inputs as the model is by then.

    The caller rewrites what it is handed before it asks for the next, in the same thread, and copies nothing.
    """
    with machine.returning_memory():
        for stage in stages(work, where, samples, length=length):
            yield from stage.inputs(sequential=sequential)


def reached(
    work: Work, where: str, samples: int, *, sequential: bool = False, length: int | None = None
) -> Iterator[tuple[Pairs, torch.Tensor]]:
    """`inputs` of the layers that examples reach, as pairs and gram; of others the log says that they are left."""
    for found in inputs(work, where, samples, sequential=sequential, length=length):
        if found.gram is None:
            unreached(work, found.pairs)
        else:
            yield found.pairs, found.gram


def unreached(work: Work, pairs: Pairs) -> None:
    """Say in the log that these layers are left."""
    work.log(f"no training example reaches {', '.join(path for path, _ in pairs)}: left as it is")


def stages(work: Work, where: str, samples: int, *, length: int | None = None) -> Iterator[Stage]:
    """What stands before the blocks, each block, and what stands after them: those in which `where` says layers.

    A stage is as the model is when it is asked for; what comes later runs through what its layers became by then.
    """
    chosen = layers.distinct(work.anatomy.linears(where))
    examples = Examples.of(work, draw(work, samples, length=length))
    yield from staged(examples, work.anatomy, chosen, elsewhere(examples, chosen))


def staged(examples: Examples, anatomy: Anatomy, chosen: Pairs, others: Mapping[str, Elsewhere]) -> Iterator[Stage]:
    """`stages` of the layers `chosen`; `others` is what enters other readers of their weights, by path."""
    places = tuple(f"{stack.path}." for stack in anatomy.stacks)
    inside = {path: module for path, module in chosen if path.startswith(places)}
    entry = {path for path, _ in anatomy.linears("embeddings")}
    early = [p for p in chosen if p[0] in entry]
    late = [p for p in chosen if p[0] not in inside and p not in early]
    yield from (Stage(examples, [p], examples.before) for p in early)
    for stack in anatomy.stacks:
        if not inside and not late:
            return
        for part in examples.walk(stack):
            pairs = [(path, inside.pop(path)) for path in list(inside) if path.startswith(part.paths)]
            more = bool(inside or late)
            if pairs:
                yield Stage(examples, pairs, part.run, part, more, others)
            if not more:
                return
    if late:
        yield Stage(examples, late, examples.after)


@dataclass(frozen=True)
class Stage:
    """A part of the model that is rewritten at a time: its layers, and a way to run it on each batch."""

    examples: Examples
    pairs: Pairs
    run: Callable[[int], object]
    part: Part | None = None  # the blocks, where it is of blocks
    more: bool = False  # whether what they give is read
    others: Mapping[str, Elsewhere] = field(default_factory=dict)  # by the path of a weight

    def inputs(self, *, sequential: bool = False) -> Iterator[Inputs]:
        """Layers by the tensor they read, in order; with `sequential`, each as the layers before it are by then."""
        order = self.groups()
        yield from (Inputs([pair], None) for pair in self.unread(order))
        for group, found in zip(order, self._sums(order, sequential), strict=True):
            yield Inputs(self.of(group), self.with_others(group, found))

    def of(self, group: Group) -> Pairs:
        """The layers of a group."""
        modules = dict(self.pairs)
        return [(path, modules[path]) for path in group.paths]

    def with_others(self, group: Group, own: torch.Tensor) -> torch.Tensor:
        """sum x x^T of a group, with what enters the other readers of its weights."""
        found = self.others.get(group.paths[0])
        return own if found is None else own + found.gram

    def unread(self, groups: Sequence[Group]) -> Pairs:
        """The layers that are in no group: those that look up, and those no example reaches."""
        called = {path for group in groups for path in group.paths}
        return [pair for pair in self.pairs if pair[0] not in called]

    def _sums(self, order: Sequence[Group], sequential: bool) -> Iterator[torch.Tensor]:
        """`_grams` of each group, made when it is asked for with `sequential`."""
        if not sequential:
            return iter(self._grams(order))
        if self.part is not None and _can_wait(self.part, order):
            return self._waiting(self.part, order)
        return (self._grams([group])[0] for group in order)

    @torch.no_grad()
    def _waiting(self, part: Part, order: Sequence[Group]) -> Iterator[torch.Tensor]:
        """Sums of one pass, which waits at each group until the caller has rewritten it, and leaves its outputs."""
        runs = [partial(part.run, batch) for batch in range(len(part.hidden))]
        with waiting(part.model, [group.paths[0] for group in order], runs) as passes:
            for _ in order:
                yield _summed(tokens(one.on(), sides) for one, sides in zip(passes, self.examples.masks, strict=True))
            if self.more:
                part.outputs = [one.on() for one in passes]

    @torch.no_grad()
    def groups(self) -> list[Group]:
        """Linears by the very tensors they and their weights' other readers read, in the order of calls.

        Those not called are left out.
        """
        paths = [path for path, module in self.pairs if layers.take(module).role == "linear"]
        groups: dict[tuple[int, ...], list[str]] = {}
        if not paths or not self.examples.masks:
            return []
        with entering(self.examples.model, paths) as seen, suppress(Enough):
            self.run(0)
        for path, given in seen.items():
            also = self.others[path].given if path in self.others else ()
            groups.setdefault((id(given[0]), *also), []).append(path)
        return [Group(tuple(group), len(seen[group[0]])) for group in groups.values()]

    @torch.no_grad()
    def _grams(self, groups: Sequence[Group]) -> list[torch.Tensor]:
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
class Group:
    """Layers that read one tensor, and how often each is called in a pass."""

    paths: tuple[str, ...]
    calls: int


def _summed(batches: Iterable[torch.Tensor]) -> torch.Tensor:
    """sum x x^T over all tokens, (in, in), of batches (tokens, in)."""
    below = None
    for x in batches:
        below = add(x.new_zeros(x.shape[1], x.shape[1], dtype=torch.float32) if below is None else below, x)
    return torch.zeros(()) if below is None else mirrored(below)


def _can_wait(part: Part, order: Sequence[Group]) -> bool:
    """Whether a pass reaches each group once, and what all passes hold has room."""
    own = sum(p.numel() * p.element_size() for p in part.model.parameters())
    held = HELD * sum(x.numel() * x.element_size() for x in part.hidden)
    return all(group.calls == 1 for group in order) and held <= max(ROOM, own)
