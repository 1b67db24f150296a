"""Watching: what is seen, and that nothing is left behind."""

import pytest
import torch
from torch import nn

from laconic.errors import AnatomyError
from laconic.flow import Enough, entering, quiet, replaced, standing_in, waiting, watch


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


def test_passes_wait_where_they_are_told_and_go_on_with_what_stands_there_by_then():
    model, xs = Pair().eval(), [torch.randn(2, 3), torch.randn(4, 3)]
    with torch.no_grad(), waiting(model, ["first", "second"], [lambda x=x: model(x) for x in xs]) as passes:
        assert all(torch.equal(one.on(), x) for one, x in zip(passes, xs, strict=True))
        model.first = nn.Linear(3, 4)
        given = [one.on() for one in passes]
        assert all(torch.equal(g, model.first(x)) for g, x in zip(given, xs, strict=True))
        assert torch.equal(model(xs[0]), model.second(hidden=given[0])[0])  # no pass of theirs: it does not wait
        assert all(torch.equal(one.on(), model.second(hidden=g)[0]) for one, g in zip(passes, given, strict=True))
    assert "forward" not in vars(model.second)


def test_passes_that_are_not_run_to_their_end_leave_nothing():
    ended = []

    def run():
        try:
            return model(torch.randn(2, 3))
        finally:
            ended.append(1)

    model = Pair()
    with waiting(model, ["second"], [run, run]) as passes:
        passes[0].on()
    assert ended == [1]
    assert model.training
    assert "forward" not in vars(model.second)


def test_an_error_in_a_pass_is_an_error_where_it_is_asked_on():
    model = Pair()
    with (
        pytest.raises(RuntimeError, match="shapes cannot be multiplied"),
        waiting(model, ["second"], [lambda: model(torch.ones(2, 5))]) as one,
    ):
        one[0].on()
    assert "forward" not in vars(model.second)


def test_a_module_that_came_meanwhile_has_the_mode_of_its_place():
    model = Pair()
    model.second.eval()
    with quiet(model):
        model.first, model.second = nn.Sequential(nn.Linear(3, 4)), Named()
    assert model.first[0].training
    assert not model.second.training
