"""How much every head, neuron, hidden dimension and block of a model matters to its task, in one pass over examples.

Michel et al. 2019, arXiv:1905.10650 and Molchanov et al. 2019, arXiv:1906.10771 (Taylor); Muralidharan et al. 2024,
arXiv:2407.14679 (activation); Men et al. 2024, arXiv:2403.03853 (blocks). The formulas are in `maths.importance`.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from laconic import flow, layers, options, training
from laconic.contracts import Feature, Work
from laconic.data.batching import batches, model_inputs
from laconic.flow import Call, Seen, watch
from laconic.maths import importance

BATCH = 16
IMPORTANCE = ("taylor", "activation")


def check(keep: float, importance: str, samples: int) -> None:
    """Raise RecipeError unless these options can work."""
    options.fraction("keep", keep)
    options.choice("importance", importance, IMPORTANCE)
    options.whole("samples", samples)


def taylor(work: Work, sites: Mapping[str, int], samples: int) -> dict[str, torch.Tensor]:
    """|dL/d gate| of the structures that enter layers, {path: (structures,)}; `sites` is {path: channels of one}.

    The loss is summed over an example's answers, so that batching and padding do not matter; a layer that runs many
    times (ALBERT's) has one gate in all its runs.
    """
    scores = dict.fromkeys(sites, torch.zeros(()))
    for loss, seen, _ in _runs(work, list(sites), samples, slopes=True):
        tensors = {path: [s.given for s in seen[path]] for path in sites}
        flat = [x for path in sites for x in tensors[path]]
        gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True, materialize_grads=True))
        for path, size in sites.items():
            pairs = [(_rows(x.detach()), _rows(next(gradients))) for x in tensors[path]]
            values, slopes = (torch.cat(runs, 1) for runs in zip(*pairs, strict=True))  # (batch, runs * tokens, in)
            scores[path] = scores[path] + importance.gates(values, slopes, size)
    return scores


def grams(work: Work, paths: Sequence[str], samples: int) -> dict[str, torch.Tensor]:
    """sum x x^T over the tokens that enter each layer: {path: (in, in)}, float32.

    The inputs of a layer with a bias end with a 1, so its matrix is (in + 1, in + 1) and the bias counts as a column.
    """
    ones = {path: layers.take(work.model.get_submodule(path)).bias is not None for path in paths}
    sums = dict.fromkeys(paths, torch.zeros(()))
    for _, seen, mask in _runs(work, paths, samples):
        for path in paths:
            for s in seen[path]:
                x = _tokens(s.given, mask)  # (tokens, in)
                x = torch.cat([x, x.new_ones(len(x), 1)], 1) if ones[path] else x
                sums[path] = sums[path] + x.T @ x
    return sums


def squares(work: Work, paths: Sequence[str], samples: int) -> dict[str, torch.Tensor]:
    """Mean square of every channel that enters each layer: {path: (in,)}, without layers that never run."""
    sums, tokens = dict.fromkeys(paths, torch.zeros(())), dict.fromkeys(paths, 0)
    for _, seen, mask in _runs(work, paths, samples):
        for path in paths:
            for s in seen[path]:
                x = _tokens(s.given, mask)  # (tokens, in)
                sums[path], tokens[path] = sums[path] + x.square().sum(0), tokens[path] + len(x)
    return {path: sums[path] / tokens[path] for path in paths if tokens[path]}


def peaks(work: Work, paths: Sequence[str], samples: int) -> dict[str, torch.Tensor]:
    """Largest |x| of every channel that enters each layer: {path: (in,)}, without layers that never run."""
    found: dict[str, torch.Tensor] = {}
    for _, seen, mask in _runs(work, paths, samples):
        for path in paths:
            for s in seen[path]:
                highest = _tokens(s.given, mask).abs().amax(0)  # (in,)
                found[path] = torch.maximum(found.get(path, highest), highest)
    return found


@torch.no_grad()
def calls(work: Work, path: str, samples: int, size: int) -> list[Call]:
    """What the module at a path is called with while examples are run, `size` of them at a time."""
    with flow.calls(work.model, path) as seen:
        for _, batch in batches(examples(work, samples), size, work.tokenizer.pad_token_id or 0):
            work.model(**model_inputs(batch, work.model.device))
    return seen


def activation(work: Work, sites: Mapping[str, int], grams: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What the structures at `sites` add through the layers they enter, by the `grams` there: {path: (structures,)}."""
    scores = {}
    for path, size in sites.items():
        weight = layers.take(work.model.get_submodule(path)).weight.detach()  # (out, in)
        inputs = weight.shape[1]
        scores[path] = importance.contributions(grams[path][:inputs, :inputs], weight, size)
    return scores


def sizes(work: Work, paths: Sequence[str], samples: int) -> torch.Tensor:
    """Mean |x| of every channel that enters the layers at `paths`, summed over the layers: (in,) in float64."""
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for _, seen, mask in _runs(work, paths, samples):
        for path in paths:
            for s in seen[path]:
                x = _tokens(s.given, mask)  # (tokens, in)
                total, tokens = total + x.double().abs().sum(0), tokens + len(x)
    return total / max(tokens, 1)


def influences(work: Work, paths: Sequence[str], samples: int) -> dict[str, float]:
    """How far each block at `paths` turns its tokens: mean 1 - cos(in, out)."""
    sums, tokens = dict.fromkeys(paths, 0.0), dict.fromkeys(paths, 0)
    for _, seen, mask in _runs(work, paths, samples):
        for path in paths:
            for s in seen[path]:
                turned = importance.influence(_tokens(s.given, mask), _tokens(s.gave, mask))  # (tokens,)
                sums[path] += float(turned.sum())
                tokens[path] += len(turned)
    return {path: sums[path] / max(tokens[path], 1) for path in paths}


def _runs(
    work: Work, paths: Sequence[str], samples: int, *, slopes: bool = False
) -> Iterator[tuple[torch.Tensor, Mapping[str, Sequence[Seen]], torch.Tensor]]:
    """Loss summed over answers, what the layers saw, and the mask (batch, tokens), of every batch of examples."""
    features = examples(work, samples)
    objective = training.task_objective(work.task)
    with watch(work.model, paths) as seen, torch.set_grad_enabled(slopes):
        for rows, batch in batches(features, BATCH, work.tokenizer.pad_token_id or 0):
            seen.clear()
            answers = training.slot_labels(batch)
            loss = objective(work.model, batch, rows) * int((answers != -100).sum())
            yield loss, seen, batch["attention_mask"].bool().to(loss.device)


def examples(work: Work, samples: int) -> list[Feature]:
    """So many training examples, drawn by the seed."""
    rng = np.random.default_rng(work.seed)
    chosen = sorted(rng.permutation(len(work.data.train))[:samples].tolist())
    return work.task.encode([work.data.train[i] for i in chosen], work.tokenizer, answers=True)


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(batch, tokens, channels), with one token where only one is read (a pooler's)."""
    return x.reshape(len(x), -1, x.shape[-1])


def _tokens(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Tokens of a batch without padding: (tokens, channels) of (batch, longest, channels)."""
    return x[mask] if x.dim() > 2 and x.shape[:2] == mask.shape else x.flatten(0, -2)
