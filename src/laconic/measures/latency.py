"""How long one text takes, and how many texts pass in a second, for several models side by side in one process.

No paper: alternating rounds. Models are timed in turn, round after round and each second round backwards, so that a
machine that slows down slows them all; the ratio is taken within a round. One engine is alive at a time, because the
thread pools of two spin against one another and make both several times slower.
"""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import numpy as np

from laconic.contracts import Feature
from laconic.data.batching import MODEL_INPUTS, lengths, order, pad
from laconic.errors import LaconicError

THREADS = 2


class Runs(Protocol):
    """What of an engine this measure asks."""

    def run(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Logits of one padded batch."""
        ...


@dataclass(frozen=True)
class Contestant:
    """A model to be timed: how to open its engine, and the task's texts as this model's tokenizer encodes them."""

    name: str
    open: Callable[[], Runs]  # called once a round; threads are the factory's to set
    features: Sequence[Feature]
    pad_id: int = 0
    inputs: tuple[str, ...] = MODEL_INPUTS  # keys of a feature that the engine reads


@dataclass(frozen=True)
class Spread:
    """How many times faster than the first contestant: the median of the rounds, and the least and most of them."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """Medians over the rounds of a model's times on real texts."""

    p50_seconds: float  # one text at a time
    p95_seconds: float
    sentences_per_second: float  # in batches of `batch`, sorted by length
    batch: int
    texts: int
    rounds: int
    threads: int
    single_speedup: Spread  # of p50_seconds against the first contestant
    batch_speedup: Spread


@dataclass(frozen=True)
class Round:
    """One contestant's readings in one round."""

    p50: float
    p95: float
    rate: float


def take(
    contestants: Sequence[Contestant],
    *,
    rounds: int = 5,
    texts: int = 256,
    batch: int = 32,
    warm_up: int = 5,
    threads: int = THREADS,
    seed: int = 0,
) -> dict[str, Latency]:
    """Time every contestant on the same `texts` examples, drawn with `seed`; the first one is the reference.

    `threads` is what the factories were given, for the record. Raises LaconicError when there is nothing to time.
    """
    numbers = {len(c.features) for c in contestants}
    if len(numbers) != 1 or 0 in numbers or rounds < 1:
        raise LaconicError("latency needs at least one round and the same texts, at least one, for every contestant")
    count = numbers.pop()
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:texts])  # (texts,)
    readings: dict[str, list[Round]] = {c.name: [] for c in contestants}
    for turn in range(rounds):
        for contestant in contestants if turn % 2 == 0 else list(contestants)[::-1]:
            readings[contestant.name].append(_round(contestant, chosen, batch, warm_up))
    first = readings[contestants[0].name]
    return {
        name: Latency(
            p50_seconds=float(np.median([r.p50 for r in rows])),
            p95_seconds=float(np.median([r.p95 for r in rows])),
            sentences_per_second=float(np.median([r.rate for r in rows])),
            batch=batch,
            texts=len(chosen),
            rounds=rounds,
            threads=threads,
            single_speedup=_spread([f.p50 / r.p50 for f, r in zip(first, rows, strict=True)]),
            batch_speedup=_spread([r.rate / f.rate for f, r in zip(first, rows, strict=True)]),
        )
        for name, rows in readings.items()
    }


def _round(contestant: Contestant, chosen: np.ndarray, batch: int, warm_up: int) -> Round:
    features = [contestant.features[i] for i in chosen]
    singles = [_padded(contestant, [f]) for f in features]
    batches = [_padded(contestant, [features[i] for i in rows]) for rows in order(lengths(features), batch)]
    engine = contestant.open()
    for i in range(warm_up):
        engine.run(singles[i % len(singles)])
    times = [_seconds(engine, one) for one in singles]
    engine.run(batches[0])  # the widest: its memory is allocated before the clock starts
    total = sum(_seconds(engine, many) for many in batches)
    del engine
    gc.collect()
    return Round(float(np.quantile(times, 0.5)), float(np.quantile(times, 0.95)), len(features) / total)


def _padded(contestant: Contestant, features: list[Feature]) -> dict[str, np.ndarray]:
    padded = pad(features, contestant.pad_id)
    return {key: padded[key].numpy() for key in contestant.inputs if key in padded}


def _seconds(engine: Runs, batch: dict[str, np.ndarray]) -> float:
    begun = perf_counter()
    engine.run(batch)
    return perf_counter() - begun


def _spread(ratios: list[float]) -> Spread:
    return Spread(float(np.median(ratios)), float(np.min(ratios)), float(np.max(ratios)))
