"""Sums x x^T over the tokens of batches, padding left out.

No paper: what least squares needs of the inputs of a layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from laconic.data.batching import mask_of

SQUARE = 128  # inputs of a sum x x^T that are multiplied with all before them at a time, since its halves are the same


def tokens(x: torch.Tensor, masks: Sequence[torch.Tensor], *, ones: bool = False) -> torch.Tensor:
    """Tokens of a batch without padding: (tokens, channels) of (batch, longest, channels), with `ones` a 1 behind.

    `masks` are `batching.masks`, one or two. Of a model that computes in 16 bits they are float32, in which sums are
    made.
    """
    mask = mask_of(x, masks)
    x = (x.flatten(0, -2) if mask is None or mask.all() else x[mask]).to(torch.promote_types(x.dtype, torch.float32))
    return torch.cat([x, x.new_ones(len(x), 1)], 1) if ones else x


def gram(x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
    """sum x x'^T over tokens of (tokens, in), (in, in) float32; x' is x itself where there is no `other`."""
    if other is not None:
        return x.float().T @ other.float()
    return mirrored(add(x.new_zeros(x.shape[1], x.shape[1], dtype=torch.float32), x))


def add(below: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Add sum x x^T over tokens of (tokens, in) to `below` (in, in) in place, up to its diagonal at least."""
    x = x.float()
    for start in range(0, len(below), SQUARE):
        end = min(start + SQUARE, len(below))
        below[start:end, :end].addmm_(x[:, start:end].T, x[:, :end])
    return below


def mirrored(below: torch.Tensor) -> torch.Tensor:
    """The symmetric matrix that is `below` on its diagonal and below it."""
    return below.tril().add_(below.tril(-1).T)
