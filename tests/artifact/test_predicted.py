"""Predicted planes: exact, near the bound that a known covariance gives, learned as least squares would, strict."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.artifact import planes, predicted
from laconic.artifact.damage import DamageError


def mixed(rows: int, width: int, step: float, top: int, seed: int = 0) -> tuple[np.ndarray, float]:
    """Codes of Gaussian rows whose columns go together, and the bits a symbol must cost that knows everything."""
    rng = np.random.default_rng(seed)
    mix = np.eye(width) + 0.9 * np.tril(rng.normal(size=(width, width)), -1) / np.sqrt(width) * 2
    rows_of = rng.normal(size=(rows, width)) @ mix.T
    codes = np.rint(rows_of / step) + top // 2 + 1
    bound = 0.5 * np.log2(2 * np.pi * np.e) - np.log2(step)  # log2 |det mix| is 0
    return codes.clip(0, top).astype(np.uint8), bound


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 200), st.integers(1, 40), st.sampled_from([0, 1, 2, 6, 14, 32, 40, 255]))
def test_any_plane_comes_back(seed, rows, width, top):
    rng = np.random.default_rng(seed)
    low = int(rng.integers(0, 256 - top))
    plane = (low + rng.binomial(top, rng.uniform(0, 1, (1, width)), (rows, width))).astype(np.uint8)
    header, payload = predicted.encode(plane)
    assert np.array_equal(predicted.decode(header, payload, plane.shape), plane)


def test_several_bands_and_parts_come_back(monkeypatch):
    monkeypatch.setattr(predicted, "BAND", 7)
    monkeypatch.setattr(predicted, "PART", 1000)
    plane, _ = mixed(300, 20, 0.5, 14)
    header, payload = predicted.encode(plane)
    assert len(header[4]) == 6
    assert np.array_equal(predicted.decode(header, payload, plane.shape), plane)


@pytest.mark.parametrize(("step", "top"), [(0.7, 30), (0.1, 255)])
def test_known_covariance_costs_little_more_than_it_must(step, top):
    plane, bound = mixed(8192, 48, step, top)
    header, payload = planes.encode(plane)
    assert header[0] == "predicted"
    assert bound < len(payload) * 8 / plane.size < bound + 0.3
    way, shuffled = planes.encode(np.random.default_rng(1).permuted(plane, axis=0))
    assert way[0] == "ans"
    assert len(shuffled) > 1.06 * len(payload)


def test_coefficients_are_those_of_least_squares(monkeypatch):
    monkeypatch.setattr(predicted, "RIDGE", 0.0)
    plane, _ = mixed(4096, 12, 0.5, 40)
    form = predicted.Form(0, 0, 32, 16)
    band = predicted._Band(form, 0, 12)
    values = np.concatenate([np.full((1, 4096), 8.0), plane.T.astype(np.float32) - 20])
    band.sums, band.rows = values @ values.T, 4096
    band.fit()
    residuals = [values[0]]  # each column minus what those before it tell, from scratch
    for j in range(1, 13):
        told, *_ = np.linalg.lstsq(values[:j].T, values[j], rcond=None)
        residuals.append(values[j] - values[:j].T @ told)
        slopes = [values[j] @ residuals[k] / (residuals[k] @ residuals[k]) for k in range(1, j)]
        np.testing.assert_allclose(band.factor[j, 1:j] / predicted.FACTOR, slopes, atol=0.01)
    np.testing.assert_allclose(band.spread / 0.8 * form.fine, [r.std() for r in residuals[1:]], rtol=0.005)


def test_sums_stay_whole_numbers_that_float32_holds():
    for bits in range(9):
        for span in (1 << bits, (1 << bits) - 1, (1 << bits) + 1):
            if 1 <= span <= predicted.WIDEST:
                form = predicted.Form(3 if span > 16 else 0, 0, span, 0)
                largest = form.fine * form.span
                assert largest**2 * predicted.LANES < 2**24
                assert largest * predicted.STEEPEST * (predicted.BAND + 1) < 2**24


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 8), (0, -1), (1, -1), (1, 10**9), (2, 0), (2, 34), (3, 15), (3, -1), (4, [-1]), (4, []), (4, 7), (4, [1, 1])],
)
def test_a_wrong_header_is_refused_before_memory_is_taken(place, value):
    plane, _ = mixed(64, 8, 0.5, 14)
    header, payload = predicted.encode(plane)
    header[place] = value
    with pytest.raises(DamageError):
        predicted.decode(header, payload, plane.shape)


def test_a_shape_beyond_the_payload_is_refused_before_memory_is_taken():
    with pytest.raises(DamageError, match="adds up"):
        predicted.decode([0, 0, 15, 7, [100]], bytes(200), (2**20, 2**20))
    with pytest.raises(DamageError, match="than lanes"):
        predicted.decode([0, 0, 15, 7, [100]], bytes(200), (2**10, 2**10))


def test_changed_words_are_refused_or_change_the_plane():
    plane, _ = mixed(256, 8, 0.5, 14)
    header, payload = predicted.encode(plane)
    refused = 0
    for place in range(0, len(payload), 61):
        damaged = bytearray(payload)
        damaged[place] ^= 4
        try:
            assert not np.array_equal(predicted.decode(header, bytes(damaged), plane.shape), plane)
        except DamageError:
            refused += 1
    assert refused
