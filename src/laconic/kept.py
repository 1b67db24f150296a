"""A frozen layer's dense weight, kept between calls while what it is computed from is the same.

No paper: what is small is not computed twice. The layer kinds that store less than a dense weight begin with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

LARGEST = 2**22  # weights: of a larger matrix the dense weight is computed in every call
Held = tuple[torch.Tensor, ...]


class Keeps(nn.Module):
    """A layer whose dense weight is a function of a few tensors that are not changed in place, except by loading."""

    def __init__(self) -> None:
        super().__init__()
        self._dense: tuple[Held, torch.Tensor] | None = None  # what it was computed from, and the weight

    def kept(self, origin: Held, compute: Callable[[], torch.Tensor], *, keep: bool = True) -> torch.Tensor:
        """The dense weight that `compute` gives, computed again where `origin` is not the very tensors of last time."""
        if self._dense is not None and all(a is b for a, b in zip(self._dense[0], origin, strict=True)):
            return self._dense[1]
        with torch.inference_mode(False), torch.no_grad():  # so that a kept weight can meet autograd later
            dense = compute()
        if keep and dense.numel() <= LARGEST:
            self._dense = (origin, dense)
        return dense

    def forget(self) -> None:
        """Let go of the dense weight; the next call computes it again."""
        self._dense = None

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """Loading writes into the tensors in place, so the kept weight belongs to others."""
        self.forget()
        super()._load_from_state_dict(*arguments)


def forget(module: nn.Module) -> None:
    """Let go of the dense weights that layers below a module keep."""
    for layer in module.modules():
        if isinstance(layer, Keeps):
            layer.forget()
