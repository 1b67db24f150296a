"""Coders of planes: exact, short where shortness is known, and strict about damage."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from laconic.artifact import integers, masks, planes
from laconic.artifact.damage import DamageError

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def entropy(values: np.ndarray) -> float:
    """Bits per symbol of a plane under one table."""
    share = np.unique(values, return_counts=True)[1] / values.size
    return float(-(share * np.log2(share)).sum())


def there_and_back(plane: np.ndarray) -> tuple[str, float]:
    """The way a plane was coded and its bits per symbol, after it came back exactly."""
    header, payload = planes.encode(plane)
    assert np.array_equal(planes.decode(header, payload, plane.shape), plane)
    return header[0], len(payload) * 8 / plane.size


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_plane_comes_back(data):
    shape = data.draw(SHAPES)
    top = data.draw(st.sampled_from([0, 1, 3, 15, 255]))
    low = data.draw(st.integers(0, 255 - top))
    plane = data.draw(arrays.arrays(np.uint8, shape, elements=st.integers(low, low + top)))
    there_and_back(plane)
    header, payload = integers.encode(plane)
    assert np.array_equal(integers.decode(header, payload, shape), plane)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, SHAPES, elements=st.integers(0, 1)))
def test_masks_come_back_both_ways(plane):
    assert np.array_equal(masks.unpack(masks.pack(plane), plane.shape), plane)
    assert np.array_equal(masks.unruns(masks.runs(plane), plane.shape), plane)


@pytest.mark.parametrize("length", [254, 255, 256, 510, 511])
def test_long_runs(length):
    plane = np.concatenate([np.ones(length), np.zeros(length), np.ones(1)]).astype(np.uint8).reshape(1, -1)
    assert np.array_equal(masks.unruns(masks.runs(plane), plane.shape), plane)


def test_independent_symbols_cost_their_entropy():
    plane = np.random.default_rng(0).binomial(15, 0.4, size=(512, 512)).astype(np.uint8)
    way, bits = there_and_back(plane)
    assert way == "ans"
    assert entropy(plane) < bits < entropy(plane) * 1.003


def test_classes_of_rows_and_columns_pay():
    """Four symbols a row class and two a column class: the tables must know both."""
    rng = np.random.default_rng(1)
    spread = rng.choice([1, 4], size=(400, 1)) * rng.choice([1, 3], size=(1, 300))
    plane = (128 + np.rint(rng.normal(size=(400, 300)) * spread)).clip(0, 255).astype(np.uint8)
    known = sum(entropy(plane[spread == s]) * (spread == s).sum() for s in (1, 3, 4, 12)) / plane.size
    _, bits = there_and_back(plane)
    assert bits < known + 0.06
    assert bits < entropy(plane) - 0.3


def test_two_of_four_masks_cost_the_choice():
    kept = np.array([p for p in itertools.product([0, 1], repeat=4) if sum(p) == 2], dtype=np.uint8)
    mask = kept[np.random.default_rng(2).integers(0, 6, size=(512, 64))].reshape(512, 256)
    way, bits = there_and_back(mask)
    assert way == "bits"
    assert np.log2(6) / 4 <= bits < np.log2(6) / 4 + 0.02
    way, bits = there_and_back(mask * np.random.default_rng(3).integers(1, 16, mask.shape).astype(np.uint8))
    assert way == "holes"
    assert bits < np.log2(6) / 4 + np.log2(15) / 2 + 0.02


def test_a_triangle_costs_its_edge():
    way, bits = there_and_back(np.tril(np.ones((512, 512), np.uint8)))
    assert way == "runs"
    assert bits < 0.05


def test_noise_stays_raw():
    plane = np.random.default_rng(4).integers(0, 256, size=(64, 64), dtype=np.uint8)
    assert planes.encode(plane) == (["raw"], plane.tobytes())


def test_chunks_decode_alone(monkeypatch):
    plane = np.random.default_rng(5).binomial(7, 0.5, size=(100, 30)).astype(np.uint8)
    monkeypatch.setattr(integers, "CHUNK_SYMBOLS", 256)
    header, payload = integers.encode(plane)
    assert len(header[5]) > 5
    assert np.array_equal(integers.decode(header, payload, plane.shape), plane)


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 4), (0, 10**9), (1, -1), (2, 0), (3, -1), (4, 0), (4, 10**12), (5, [-1]), (5, []), (5, ["1"]), (5, 7)],
)
def test_a_wrong_header_is_refused_before_memory_is_taken(place, value):
    header, payload = integers.encode(np.arange(64, dtype=np.uint8).reshape(8, 8))
    header[place] = value
    with pytest.raises(DamageError):
        integers.decode(header, payload, (8, 8))


def test_words_that_are_left_over_or_too_few_are_refused():
    plane = np.random.default_rng(6).binomial(7, 0.5, size=(40, 50)).astype(np.uint8)
    header, payload = integers.encode(plane)
    with pytest.raises(DamageError, match="adds up"):
        integers.decode(header, payload[:-4], plane.shape)
    header[5][0] += 1
    with pytest.raises(DamageError, match="left over"):
        integers.decode(header, payload[:-4] + b"\1\0\0\0" * 2, plane.shape)
    with pytest.raises(DamageError, match="empty word"):
        integers.decode(header, payload + b"\0\0\0\0", plane.shape)


@pytest.mark.parametrize("header", [["zip"], ["runs", 10**15, ["raw"]], ["holes", 300, 0, ["raw"], ["raw"]], [], [[]]])
def test_unknown_codings_are_refused(header):
    with pytest.raises(DamageError, match="no coding"):
        planes.decode(header, b"", (8, 8))
    nested: list = ["raw"]
    for _ in range(2000):
        nested = ["bits", nested]
    with pytest.raises(DamageError):
        planes.decode(nested, b"", (8, 8))
