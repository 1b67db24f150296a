"""What enters and leaves layers, by running whole models: the slow references for passes that go block by block."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.nn import functional

from laconic import calibration, layers
from laconic.answers import room
from laconic.calibration import lessons as found
from laconic.calibration.sums import tokens
from laconic.data.batching import batches, masks, model_inputs
from laconic.flow import Seen, watch


def passes(work, models, paths, samples, length=None, size=16) -> Iterator[tuple[list[dict[str, list[Seen]]], tuple]]:
    """What each of the models saw at the paths, and the masks, of each batch."""
    features = calibration.draw(work, samples, length=length)
    for _, batch in batches(features, room(work.model, features, size), work.tokenizer.pad_token_id or 0):
        seen = []
        for model in models:
            with watch(model, paths) as calls, torch.no_grad():
                model(**model_inputs(batch, model.device))
            seen.append({path: calls[path] for path in paths})
        yield seen, masks(batch)


def given(work, path, seen, sides, *, counted=False):
    """Inputs of a layer, (tokens, in), with a 1 behind where it has a bias, or always."""
    biased = layers.take(work.model.get_submodule(path)).bias is not None
    return tokens(seen.given, sides, ones=biased or counted)


def grams(work, paths, samples, length=None, taps=1, *, counted=False) -> dict[str, torch.Tensor]:
    """sum x x^T of each layer and of those that read its weight, a bias as a last 1; x with those of places before.

    If `counted`, all end with a 1.
    """
    others = layers.readers(work.model)
    every = {path: [path, *(o for o in others.get(path, ()) if o not in paths)] for path in paths}
    sums = dict.fromkeys(paths, 0.0)
    for (seen,), sides in passes(work, [work.model], [p for some in every.values() for p in some], samples, length):
        for path, some in every.items():
            for call in (call for p in some for call in seen[p]):
                wide = [functional.pad(call.given, (0, 0, back, 0))[:, : call.given.shape[1]] for back in range(taps)]
                x = given(work, path, replace(call, given=torch.cat(wide, -1)), sides, counted=counted)
                sums[path] = sums[path] + x.T @ x
    return sums


def crossed(work, before, paths, samples, length=None) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """(sum x x'^T, sum x' x'^T) of inputs x in the model before and x' in the model now."""
    sums = dict.fromkeys(paths, (0.0, 0.0))
    for (then, now), sides in passes(work, [before, work.model], paths, samples, length):
        for path in paths:
            for pair in zip(then[path], now[path], strict=True):
                x, y = (given(work, path, call, sides) for call in pair)
                sums[path] = sums[path][0] + x.T @ y, sums[path][1] + y.T @ y
    return sums


def crossed_by_block(work, before, paths, samples, length=None):
    """`crossed` of a block's layers when the blocks before it have been rewritten."""
    for block in (block for stack in work.anatomy.stacks for block in stack.blocks):
        inside = [path for path in paths if path.startswith(f"{block.path}.")]
        yield from crossed(work, before, inside, samples, length).items() if inside else ()


def calls(work, path, samples, length, size) -> list[tuple[Seen, tuple]]:
    """Calls of the module at a path, `size` examples at a time, with the masks of each."""
    return [
        (call, sides)
        for (seen,), sides in passes(work, [work.model], [path], samples, length, size)
        for call in seen[path]
    ]


def lessons(mine, original, wanted):
    """As `calibration.lessons.lessons`, with a pass over both whole models for every block."""
    for stack, other, places in zip(mine.stacks, original.stacks, wanted, strict=True):
        runs, goals = ([(b.path, run) for b in s.blocks for run in range(b.repeats)] for s in (stack, other))
        for block in stack.blocks:
            at = [goals[place - 1] for (path, _), place in zip(runs, places, strict=True) if path == block.path]
            told = []
            for own, theirs, sides in zip(mine.batches, original.batches, mine.masks, strict=True):
                with torch.no_grad(), watch(mine.model, [block.path]) as seen:
                    mine.model(**model_inputs(own))
                with torch.no_grad(), watch(original.model, list({path for path, _ in at})) as gave:
                    original.model(**model_inputs(theirs))
                told += [
                    (replace(call, gave=gave[path][run].gave), sides)
                    for call, (path, run) in zip(seen[block.path], at, strict=True)
                ]
            yield block.path, told


def together(work, path, goal, samples):
    """What the last call of a block of the model gave, and of one of its teacher, with the masks, batch by batch."""
    mine, theirs = found.alike(work, work.teacher, samples)
    for own, other, sides in zip(mine.batches, theirs.batches, mine.masks, strict=True):
        with torch.no_grad(), watch(mine.model, [path]) as seen, watch(theirs.model, [goal]) as told:
            mine.model(**model_inputs(own))
            theirs.model(**model_inputs(other))
        yield seen[path][-1].gave, told[goal][-1].gave, sides
