"""Integer matrices: near the weight, within their bound, and sums of products that fit where they have to."""

import numpy as np
import pytest

from laconic import machine
from laconic.lowering import columns


@pytest.mark.parametrize("saturates", [False, True])
def test_codes_times_scales_are_the_weight_to_half_a_step(saturates, monkeypatch):
    monkeypatch.setattr(machine, "saturates", lambda: saturates)
    weight = np.random.default_rng(0).standard_normal((40, 7)).astype(np.float32)
    weight[:, 3] = 0
    codes, scales = columns.codes(weight)
    assert np.abs(codes).max() == (63 if saturates else 127)
    assert (np.abs(codes * scales - weight) <= scales / 2 + 1e-6).all()
    assert not codes[:, 3].any()


def test_two_products_fit_in_16_bits():
    assert 2 * 255 * columns.FITTING < 2**15 <= 2 * 255 * (columns.FITTING + 2)


def test_a_grid_of_4_bits_loses_nothing_where_codes_have_7(monkeypatch):
    monkeypatch.setattr(machine, "saturates", lambda: True)
    weight = np.random.default_rng(1).integers(-7, 8, (64, 5)).astype(np.float32) * np.float32(0.125)
    weight[0] = 7 * 0.125
    codes, scales = columns.codes(weight)
    np.testing.assert_allclose(codes * scales, weight, rtol=1e-6)
