"""Watching: what is seen, and that nothing is left behind."""

import pytest
import torch
from torch import nn

from laconic.errors import AnatomyError
from laconic.flow import watch


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.drop, self.second = nn.Linear(3, 4), nn.Dropout(0.5), Named()

    def forward(self, x):
        return self.second(hidden=self.drop(self.first(x)))[0]


class Named(nn.Linear):
    """Takes its tensor by name and gives a tuple, as blocks of transformers do."""

    def __init__(self) -> None:
        super().__init__(4, 2)

    def forward(self, *, hidden):
        return (super().forward(hidden), None)


def test_inputs_and_outputs_of_each_call():
    model, x = Pair(), torch.randn(2, 5, 3)
    with watch(model, ["first", "second"]) as seen:
        y = model(x)
        assert torch.equal(seen["first"][0].given, x)
        assert torch.equal(seen["first"][0].gave, seen["second"][0].given)  # no dropout
        assert torch.equal(seen["second"][0].gave, y)
        model(x + 1)
        assert [len(seen[path]) for path in ("first", "second")] == [2, 2]
        seen.clear()
        assert seen["first"] == []


def test_what_is_seen_is_in_the_graph():
    model, x = Pair(), torch.randn(2, 3)
    with watch(model, ["second"]) as seen:
        loss = model(x).sum()
        (slope,) = torch.autograd.grad(loss, [seen["second"][0].given])
    assert torch.allclose(slope, model.second.weight.sum(0).expand(2, 4))


def fails(model, paths):
    with watch(model, paths):
        assert not model.training
        raise ValueError


def test_hooks_and_modes_are_as_they_were_even_after_an_error():
    model = Pair()
    model.second.eval()
    before = [module.training for module in model.modules()]
    for error in (ValueError, AnatomyError):
        with pytest.raises(error):
            fails(model, ["first"] if error is ValueError else ["first", "third"])
    assert [module.training for module in model.modules()] == before
    assert not any(module._forward_hooks for module in model.modules())
