"""Masks against sorting by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic.errors import RecipeError
from laconic.maths import masks


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.floats(0, 0.99))
def test_lowest_is_what_sorting_finds(scores, sparsity):
    count = round(sparsity * len(scores))
    expected = set(sorted(range(len(scores)), key=lambda i: (scores[i], i))[:count])
    found = masks.lowest(torch.tensor(scores, dtype=torch.float32), sparsity)
    assert set(found.nonzero().flatten().tolist()) == expected


def test_lowest_overall_takes_them_where_they_are():
    small, large = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 9.0], [0.5, 8.0]])
    found = masks.lowest_overall([small, large], 0.5)
    assert [mask.tolist() for mask in found] == [[[True, True]], [[False, False], [True, False]]]
    assert masks.lowest_overall([], 0.5) == []


def test_of_every_four_two_stay():
    scores = torch.tensor([[4.0, 1.0, 3.0, 2.0, 5.0, 5.0, 5.0, 6.0, 1.0]])
    found = masks.lowest_of_each(scores, 2, 4)
    assert found.tolist() == [[False, True, False, True, True, True, False, False, False]]


def test_scopes_differ():
    scores = [torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[5.0, 6.0, 7.0, 8.0]])]
    rows = {scope: [m.int().flatten().tolist() for m in masks.kept(scores, 0.5, scope)] for scope in masks.SCOPES}
    assert rows["global"] == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert rows["layer"] == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert rows["1:2"] == [[0, 1, 0, 1], [0, 1, 0, 1]]
    assert rows["1:4"] == [[0, 0, 0, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("sparsity", "scope", "says"),
    [
        (1.0, "global", "0 <= sparsity < 1"),
        (-0.1, "layer", "share"),
        (0.5, "column", "choose one"),
        (0.6, "2:4", "not 0.6"),
    ],
)
def test_impossible_scopes_are_refused(sparsity, scope, says):
    masks.check(0.75, "1:4")
    with pytest.raises(RecipeError, match=says):
        masks.check(sparsity, scope)
