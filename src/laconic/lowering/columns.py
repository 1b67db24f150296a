"""Matrices in int8 with one scale per output column, the grid of ONNX Runtime's integer kernels.

Jacob et al. 2018, arXiv:1712.05877. Activations take one uint8 grid per tensor and run, measured on the way:
calibrated grids are not faster here, for reading a tensor's extremes costs less than rounding it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from laconic.lowering.encoder import Floats

GREATEST = 127


def codes(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Codes (in, out) and scales (out,) of a weight (in, out): weight is about codes * scales."""
    scales = np.abs(weight).max(axis=0) / np.float32(GREATEST)  # (out,)
    scales[scales == 0] = 1
    return np.rint(weight / scales).astype(np.int8), scales.astype(np.float32)
