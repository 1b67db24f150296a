"""What training examples say of a model's layers, in one pass: inputs, slopes, and how much each part matters.

Michel et al. 2019, arXiv:1905.10650 and Molchanov et al. 2019, arXiv:1906.10771 (Taylor); Muralidharan et al. 2024,
arXiv:2407.14679 (activation); Men et al. 2024, arXiv:2403.03853, and Gromov et al. 2024, arXiv:2403.17887 (blocks);
their formulas are in `maths.importance`. Hsu et al. 2022, arXiv:2207.00112 (Fisher).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from laconic import calibration, layers, options
from laconic.answers import room, slot_labels, task_objective
from laconic.calibration import draw, original
from laconic.calibration.sums import tokens
from laconic.contracts import Feature, Work
from laconic.data.batching import batches, masks, model_inputs
from laconic.flow import Seen, watch
from laconic.maths import importance

BATCH = 16
IMPORTANCE = ("taylor", "fisher", "activation")

Masks = tuple[torch.Tensor, ...]  # as `batching.masks` gives them


def check(method: Any) -> None:
    """Raise RecipeError unless its `keep`, `importance`, `samples` and `length` can work."""
    options.fraction("keep", method.keep)
    options.choice("importance", method.importance, IMPORTANCE)
    calibration.check(method.samples, method.length)
    if method.importance != "activation":  # slopes are of answers, which need whole examples
        options.unread(method, "importance", "length")


def gates(work: Work, sites: Mapping[str, int], samples: int, *, squared: bool = False) -> dict[str, torch.Tensor]:
    """|dL/d gate| of the structures that enter layers, {path: (structures,)}, or its square, summed over examples.

    `sites` is {path: channels of one}.

    The loss is summed over an example's answers, so that batching and padding do not matter; a layer that runs many
    times (ALBERT's) has one gate in all its runs.
    """
    scores = dict.fromkeys(sites, torch.zeros(()))
    for loss, seen, sides in _runs(work, list(sites), samples):
        tensors = {path: [s.given for s in seen[path]] for path in sites}
        flat = [x for path in sites for x in tensors[path]]
        gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True, materialize_grads=True))
        for path, size in sites.items():
            pairs = [(_rows(x.detach(), sides), _rows(next(gradients), sides)) for x in tensors[path]]
            values, slopes = (torch.cat(runs, 1) for runs in zip(*pairs, strict=True))  # (batch, runs * tokens, in)
            scores[path] = scores[path] + importance.gates(values, slopes, size, squared=squared)
    return scores


def gathered(
    work: Work, sets: Sequence[Sequence[str]], samples: int, length: int | None = None
) -> Iterator[tuple[Sequence[str], list[torch.Tensor]]]:
    """Sets of layers with their `original.grams`, each when its last layer's has come.

    Held are those of sets that are begun.
    """
    place = {path: i for i, paths in enumerate(sets) for path in paths}
    held: list[dict[str, torch.Tensor]] = [{} for _ in sets]
    for path, gram in original.singly(original.grams(work, list(place), samples, length)):
        paths, found = sets[place[path]], held[place[path]]
        found[path] = gram
        if len(found) == len(paths):
            yield paths, [found.pop(each) for each in paths]


def fisher(work: Work, paths: Sequence[str], samples: int) -> dict[str, torch.Tensor]:
    """Mean over examples of each weight's squared gradient, the empirical Fisher information, by input: {path: (in,)}.

    Summed over the weights that read an input, in float64. A layer that runs many times has one gradient, the sum over
    its runs.
    """
    sums, examples = dict.fromkeys(paths, torch.zeros(())), 0
    for loss, seen, sides in _runs(work, paths, samples):
        gave = [s.gave for path in paths for s in seen[path]]
        slopes = iter(torch.autograd.grad(loss, gave, allow_unused=True, materialize_grads=True))
        for path in paths:
            pairs = [(_rows(s.given.detach(), sides), _rows(next(slopes), sides)) for s in seen[path]]
            own = sum(torch.einsum("bti,bto->boi", x, slope) for x, slope in pairs)  # (batch, out, in)
            sums[path] = sums[path] + torch.as_tensor(own).square().sum(0).double().sum(0)
        examples += len(sides[0])
    return {path: total / max(examples, 1) for path, total in sums.items()}


def squares(work: Work, paths: Sequence[str], samples: int, length: int | None = None) -> dict[str, torch.Tensor]:
    """Mean square of every channel that enters each layer: {path: (in,)}, without layers that never run."""
    sums, count = dict.fromkeys(paths, torch.zeros(())), dict.fromkeys(paths, 0)
    for seen, sides in _passes(work, paths, samples, length):
        for path in paths:
            for s in seen[path]:
                x = tokens(s.given, sides)  # (tokens, in)
                sums[path], count[path] = sums[path] + x.square().sum(0), count[path] + len(x)
    return {path: sums[path] / count[path] for path in paths if count[path]}


def peaks(work: Work, paths: Sequence[str], samples: int, length: int | None = None) -> dict[str, torch.Tensor]:
    """Largest |x| of every channel that enters each layer: {path: (in,)}, without layers that never run."""
    found: dict[str, torch.Tensor] = {}
    for seen, sides in _passes(work, paths, samples, length):
        for path in paths:
            for s in seen[path]:
                highest = tokens(s.given, sides).abs().amax(0)  # (in,)
                found[path] = torch.maximum(found.get(path, highest), highest)
    return found


def activation(
    work: Work, sites: Mapping[str, int], samples: int, length: int | None = None
) -> dict[str, torch.Tensor]:
    """What the structures at `sites` add through the layers they enter, in one pass: {path: (structures,)}.

    Where no example reaches a layer that is nothing.
    """
    scores = {}
    for path, gram in original.singly(original.grams(work, list(sites), samples, length)):
        weight = layers.take(work.model.get_submodule(path)).weight.detach()  # (out, in)
        inputs = weight.shape[1]
        scores[path] = importance.contributions(gram[:inputs, :inputs], weight, sites[path])
    missed = {path: layers.take(work.model.get_submodule(path)).weight for path in sites if path not in scores}
    return scores | {path: weight.new_zeros(weight.shape[1] // sites[path]) for path, weight in missed.items()}


def sizes(work: Work, paths: Sequence[str], samples: int, length: int | None = None) -> torch.Tensor:
    """Mean |x| of every channel that enters the layers at `paths`, summed over the layers: (in,) in float64."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for seen, sides in _passes(work, paths, samples, length):
        for path in paths:
            for s in seen[path]:
                x = tokens(s.given, sides)  # (tokens, in)
                total, count = total + x.double().abs().sum(0), count + len(x)
    return total / max(count, 1)


def influences(work: Work, paths: Sequence[str], samples: int, length: int | None = None) -> dict[str, float]:
    """How far each block at `paths` turns its tokens: mean 1 - cos(in, out)."""
    sums, counts = dict.fromkeys(paths, 0.0), dict.fromkeys(paths, 0)
    for seen, sides in _passes(work, paths, samples, length):
        for path in paths:
            for s in seen[path]:
                turned = importance.influence(tokens(s.given, sides), tokens(s.gave, sides))  # (tokens,)
                sums[path] += float(turned.sum())
                counts[path] += len(turned)
    return {path: sums[path] / max(counts[path], 1) for path in paths}


def angles(work: Work, paths: Sequence[str], run: int, samples: int, length: int | None = None) -> list[float]:
    """How far every `run` blocks in a row turn their tokens: mean angle between in and out in half turns, by start."""
    sums, count = [0.0] * (len(paths) - run + 1), 0
    for seen, sides in _passes(work, paths, samples, length):
        given = [tokens(seen[path][0].given, sides) for path in paths]  # each (tokens, hidden)
        gave = [tokens(seen[path][0].gave, sides) for path in paths]
        for i in range(len(sums)):
            sums[i] += float(importance.angle(given[i], gave[i + run - 1]).sum())
        count += len(given[0])
    return [total / max(count, 1) for total in sums]


def columns(module: nn.Module) -> torch.Tensor:
    """A copy of a linear's weight with the bias, where it has one, as a last column: (out, in) or (out, in + 1)."""
    parts = layers.take(module)
    joined = parts.weight if parts.bias is None else torch.cat([parts.weight, parts.bias[:, None]], 1)
    return joined.detach().clone()


@torch.no_grad()
def refit(module: nn.Module, gram: torch.Tensor, kept: Sequence[int]) -> None:
    """Fit a linear, bias included, to give on the inputs `kept` alone what it gives on all, before the others are cut.

    `gram` is from `original.grams`, where they are `counted`. A layer that can be cut holds its weight and bias as
    parameters.
    """
    parts = layers.take(module)
    fitted = importance.refit(columns(module), gram, kept)  # (out, kept), or (out, kept + 1)
    parts.weight[:, list(kept)] = fitted[:, : len(kept)]
    if parts.bias is not None:
        parts.bias.copy_(fitted[:, -1])


def _runs(
    work: Work, paths: Sequence[str], samples: int
) -> Iterator[tuple[torch.Tensor, Mapping[str, Sequence[Seen]], Masks]]:
    """Loss summed over answers, what the layers saw, and the masks (batch, tokens), of every batch of whole examples.

    Gradients are recorded.
    """
    objective = task_objective(work.task)
    with watch(work.model, paths) as seen, torch.enable_grad():
        for rows, batch in _batches(work, draw(work, samples, answers=True)):
            seen.clear()
            answers = slot_labels(batch)
            loss = objective(work.model, batch, rows) * int((answers != -100).sum())
            yield loss, seen, masks(batch, loss.device)


def _passes(
    work: Work, paths: Sequence[str], samples: int, length: int | None = None
) -> Iterator[tuple[Mapping[str, Sequence[Seen]], Masks]]:
    """What the layers saw, and others that read their weights, and the masks (batch, tokens), of every batch."""
    others = layers.readers(work.model)
    every = {path: [path, *(o for o in others.get(path, ()) if o not in paths)] for path in paths}
    with watch(work.model, [p for some in every.values() for p in some]) as seen, torch.no_grad():
        for _, batch in _batches(work, draw(work, samples, length=length)):
            seen.clear()
            work.model(**model_inputs(batch, work.model.device))
            yield (
                {path: [s for p in some for s in seen[p]] for path, some in every.items()},
                masks(batch, work.model.device),
            )


def _batches(
    work: Work, features: list[Feature], size: int | None = None
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Padded batches of features."""
    yield from batches(features, room(work.model, features, size or BATCH), work.tokenizer.pad_token_id or 0)


def _rows(x: torch.Tensor, sides: Masks) -> torch.Tensor:
    """(batch, tokens, channels), also where a block flattens its tokens (OPT's) or one alone is read (a pooler's)."""
    return x.reshape(len(sides[0]), -1, x.shape[-1])
