"""Lessons for blocks: what each reads in the model as it is by then, and what the original's blocks gave there.

Li et al. 2021, arXiv:2102.05426 (BRECQ: reconstruction block by block). Both models go through their blocks once, side
by side, and what one block reads and is to give is held at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from laconic.answers import room
from laconic.calibration import cut, drawn
from laconic.calibration.examples import Examples, Part
from laconic.contracts import Feature, Teacher, Work
from laconic.data.batching import SIDES, batches, by_example, counts, lengths, order, pad
from laconic.errors import RecipeError
from laconic.flow import Seen, quiet

BATCH = 16

Masks = tuple[torch.Tensor, ...]  # as `batching.masks` gives them
Lesson = tuple[Seen, Masks]
"""A call of a block: what it reads now, what the original gave there, and the masks of tokens."""


@torch.no_grad()
def lessons(mine: Examples, original: Examples, wanted: Sequence[Sequence[int]]) -> Iterator[tuple[str, list[Lesson]]]:
    """Each block's path in turn, and its lessons, batch by batch; the caller rewrites it before it asks for the next.

    `wanted` says for each stack, at each of its runs, behind how many runs of the original's blocks stands what is to
    be given there: from 1, never falling, all of them in the end.
    """
    for stack, other, places in zip(mine.stacks, original.stacks, wanted, strict=True):
        behind, done, depth = original.behind(other), 0, 0
        told: list[torch.Tensor] = []
        for part in mine.walk(stack):
            goals = []
            for place in places[depth : depth + len(part.calls[0])]:
                for _ in range(done, place):
                    told = next(behind)
                goals.append(told)
                done = place
            depth += len(goals)
            for path in part.paths:
                yield path[:-1], _of_block(part, path[:-1], goals, mine.masks)
        next(behind, None)  # the walk ends there, so that the next stack finds what this one gave


def _of_block(part: Part, path: str, goals: Sequence[list[torch.Tensor]], masks: Sequence[Masks]) -> list[Lesson]:
    """Every call of the block at `path`, batch by batch; `goals` are of each call of the part and each batch."""
    found = []
    with quiet(part.model):
        for batch, calls in enumerate(part.calls):
            for call, given, goal in zip(calls, part.given(batch), goals, strict=True):
                if call.path == path:
                    found.append((Seen(given, goal[batch], call), masks[batch]))
    return found


def batched(work: Work, features: Sequence[Feature], size: int) -> Examples:
    """Features in batches of at most `size`, with no more than there is room for."""
    found = batches(features, room(work.model, features, size), work.tokenizer.pad_token_id or 0)
    return Examples(work.model, [batch for _, batch in found])


def alike(work: Work, teacher: Teacher, samples: int, length: int | None = None) -> tuple[Examples, Examples]:
    """The same batches for the model and for its teacher, each as its own tokenizer cuts them.

    Examples that the two cut into different numbers of pieces are left out; RecipeError when none is left.
    """
    sides = ((work.model, work.tokenizer), (teacher.model, teacher.tokenizer))
    examples = drawn(work, samples)
    own, other = (by_example(work.task.encode(examples, tokenizer, answers=False)) for _, tokenizer in sides)
    same = [i for i in own if all(counts(own[i], side) == counts(other[i], side) for side in SIDES)]
    pairs = [(cut(a, length), cut(b, length)) for i in same for a, b in zip(own[i], other[i], strict=True)]
    if not pairs:
        raise RecipeError("the model and the original cut every text into different pieces; use distill")
    features = [a for a, _ in pairs]
    chosen = order(lengths(features), room(work.model, features, BATCH))
    mine, theirs = (
        Examples(model, [pad([pairs[row][side] for row in rows], tokenizer.pad_token_id or 0) for rows in chosen])
        for side, (model, tokenizer) in enumerate(sides)
    )
    return mine, theirs
