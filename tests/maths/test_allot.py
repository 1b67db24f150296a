"""Allotment: within the budget, near the best of all choices, never worse than equal widths."""

import itertools
import random

import pytest

from laconic.maths.allot import allot, total

WIDTHS = (2, 3, 4, 6)


def problem(seed: int, layers: int = 5):
    rng = random.Random(seed)
    sizes = [rng.choice([10, 20, 40]) for _ in range(layers)]
    damage = [[rng.uniform(0.1, 100) * 4.0**-w for w in WIDTHS] for _ in range(layers)]
    damage = [sorted(row, reverse=True) for row in damage]
    return damage, sizes


def best(damage, sizes, budget):
    choices = itertools.product(range(len(WIDTHS)), repeat=len(sizes))
    fits = [c for c in choices if sum(s * WIDTHS[i] for s, i in zip(sizes, c, strict=True)) <= budget]
    return min(total(damage, c) for c in fits)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("mean", [2.5, 3, 4.2])
def test_it_keeps_the_budget_and_is_near_the_best(seed, mean):
    damage, sizes = problem(seed)
    given = allot(damage, sizes, WIDTHS, mean * sum(sizes))
    assert sum(s * w for s, w in zip(sizes, given, strict=True)) <= mean * sum(sizes)
    mine = total(damage, [WIDTHS.index(w) for w in given])
    assert mine <= 1.35 * best(damage, sizes, mean * sum(sizes)) + 1e-12
    if mean in WIDTHS:
        assert mine <= total(damage, [WIDTHS.index(mean)] * len(sizes))


def test_the_sensitive_layer_gets_the_bits():
    damage = [[100.0, 25.0, 6.0, 0.4], [1.0, 0.25, 0.06, 0.004]]
    assert allot(damage, [10, 10], WIDTHS, 60) == [4, 2]
    assert allot(damage, [10, 10], WIDTHS, 80) == [6, 2]


def test_enough_is_the_widest_for_all_and_nothing_is_the_narrowest():
    damage, sizes = problem(3)
    assert allot(damage, sizes, WIDTHS, 6 * sum(sizes)) == [6] * 5
    assert allot(damage, sizes, WIDTHS, 2 * sum(sizes)) == [2] * 5
