"""What enters the other readers of a weight: layers that share it, in blocks that come later.

No paper: the loss of a weight is over all its inputs. Readers in later blocks are run before a step rewrites anything,
so their inputs are those of the model as the step finds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from laconic import layers
from laconic.calibration.examples import Examples
from laconic.calibration.sums import gram, tokens
from laconic.flow import entering


@dataclass(frozen=True)
class Elsewhere:
    """sum x x^T of what other readers of a weight are given, (in, in) float32, and the tensors by which to tell them.

    Weights whose readers are given the same tensors have equal `given`.
    """

    gram: torch.Tensor
    given: tuple[int, ...]


@torch.no_grad()
def elsewhere(examples: Examples, pairs: Iterable[tuple[str, nn.Module]]) -> dict[str, Elsewhere]:
    """By the paths of those layers whose weight others read, in one pass over the whole model where there are any."""
    chosen = {path for path, module in pairs if layers.take(module).role == "linear"}
    others = {path: found for path, found in layers.readers(examples.model).items() if path in chosen}
    if not others:
        return {}
    given: dict[str, tuple[int, ...]] = {}
    sums: dict[tuple[int, ...], torch.Tensor] = {}
    with entering(examples.model, [path for found in others.values() for path in found]) as seen:
        for batch, sides in enumerate(examples.masks):
            seen.clear()
            examples.whole(batch)
            if not given:  # tensors are told by their place in memory, which they keep as long as they are held here
                given = {path: tuple(id(x) for reader in found for x in seen[reader]) for path, found in others.items()}
            for key, path in {key: path for path, key in given.items()}.items():
                for x in (x for reader in others[path] for x in seen[reader]):
                    sums[key] = sums.get(key, torch.zeros(())) + gram(tokens(x, sides))
    return {path: Elsewhere(sums[key], key) for path, key in given.items() if key in sums}
