"""Examples on their way through the blocks of a model: the hidden states that enter the next one.

Frantar et al. 2022, arXiv:2210.17323, section 3: the model is rewritten block by block, and only what enters a block is
held. Blocks are called again with the arguments the model gave them, taken down in one pass a stack in which all but
the stack's first block are stood in for, so that no architecture has to be known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel

from laconic.anatomy import Anatomy, Stack
from laconic.contracts import Feature, Work
from laconic.data.batching import batches, lengths, masks, model_inputs
from laconic.flow import Answer, Call, Enough, quiet, replaced, standing_in
from laconic.kept import forget

TOKENS = 1024  # of a batch: enough to fill the processor, and few enough that what a layer computes stays near it


@dataclass
class Part:
    """Blocks of a stack that come together, with what enters them; `run` and `outputs` give (batch, longest, hidden).

    Who runs them to their end anyway leaves `outputs`, which spares a pass.
    """

    paths: tuple[str, ...]  # of the blocks, with a dot behind
    model: torch.nn.Module
    hidden: list[torch.Tensor]  # (batch, longest, hidden), of each batch
    calls: list[list[Call]]  # of each batch
    outputs: list[torch.Tensor] = field(default_factory=list)

    def run(self, batch: int) -> torch.Tensor:
        """What the blocks make of a batch, as they are now."""
        x = self.hidden[batch]
        for call in self.calls[batch]:
            x = call.again(self.model, x)
        return x

    def given(self, batch: int) -> list[torch.Tensor]:
        """What enters each call of a batch, (batch, longest, hidden), as the blocks are now."""
        found = [self.hidden[batch]]
        for call in self.calls[batch][:-1]:
            found.append(call.again(self.model, found[-1]))
        return found

    def leave(self) -> list[torch.Tensor]:
        """What enters the next part, of each batch."""
        with quiet(self.model):
            return self.outputs or [self.run(batch) for batch in range(len(self.hidden))]


class Examples:
    """Batches of examples on their way through the model: the hidden states that enter the next block."""

    def __init__(self, model: PreTrainedModel, padded: Sequence[dict[str, torch.Tensor]]) -> None:
        """`padded` are batches as `batching.pad` gives them; the first is run more often, to show what calls what."""
        self.model, self.batches = model, list(padded)
        self.masks = [masks(batch, model.device) for batch in self.batches]  # each (batch, longest)
        self.stacks = Anatomy(model).stacks
        self.hidden: list[torch.Tensor] = []  # (batch, longest, hidden), of each batch
        self.gave: list[dict[str, Any]] = [{} for _ in self.batches]  # of each batch, what a block of a stack gave

    @classmethod
    def of(cls, work: Work, features: Sequence[Feature]) -> Examples:
        """Features in batches of about TOKENS; the first is one example."""
        size, pad = max(1, TOKENS // max(lengths(features), default=1)), work.tokenizer.pad_token_id or 0
        found = [*batches(features[:1], 1, pad), *batches(features[1:], size, pad)]
        return cls(work.model, [batch for _, batch in found])

    @torch.no_grad()
    def walk(self, stack: Stack) -> Iterator[Part]:
        """Blocks of a stack in turn; when the next are asked for, the hidden states go through.

        Blocks whose runs alternate (ALBERT's) come together.
        """
        calls = [self._enter(stack, batch) for batch in range(len(self.batches))]
        for start, end in _runs([call.path for call in calls[0]] if calls else []):
            paths = tuple({f"{call.path}.": None for call in calls[0][start:end]})
            part = Part(paths, self.model, self.hidden, [found[start:end] for found in calls])
            yield part
            self.hidden = part.leave()
            for path in paths:
                forget(self.model.get_submodule(path[:-1]))
        for batch, gave in enumerate(self.gave):
            gave[stack.path] = replaced(gave[stack.path], self.hidden[batch])
        self.hidden = []

    @torch.no_grad()
    def behind(self, stack: Stack) -> Iterator[list[torch.Tensor]]:
        """What each block of a stack gives in turn, as often as it runs: (batch, longest, hidden) of each batch.

        For a model that nobody rewrites meanwhile.
        """
        for part in self.walk(stack):
            states = part.hidden
            for calls in zip(*part.calls, strict=True):
                with quiet(self.model):
                    states = [call.again(self.model, x) for call, x in zip(calls, states, strict=True)]
                part.outputs = states
                yield states

    def before(self, batch: int) -> None:
        """Run what stands before the first block."""
        self._forward(batch, {block.path: _end for block in self.stacks[0].blocks})

    def after(self, batch: int) -> None:
        """Run what stands after the last block; all stacks have been walked."""
        self._forward(batch, self._walked(batch))

    def whole(self, batch: int) -> None:
        """Run the whole model."""
        self._forward(batch, {})

    def _enter(self, stack: Stack, batch: int) -> list[Call]:
        """The calls of a stack's blocks, in order, as the model makes them; their first tensor is kept as `hidden`.

        What a block gives beside hidden states the first one says itself, and the others give it again; where that is
        nothing, as the first batch shows, no block has to compute.
        """
        calls: list[Call] = []

        def answer(call: Call, given: torch.Tensor, own: Callable[[], Any]) -> Any:
            if not calls:
                self.hidden.append(given)
                bare = batch > 0 and isinstance(self.gave[0][stack.path], torch.Tensor)
                self.gave[batch][stack.path] = given if bare else replaced(own(), given)
            calls.append(call)
            if len(calls) == stack.runs:
                raise Enough
            return self.gave[batch][stack.path]

        self._forward(batch, {**self._walked(batch), **{block.path: answer for block in stack.blocks}})
        if calls:  # what stood for the stack's hidden states is as large as they are, and they are held already
            gave = self.gave[batch]
            gave[stack.path] = replaced(gave[stack.path], torch.empty(0))
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
