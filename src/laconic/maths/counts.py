"""Figures from counts that are summed over examples, as the bootstrap draws them.

No paper: the mean; F1 is van Rijsbergen 1979, Information Retrieval, chapter 7.
"""

import numpy as np


def mean(summed: np.ndarray) -> np.ndarray:
    """Mean of a figure, from its sum and the number of examples (..., 2); 0 of none."""
    return np.asarray(summed[..., 0] / np.maximum(summed[..., 1], 1))


def f1(summed: np.ndarray) -> np.ndarray:
    """2 right / (said + true), from what is right, said and true (..., 3); 0 of none."""
    return np.asarray(2 * summed[..., 0] / np.maximum(summed[..., 1] + summed[..., 2], 1))
