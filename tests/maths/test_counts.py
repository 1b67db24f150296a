"""Figures from summed counts, against scikit-learn's and numpy's own."""

import numpy as np
from sklearn.metrics import f1_score

from laconic.maths import counts


def test_f1_is_that_of_the_labels_themselves():
    rng = np.random.default_rng(0)
    true, said = rng.random((2, 50)) < 0.4
    summed = np.array([(true & said).sum(), said.sum(), true.sum()])
    assert np.isclose(counts.f1(summed), f1_score(true, said))
    assert counts.f1(np.stack([summed, np.zeros(3)])).tolist() == [float(counts.f1(summed)), 0.0]


def test_a_mean_is_that_of_the_figures():
    rows = np.random.default_rng(1).random((4, 9))
    summed = np.stack([rows.sum(1), np.full(4, 9)], axis=1)
    assert np.allclose(counts.mean(summed), rows.mean(1))
    assert counts.mean(np.zeros(2)) == 0
