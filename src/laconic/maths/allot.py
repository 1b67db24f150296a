"""Allot bits to layers under a budget so that the damage, which adds up over layers, is small.

Shoham and Gersho 1988, doi:10.1109/29.90373: steps of the best gain per bit first, which is optimal where the budget
falls on the lower convex hull. Where it does not, what is left over is spent as it fits.
"""

from collections.abc import Sequence


def allot(damage: Sequence[Sequence[float]], sizes: Sequence[int], widths: Sequence[int], budget: float) -> list[int]:
    """Which of the rising widths each layer gets; `damage[layer][width]`, `sizes` in weights, `budget` in bits.

    Every layer gets the first width at least. No worse than the widest equal width that the budget allows.
    """
    chosen = [0] * len(sizes)
    left = budget - sum(size * widths[0] for size in sizes)
    while True:
        steps = []
        for layer, size in enumerate(sizes):
            now = chosen[layer]
            for to in range(now + 1, len(widths)):
                cost = size * (widths[to] - widths[now])
                gain = damage[layer][now] - damage[layer][to]
                if cost <= left and gain > 0:
                    steps.append((gain / cost, -layer, -to, cost))
        if not steps:
            break
        _, layer, to, cost = max(steps)
        chosen[-layer], left = -to, left - cost
    equal = [i for i, width in enumerate(widths) if width * sum(sizes) <= budget]
    if equal and total(damage, [equal[-1]] * len(sizes)) < total(damage, chosen):
        return [widths[equal[-1]]] * len(sizes)
    return [widths[i] for i in chosen]


def total(damage: Sequence[Sequence[float]], chosen: Sequence[int]) -> float:
    """Damage of a choice of places among the widths."""
    return sum(row[i] for row, i in zip(damage, chosen, strict=True))
