"""The paired bootstrap against closed forms, a slow twin, and its promised coverage."""

import time

import numpy as np
import pytest

from laconic.maths import bootstrap
from laconic.maths.bootstrap import paired


def mean(summed: np.ndarray) -> np.ndarray:
    return summed[..., 0] / summed[..., 1]


def f1(summed: np.ndarray) -> np.ndarray:
    return 2 * summed[..., 0] / np.maximum(summed[..., 1] + summed[..., 2], 1)


def right(flags: np.ndarray) -> np.ndarray:
    return np.stack([flags, np.ones_like(flags)], axis=1)  # (examples, 2)


def test_accuracy_matches_the_normal_interval():
    rng = np.random.default_rng(1)
    before, after = rng.random(4000) < 0.9, rng.random(4000) < 0.88
    got = paired(right(before * 1), right(after * 1), mean, resamples=4000)
    steps = after * 1.0 - before * 1.0
    error = steps.std() / np.sqrt(len(steps))
    assert got.value == pytest.approx(steps.mean())
    assert got.low == pytest.approx(steps.mean() - 1.96 * error, abs=0.1 * error)
    assert got.high == pytest.approx(steps.mean() + 1.96 * error, abs=0.1 * error)


def test_pairing_is_kept_a_system_against_itself_has_no_width():
    counts = np.random.default_rng(0).integers(0, 5, (50, 3))
    got = paired(counts, counts, f1)
    assert (got.value, got.low, got.high) == (0.0, 0.0, 0.0)


def test_resamples_equal_the_slow_way(monkeypatch):
    rng = np.random.default_rng(3)
    before, after = rng.integers(1, 6, (40, 3)), rng.integers(1, 6, (40, 3))
    draws = np.random.default_rng(7).integers(0, 40, size=(200, 40))
    slow = [f1(after[d].sum(0)) - f1(before[d].sum(0)) for d in draws]
    monkeypatch.setattr(bootstrap, "CHUNK", 900)  # 22 rows at once: chunks must not change the draws
    got = paired(before, after, f1, resamples=200, level=0.9, seed=7)
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(slow, [0.05, 0.95])))
    assert got == paired(before, after, f1, resamples=200, level=0.9, seed=7)
    assert got != paired(before, after, f1, resamples=200, level=0.9, seed=8)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(300):
        before, after = rng.random(200) < 0.8, rng.random(200) < 0.7
        got = paired(right(before * 1), right(after * 1), mean, resamples=300, level=0.9, seed=trial)
        covered += got.low <= -0.1 <= got.high
    assert 0.85 <= covered / 300 <= 0.95


def test_the_conll_test_set_takes_less_than_a_second():
    rng = np.random.default_rng(0)
    before, after = rng.integers(0, 5, (3453, 3)), rng.integers(0, 5, (3453, 3))
    begun = time.perf_counter()
    paired(before, after, f1)
    assert time.perf_counter() - begun < 1.0


@pytest.mark.parametrize("shape", [(3, 2), (4, 3), (0, 3)])
def test_counts_that_do_not_pair_are_refused(shape):
    with pytest.raises(ValueError, match="must pair"):
        paired(np.zeros(shape), np.zeros((4, 2) if shape[0] else shape), f1)
