"""Watching: what is seen, and that nothing is left behind."""

import pytest
import torch
from torch import nn

from laconic.errors import AnatomyError
from laconic.flow import Enough, entering, replaced, standing_in, watch


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


def test_entering_is_seen_before_and_ends_the_pass_where_it_is_told():
    model, x = Pair(), torch.randn(2, 3)
    with entering(model, ["first", "second"]) as seen:
        model(x)
    assert list(seen) == ["first", "second"]
    assert seen["first"][0] is x
    assert torch.equal(seen["second"][0], model.first(x))
    with entering(model, ["first"], ("first", 2)) as seen:
        model(x)
        with pytest.raises(Enough):
            model(x)
    assert len(seen["first"]) == 2
    assert model.training


def test_a_stand_in_answers_and_its_call_can_be_made_again():
    model, x = Pair(), torch.randn(2, 3)
    calls = []

    def answer(call, given, own):
        calls.append((call, given))
        return replaced(own(), torch.full((2, 2), 7.0))

    with standing_in(model, {"second": answer}):
        assert model(x).eq(7).all()
    ((call, given),) = calls
    assert (call.slot, call.positional, call.named) == ("hidden", (), {"hidden": None})
    model.eval()
    assert torch.equal(given, model.first(x))
    assert torch.equal(call.again(model, given), model(x))
    assert "forward" not in vars(model.second)


def test_a_stand_in_is_gone_after_an_error():
    model = Pair()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), standing_in(model, {"first": lambda call, given, own: 1 / 0}):
            model(torch.randn(2, 3))
    assert model.training
    assert model(torch.randn(2, 3)).shape == (2, 2)
