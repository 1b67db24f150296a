"""How far a difference of two systems on the same examples could be chance: the paired bootstrap.

Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; paired on examples as Koehn 2004 (W04-3250).
Differs from the papers: a metric is a function of summed per-example counts, so that every resample is one row of a
matrix product and no metric is computed example by example.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CHUNK = 4_000_000  # drawn indices held at once: 32 MB


@dataclass(frozen=True)
class Interval:
    """A value and the interval of `level` around it; all three in the metric's own unit."""

    value: float
    low: float
    high: float
    level: float
    resamples: int


def paired(
    before: np.ndarray,
    after: np.ndarray,
    metric: Callable[[np.ndarray], np.ndarray],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of metric(after) - metric(before) when the examples are drawn again with replacement.

    `before` and `after` are counts of the same examples, (examples, k); `metric` maps sums (..., k) to values (...).
    Raises ValueError when the counts do not pair.
    """
    if before.shape != after.shape or before.ndim != 2 or not len(before):
        raise ValueError(f"counts must pair, (examples, k) each and not empty; got {before.shape} and {after.shape}")
    examples = len(before)
    both = np.concatenate([before, after], axis=1).astype(np.float64)  # (examples, 2k)
    k = before.shape[1]

    def difference(summed: np.ndarray) -> np.ndarray:
        return np.asarray(metric(summed[..., k:]) - metric(summed[..., :k]))  # (...)

    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // examples)
    parts = [
        difference(_times_drawn(rng, min(rows, resamples - start), examples) @ both)
        for start in range(0, resamples, rows)
    ]
    low, high = np.quantile(np.concatenate(parts), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(difference(both.sum(0))), float(low), float(high), level, resamples)


def _times_drawn(rng: np.random.Generator, rows: int, examples: int) -> np.ndarray:
    drawn = rng.integers(0, examples, size=(rows, examples))  # (rows, examples)
    drawn += np.arange(rows)[:, None] * examples
    counted = np.bincount(drawn.ravel(), minlength=rows * examples)
    return counted.reshape(rows, examples).astype(np.float64)  # (rows, examples)
