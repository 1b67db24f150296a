"""Fake engines with planted sleeps: times, ratios, order, and one engine alive at a time."""

import time
from typing import ClassVar

import numpy as np
import pytest

from laconic.errors import LaconicError
from laconic.measures import latency
from laconic.measures.latency import Contestant, Spread

FEATURES = [{"input_ids": [1] * (2 + i % 5), "attention_mask": [1] * (2 + i % 5), "labels": [0]} for i in range(8)]


class Fake:
    alive = 0
    most = 0
    opened: ClassVar[list[str]] = []
    batches: ClassVar[dict[str, list[dict[str, np.ndarray]]]] = {}

    def __init__(self, name, seconds):
        self.name, self.seconds = name, seconds
        Fake.alive += 1
        Fake.most = max(Fake.most, Fake.alive)
        Fake.opened.append(name)

    def __del__(self):
        Fake.alive -= 1

    def run(self, batch):
        Fake.batches.setdefault(self.name, []).append(batch)
        time.sleep(self.seconds)
        return np.zeros((len(batch["input_ids"]), 2))


@pytest.fixture(autouse=True)
def fresh():
    Fake.alive = Fake.most = 0
    Fake.opened, Fake.batches = [], {}


def contestants(features=FEATURES):
    return [
        Contestant("slow", lambda: Fake("slow", 0.008), features, pad_id=9),
        Contestant("fast", lambda: Fake("fast", 0.002), features, pad_id=9),
    ]


def test_planted_sleeps_are_found():
    got = latency.take(contestants(), rounds=3, texts=6, batch=4, warm_up=1)
    assert 0.008 <= got["slow"].p50_seconds < 0.016
    assert 0.002 <= got["fast"].p50_seconds < 0.006
    assert got["slow"].single_speedup == Spread(1.0, 1.0, 1.0)
    spread = got["fast"].single_speedup
    assert 1.5 < spread.median < 5
    assert spread.low <= spread.median <= spread.high
    assert 1.5 < got["fast"].batch_speedup.median < 5
    assert got["slow"].sentences_per_second == pytest.approx(6 / 0.016, rel=0.5)
    assert (got["fast"].texts, got["fast"].batch, got["fast"].rounds, got["fast"].threads) == (6, 4, 3, 2)


def test_rounds_alternate_with_one_engine_alive():
    latency.take(contestants(), rounds=3, texts=2, warm_up=0)
    assert Fake.opened == ["slow", "fast", "fast", "slow", "slow", "fast"]
    assert (Fake.most, Fake.alive) == (1, 0)


def test_singles_are_unpadded_and_batches_sorted_padded_and_without_answers():
    latency.take(contestants(), rounds=1, texts=8, batch=4, warm_up=0)
    seen = Fake.batches["fast"]
    assert all(set(batch) == {"input_ids", "attention_mask"} for batch in seen)
    assert [b["input_ids"].shape[0] for b in seen] == [1] * 8 + [4, 4, 4]  # the widest batch warms up first
    assert all((b["input_ids"] == 1).all() for b in seen[:8])
    assert [b["input_ids"].shape[1] for b in seen[9:]] == [6, 3]
    assert seen[10]["input_ids"][-1].tolist() == [1, 1, 9]
    assert sorted(len(f["input_ids"]) for f in FEATURES) == sorted(b["input_ids"].shape[1] for b in seen[:8])


def test_every_contestant_answers_the_same_texts():
    latency.take(contestants(), rounds=1, texts=3, warm_up=0, seed=4)
    shapes = {name: [b["input_ids"].shape for b in batches] for name, batches in Fake.batches.items()}
    assert shapes["slow"] == shapes["fast"]


def test_nothing_to_time_is_refused():
    uneven = [contestants()[0], Contestant("fast", lambda: Fake("fast", 0), FEATURES[:3])]
    for wrong in ([], contestants([]), uneven):
        with pytest.raises(LaconicError, match="at least one"):
            latency.take(wrong)
