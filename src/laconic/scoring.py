"""How much every head, neuron, hidden dimension and block of a model matters to its task, in one pass over examples.

Michel et al. 2019, arXiv:1905.10650 and Molchanov et al. 2019, arXiv:1906.10771 (Taylor); Muralidharan et al. 2024,
arXiv:2407.14679 (activation); Men et al. 2024, arXiv:2403.03853 (blocks). The formulas are in `maths.importance`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from torch import nn

from laconic import layers, options, training
from laconic.anatomy import Anatomy
from laconic.contracts import Work
from laconic.data.batching import batches
from laconic.flow import Seen, watch
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


def weighed(work: Work, where: str, samples: int) -> Iterator[tuple[str, nn.Module, torch.Tensor | None]]:
    """(path, layer, sum of x x^T over its inputs (in, in) or None) of the layers to round: what stands before the
    blocks, each block, what stands after.

    The inputs of a group come from the model as it is by then, so swap a layer in before asking for the next. None
    stands for an embedding, and for a layer that no example reaches.
    """
    for pairs in _in_order(work.anatomy, where):
        linears = [path for path, module in pairs if layers.take(module).role == "linear"]
        sums = grams(work, linears, samples) if linears else {}
        for path, module in pairs:
            found = sums.get(path, torch.zeros(()))  # (in, in), with a last row for the bias where there is one
            columns = layers.take(module).weight.shape[1]
            yield path, module, found[:columns, :columns] if found.dim() else None


def _in_order(anatomy: Anatomy, where: str) -> Iterator[Sequence[tuple[str, nn.Module]]]:
    """The layers to round in groups, each to be weighed after those before it are rounded."""
    chosen = layers.distinct(anatomy.linears(where))
    paths = [block.path for block in chain.from_iterable(stack.blocks for stack in anatomy.stacks)]
    inside = {path: [p for p in chosen if p[0].startswith(f"{path}.")] for path in paths}
    taken = {p[0] for pairs in inside.values() for p in pairs}
    outside = [p for p in chosen if p[0] not in taken]
    yield from ([p] for p in outside if layers.take(p[1]).role == "embedding")
    yield from (pairs for pairs in inside.values() if pairs)
    rest = [p for p in outside if layers.take(p[1]).role == "linear"]
    if rest:
        yield rest


def _runs(
    work: Work, paths: Sequence[str], samples: int, *, slopes: bool = False
) -> Iterator[tuple[torch.Tensor, Mapping[str, Sequence[Seen]], torch.Tensor]]:
    """Loss summed over answers, what the layers saw, and the mask (batch, tokens), of every batch of examples."""
    rng = np.random.default_rng(work.seed)
    chosen = sorted(rng.permutation(len(work.data.train))[:samples].tolist())
    features = work.task.encode([work.data.train[i] for i in chosen], work.tokenizer, answers=True)
    objective = training.task_objective(work.task)
    with watch(work.model, paths) as seen, torch.set_grad_enabled(slopes):
        for rows, batch in batches(features, BATCH, work.tokenizer.pad_token_id or 0):
            seen.clear()
            answers = training.slot_labels(batch)
            loss = objective(work.model, batch, rows) * int((answers != -100).sum())
            yield loss, seen, batch["attention_mask"].bool().to(loss.device)


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(batch, tokens, channels), with one token where only one is read (a pooler's)."""
    return x.reshape(len(x), -1, x.shape[-1])


def _tokens(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Tokens of a batch without padding: (tokens, channels) of (batch, longest, channels)."""
    return x[mask] if x.dim() > 2 and x.shape[:2] == mask.shape else x.flatten(0, -2)
