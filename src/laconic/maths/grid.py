"""Uniform grids of 1 to 8 bits with one scale per tensor, channel or group of columns.

Round to nearest on a uniform grid (Jacob et al. 2018, arXiv:1712.05877); the range of a group is the clipped one with
the least squared error (Banner et al. 2019, arXiv:1810.05723, searched instead of solved). A zero point is a code
(uint8) or, as Badri and Shaji 2023 (HQQ) have it, a number between codes (float), and then no weight is exactly 0. One
bit is a weight's sign (Rastegari et al. 2016, arXiv:1603.05279).
Differs from the paper: scales are rounded up to float16 numbers, so that the store holds them in 16 bits; the symmetric
grid leaves out its lowest code, so that a weight and its negative have the same magnitude on it.
"""

import math
from typing import Any

import torch

from laconic.errors import RecipeError

Group = int | str
"""What shares a scale: "tensor", "channel" (one row) or that many columns of one row."""

Fitted = tuple[torch.Tensor, torch.Tensor | None]
"""Scale and zero, as `fit` gives them."""

RATIOS = tuple(1.0 - 0.05 * i for i in range(17))  # parts of the min-max range; the optimum of 2 bits is near 0.3
WIDEST = 2**16  # columns that share a scale, wider than the rows of any model here
SMALLEST, LARGEST = 2.0**-24, 65504.0  # positive float16 numbers


def check(bits: int, group: Group, least: int = 2) -> None:
    """Raise RecipeError when there is no such grid; what is fitted has at least 2 bits."""
    if not isinstance(bits, int) or isinstance(bits, bool) or not least <= bits <= 8:
        raise RecipeError(f"bits is {bits!r}; a grid has {least} to 8 bits")
    wide = isinstance(group, int) and not isinstance(group, bool) and 1 <= group <= WIDEST
    if not wide and group not in ("tensor", "channel"):
        raise RecipeError(f"group is {group!r}; give 'tensor', 'channel' or a number of columns per scale, such as 64")


def shape(rows: int, columns: int, group: Group) -> tuple[int, int]:
    """Shape of the scales of a (rows, columns) weight."""
    if group == "tensor":
        return 1, 1
    return rows, -(-columns // group) if isinstance(group, int) else 1


def cost(bits: int, group: Group, symmetric: bool, columns: int) -> float:
    """Bits of a weight with its part of scale and zero, in rows of that many columns."""
    width = {"tensor": math.inf, "channel": columns}.get(str(group), group)
    return bits + (16 + (0 if symmetric else bits)) / float(width)


def split(x: torch.Tensor, group: Group) -> torch.Tensor:
    """(rows, columns) as (scale rows, scale columns, weights of one scale); a short last group is filled with zeros."""
    if group == "tensor":
        return x.reshape(1, 1, -1)
    if group == "channel":
        return x.unsqueeze(1)
    rows, columns = x.shape
    width = min(int(group), columns)  # a wider group has one row, and is not filled up
    missing = -columns % width
    if missing:
        x = torch.nn.functional.pad(x, (0, missing))
    return x.reshape(rows, -1, width)


def join(x: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Undo `split`: (rows, columns)."""
    return x.reshape(rows, -1)[:, :columns]


def codes(
    weight: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, bits: int, group: Group
) -> torch.Tensor:
    """Nearest grid points as uint8, (rows, columns); `zero` is None on the symmetric grid, whose zero is 2^(bits-1)."""
    return join(_nearest(split(weight, group), scale, zero, bits), *weight.shape).to(torch.uint8)


def values(
    codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, bits: int, group: Group
) -> torch.Tensor:
    """Weights of codes in the dtype of the scale, (rows, columns)."""
    _, _, middle = _limits(zero, bits)
    return join((split(codes, group).to(scale.dtype) - middle) * scale.unsqueeze(-1), *codes.shape)


def snap(weight: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, bits: int, group: Group) -> torch.Tensor:
    """`values` of `codes`, bit for bit, without the detour over uint8."""
    _, _, middle = _limits(zero, bits)
    steps = _nearest(split(weight, group), scale, zero, bits)  # (R, G, n)
    return join(steps.sub_(middle).mul_(scale.unsqueeze(-1)), *weight.shape)


def inside(
    weight: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, bits: int, group: Group
) -> torch.Tensor:
    """Where a weight lies between the ends of its grid, and on neither; bool (rows, columns).

    Of one bit, whose ends are all there is, where it is less than half a step beyond them.
    """
    low, high, middle = _limits(zero, bits)
    parts, step = split(weight, group), scale.unsqueeze(-1)  # (R, G, n), (R, G, 1)
    beyond = 0.5 if bits == 1 else 0.0
    return join((parts > (low - beyond - middle) * step) & (parts < (high + beyond - middle) * step), *weight.shape)


def fit(
    weight: torch.Tensor,
    bits: int,
    group: Group,
    symmetric: bool,
    importance: torch.Tensor | None = None,
    ratios: tuple[float, ...] = RATIOS,
) -> Fitted:
    """Scale (R, G) float32 and zero (R, G) uint8 or None: per group the clip ratio of least squared error.

    The first ratio is 1, the whole range, so the error is never above that of min-max rounding. `importance` weighs
    the squared error of each column, (columns,); a group that holds only zeros has scale 1.
    """
    check(bits, group)
    weight = weight.float()
    parts = split(weight, group)  # (R, G, n)
    low = parts.amin(-1).clamp(max=0)  # (R, G)
    high = parts.amax(-1).clamp(min=0)  # (R, G)
    weigh = None if importance is None else split(importance.float().expand_as(weight), group)  # (R, G, n)
    best_scale, best_zero = _range(low, high, bits, symmetric)
    best = _error(parts, best_scale, best_zero, bits, weigh)  # (R, G)
    for ratio in ratios[1:]:
        scale, zero = _range(low * ratio, high * ratio, bits, symmetric)
        error = _error(parts, scale, zero, bits, weigh)  # (R, G)
        better = error < best
        best = torch.where(better, error, best)
        best_scale = torch.where(better, scale, best_scale)
        if zero is not None and best_zero is not None:
            best_zero = torch.where(better, zero, best_zero)
    return best_scale, best_zero


def has_zero(zero: torch.Tensor | None, bits: int) -> bool:
    """Whether 0 is a point of the grid, so that what is 0 stays so."""
    return bits > 1 and (zero is None or not zero.is_floating_point())


def rise(weight: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, bits: int, group: Group) -> torch.Tensor:
    """How a weight's grid value grows with its scale, rounding taken for the identity: (rows, columns).

    Esser et al. 2020, arXiv:1902.08153, eq. 3.
    """
    _, _, middle = _limits(zero, bits)
    parts = split(weight, group)  # (R, G, n)
    code = _nearest(parts, scale, zero, bits).sub_(middle)  # (R, G, n)
    if bits == 1:
        return join(code, *weight.shape)  # nothing lies between the two ends
    free = split(inside(weight, scale, zero, bits, group), group)
    return join(torch.where(free, code - parts / scale.unsqueeze(-1), code), *weight.shape)


class _Half(torch.autograd.Function):
    """The nearest float16 number in a range, with the gradient of what it was."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, least: float) -> torch.Tensor:
        """As float32."""
        return x.clamp(least, LARGEST).half().to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Straight through."""
        return gradients[0], None


def half(x: torch.Tensor, least: float = -LARGEST) -> torch.Tensor:
    """Float16 numbers of at least `least`, in the dtype of `x`; a gradient passes as if nothing were rounded."""
    return _Half.apply(x, least)  # type: ignore[no-any-return, no-untyped-call]


def ternary(weight: torch.Tensor, group: Group) -> torch.Tensor:
    """Scales (R, G) of the grid -s, 0, s with the least squared error: the mean of the k largest magnitudes, best k.

    With k weights at s, the error falls by k s^2, so the best k has the largest (sum of k)^2 / k.
    """
    sizes = split(weight.float().abs(), group).sort(-1, descending=True).values.cumsum(-1)  # (R, G, n)
    counts = torch.arange(1, sizes.shape[-1] + 1, device=sizes.device)
    best = (sizes.square() / counts).argmax(-1, keepdim=True)  # (R, G, 1)
    mean = (sizes.gather(-1, best) / (best + 1)).squeeze(-1)  # (R, G)
    return torch.where(mean > 0, half(mean, SMALLEST), 1.0)


def binary(weight: torch.Tensor, group: Group) -> torch.Tensor:
    """Scales (R, G) of the grid -s / 2, s / 2 with the least squared error: twice the mean magnitude."""
    count = split(torch.ones_like(weight, dtype=torch.float32), group).sum(-1)  # (R, G)
    mean = split(weight.float().abs(), group).sum(-1) / count
    return torch.where(mean > 0, half(2 * mean, SMALLEST), 1.0)


def is_half(x: torch.Tensor) -> bool:
    """Whether every number of a float tensor is a float16 number, so that 16 bits hold it without loss."""
    return bool((x.to(torch.float16).to(x.dtype) == x).all())


def float_bits(x: torch.Tensor) -> int:
    """Bits of a float tensor as the store holds it: 16 a number where that loses nothing, else its own width."""
    width = x.element_size() * 8
    return x.numel() * (16 if width <= 16 or is_half(x) else width)


def _nearest(parts: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, bits: int) -> torch.Tensor:
    """Codes as floats, (R, G, n); a whole zero point is added after rounding, so that 0 stays on it, another before."""
    low, high, middle = _limits(zero, bits)
    steps = parts.div(scale.unsqueeze(-1))  # (R, G, n)
    if has_zero(zero, bits):
        steps.round_().add_(middle)
    else:
        steps.add_(middle).round_()
    return steps.clamp_(low, high)


def _limits(zero: torch.Tensor | None, bits: int) -> tuple[int, int, torch.Tensor | float]:
    """Lowest and highest code, and the code of 0 (a number, or (R, G, 1)), which of one bit is half way."""
    if zero is None:
        if bits == 1:
            return 0, 1, 0.5
        return 1, 2**bits - 1, 2 ** (bits - 1)
    return 0, 2**bits - 1, zero.to(torch.float32).unsqueeze(-1)


def _range(
    low: torch.Tensor, high: torch.Tensor, bits: int, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The grid that spans [low, high], both (R, G), low <= 0 <= high."""
    if symmetric:
        return upward(torch.maximum(-low, high) / (2 ** (bits - 1) - 1)), None
    scale = upward((high - low) / (2**bits - 1))  # (R, G)
    return scale, torch.round(-low / scale).clamp(0, 2**bits - 1).to(torch.uint8)


def upward(scale: torch.Tensor) -> torch.Tensor:
    """The next float16 number at or above; 1 for 0. Rounding up keeps the largest weight on the grid."""
    bounded = scale.clamp(SMALLEST, LARGEST)
    half = bounded.to(torch.float16)
    half = torch.where(half.float() < bounded, (half.view(torch.int16) + 1).view(torch.float16), half)
    return torch.where(scale > 0, half.float(), torch.ones_like(scale))


def _error(
    parts: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None, bits: int, weigh: torch.Tensor | None
) -> torch.Tensor:
    """Squared error of each group, (R, G)."""
    low, high, middle = _limits(zero, bits)
    steps = parts.div(scale.unsqueeze(-1)).round_()  # (R, G, n)
    if zero is None:
        steps.clamp_(low - int(middle), high - int(middle))
    else:
        steps = steps.add_(middle).clamp_(low, high).sub_(middle)
    square = steps.mul_(scale.unsqueeze(-1)).sub_(parts).square_()  # (R, G, n)
    return square.sum(-1) if weigh is None else square.mul_(weigh).sum(-1)
