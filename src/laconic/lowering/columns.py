"""Matrices in int8 with one scale per output column, the grid of ONNX Runtime's integer kernels.

Jacob et al. 2018, arXiv:1712.05877. Activations take one uint8 grid per tensor and run, measured on the way:
calibrated grids are not faster here, for reading a tensor's extremes costs less than rounding it.
Processors of the x86 kind without VNNI add two products of an activation and a weight in 16 bits, where they saturate
without a sign of it; there weights get codes of 7 bits, of which two products always fit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from laconic import machine
from laconic.lowering.encoder import Floats

GREATEST, FITTING = 127, 63  # 2 * 255 * 63 < 2^15


def codes(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Codes (in, out) and scales (out,) of a weight (in, out): weight is about codes * scales."""
    greatest = FITTING if machine.saturates() else GREATEST
    scales = np.abs(weight).max(axis=0) / np.float32(greatest)  # (out,)
    scales[scales == 0] = 1
    return np.rint(weight / scales).astype(np.int8), scales.astype(np.float32)
