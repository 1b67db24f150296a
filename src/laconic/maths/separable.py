"""Fit a filter along the positions, one for each channel, and the matrix behind it to what a dense matrix gives.

Howard et al. 2017, arXiv:1704.04861 (depthwise, then pointwise). What is given is linear in the filters and linear in
the matrix, so least squares takes them in turn (Lawson and Hanson 1974). Each is damped towards what it was before, so
the loss never rises; damped as `importance.reconstruct` is, the first matrix is the one that a filter of one tap has.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from laconic.maths.importance import DAMP

SWEEPS = 30
ENOUGH = 1e-3  # of the loss: a sweep that saves less is the last


def behind(x: torch.Tensor, taps: int) -> torch.Tensor:
    """The channels at every position and at those before it, nearest first; 0 where there is none before.

    (..., tokens, taps, in) of (..., tokens, in).
    """
    tokens = x.shape[-2]
    held = functional.pad(x, (0, 0, taps - 1, 0))  # (..., taps - 1 + tokens, in)
    return torch.stack([held.narrow(-2, taps - 1 - k, tokens) for k in range(taps)], -2)


def fit(wanted: torch.Tensor, gram: torch.Tensor, inputs: torch.Tensor, taps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrix (out, n) and kernel (taps, n) that give, from the n channels `inputs`, most nearly what is wanted.

    u is `behind` of all channels, flat, with a 1 behind it where there is a bias: `wanted` (out, u) is the matrix whose
    outputs are to be kept, and `gram` (u, u) is sum u u^T. With a bias the matrix is (out, n + 1) and ends with it.
    """
    count = len(gram) // taps  # channels; the 1 is what is left, for there are two taps or more
    own = [*inputs.tolist(), *range(count * taps, len(gram))]  # of u: the position itself, and the 1
    seen = [k * count + i for k in range(taps) for i in inputs.tolist()] + own[len(inputs) :]
    sums = _Sums(gram[seen][:, seen].double(), wanted.double() @ gram[:, seen].double(), taps, len(inputs))
    whole = float((wanted @ gram).double().mul(wanted.double()).sum())  # what is lost where nothing is given
    kernel = torch.zeros(taps, len(inputs), dtype=torch.float64, device=gram.device)
    kernel[0] = 1
    matrix = sums.matrix(wanted[:, own].double(), kernel)
    best = whole - sums.saved(matrix, kernel)
    for _ in range(SWEEPS):
        tried = sums.kernel(matrix, kernel)
        scale = tried.norm(dim=0).clamp_min(torch.finfo(torch.float32).tiny)  # (n,), moved into the matrix
        moved = torch.cat([matrix[:, : len(scale)] * scale, matrix[:, len(scale) :]], 1)
        tried = tried / scale
        moved = sums.matrix(moved, tried)
        now = whole - sums.saved(moved, tried)
        if now >= best:
            break
        matrix, kernel, best, before = moved, tried, now, best
        if before - now < ENOUGH * before:
            break
    return matrix.to(wanted.dtype), kernel.to(wanted.dtype)


@dataclass(frozen=True)
class _Sums:
    """Sums over tokens of a group's u: u u^T, and y u^T of the outputs y that are wanted; u ends with a 1 or not."""

    square: torch.Tensor  # (u, u)
    cross: torch.Tensor  # (out, u)
    taps: int
    width: int  # channels of the group

    def matrix(self, before: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        """The matrix of least loss behind a kernel."""
        square, cross = self._behind(kernel)
        return before + _solved(square, cross - before @ square)

    def kernel(self, matrix: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """The kernel of least loss before a matrix."""
        filters, end = matrix[:, : self.width], self.taps * self.width
        left = self.cross[:, :end] - matrix[:, self.width :] @ self.square[end:, :end]  # (out, u), what no bias gives
        slope = torch.einsum("oi,oki->ki", filters, left.reshape(len(left), self.taps, self.width)).flatten()
        inner = (filters.T @ filters).repeat(self.taps, self.taps) * self.square[:end, :end]  # (u, u)
        change = _solved(inner, (slope - inner @ before.flatten())[None])[0]
        return before + change.reshape(before.shape)

    def saved(self, matrix: torch.Tensor, kernel: torch.Tensor) -> float:
        """How far the loss is below that of giving nothing."""
        square, cross = self._behind(kernel)
        return float(((2 * cross - matrix @ square) * matrix).sum())

    def _behind(self, kernel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(sum z z^T, sum y z^T) of what the kernel gives, z (n,), or (n + 1,) with a 1."""
        end = len(self.square) - self.taps * self.width  # 1 or 0
        filters = torch.cat([torch.diag(tap) for tap in kernel], 1)  # (n, u)
        turned = functional.pad(filters, (0, end, 0, end))  # (z, u)
        turned[len(filters) :, filters.shape[1] :] = 1
        return turned @ self.square @ turned.T, self.cross @ turned.T


def _solved(square: torch.Tensor, rest: torch.Tensor) -> torch.Tensor:
    """The change (rows, n) that makes up for `rest`, damped."""
    inner = square.clone()
    inner.diagonal().add_(DAMP * inner.diagonal().mean().clamp_min(torch.finfo(torch.float32).tiny))
    solved: torch.Tensor = torch.linalg.solve(inner, rest, left=False)
    return solved
