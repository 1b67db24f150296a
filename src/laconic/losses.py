"""Losses a task can train on, by name.

Cross-entropy; label smoothing (Szegedy et al. 2016, arXiv:1512.00567); focal loss (Lin et al. 2017, arXiv:1708.02002);
binary cross-entropy for labels that do not exclude one another.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from laconic.errors import RecipeError

CHUNK = 4_000_000  # logits turned into probabilities at once: 32 MB
SMOOTHING = 0.1
FOCUS = 2.0


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean -log p of the labels, in nats; logits (n, labels), labels (n,)."""
    return functional.cross_entropy(logits, labels)


def label_smoothing(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy against labels of which a tenth is spread evenly over all classes."""
    return functional.cross_entropy(logits, labels, label_smoothing=SMOOTHING)


def focal(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy weighted by (1 - p)^2, so that what is easy counts little."""
    nats = functional.cross_entropy(logits, labels, reduction="none")  # (n,)
    return ((1 - torch.exp(-nats)) ** FOCUS * nats).mean()


def binary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over examples and labels of the binary cross-entropy; labels (n, labels) of 0 and 1, or (n,), one each."""
    if labels.ndim < logits.ndim:
        labels = functional.one_hot(labels, logits.shape[-1])  # (n, labels)
    return functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


LOSSES = {f.__name__: f for f in (cross_entropy, label_smoothing, focal, binary_cross_entropy)}
SEVERAL = binary_cross_entropy.__name__  # the one loss under which labels do not exclude one another


def check(name: str, *, several: bool) -> None:
    """Raise RecipeError unless there is a loss `name` that fits examples with `several` labels, or with one each."""
    if name not in LOSSES:
        raise RecipeError(f"there is no loss {name!r}; choose one of {', '.join(LOSSES)}")
    if several and name != SEVERAL:
        raise RecipeError(f"the loss {name} takes one label an example, not several; choose {SEVERAL}")


def loss(name: str, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss called `name`, which `check` has passed."""
    return LOSSES[name](logits, labels)


def bits(logits: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """-log2 p of each label, (n,) float64, of logits (n, labels)."""
    rows = max(1, CHUNK // logits.shape[-1])
    parts = [np.zeros(0)]
    for start in range(0, len(logits), rows):
        some = slice(start, start + rows)
        scores, said = torch.from_numpy(logits[some]).double(), torch.tensor(labels[some], dtype=torch.int64)
        parts.append(functional.cross_entropy(scores, said, reduction="none").numpy() / np.log(2))  # (rows,)
    return np.concatenate(parts)
