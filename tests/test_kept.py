"""A dense weight is computed once for the same tensors; again for others, after loading, and when it is let go of."""

import pytest
import torch
from torch import nn

from laconic import kept
from laconic.kept import Keeps, forget


class Doubled(Keeps):
    """Twice its numbers; `computed` counts how often."""

    def __init__(self):
        super().__init__()
        self.register_buffer("numbers", torch.ones(2, 3))
        self.computed = 0

    def compute(self):
        self.computed += 1
        return 2 * self.numbers

    def weight(self, keep=True):
        return self.kept((self.numbers,), self.compute, keep=keep)


def test_it_is_computed_once_for_the_same_tensor_and_again_for_another():
    layer = Doubled()
    assert layer.weight() is layer.weight()
    assert layer.computed == 1
    layer.numbers = torch.full((2, 3), 5.0)
    assert torch.equal(layer.weight(), torch.full((2, 3), 10.0))
    assert layer.computed == 2


def test_loading_changes_it():
    layer = Doubled()
    layer.weight()
    layer.load_state_dict({"numbers": torch.full((2, 3), 4.0)})
    assert torch.equal(layer.weight(), torch.full((2, 3), 8.0))


def test_nothing_is_kept_of_what_is_large_or_is_not_to_be_kept(monkeypatch):
    layer = Doubled()
    layer.weight(keep=False)
    layer.weight(keep=False)
    assert layer.computed == 2
    monkeypatch.setattr(kept, "LARGEST", 5)
    layer.weight()
    layer.weight()
    assert layer.computed == 4
    monkeypatch.setattr(kept, "LARGEST", 6)
    layer.weight()
    layer.weight()
    assert layer.computed == 5


def test_all_below_a_module_can_be_let_go_of():
    model = nn.Sequential(nn.Sequential(Doubled()), Doubled())
    for layer in (model[0][0], model[1]):
        layer.weight()
    forget(model[0])
    for layer in (model[0][0], model[1]):
        layer.weight()
    assert (model[0][0].computed, model[1].computed) == (2, 1)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_what_was_kept_without_gradients_can_take_part_in_them_later(mode):
    layer, x = Doubled(), torch.ones(1, 3, requires_grad=True)
    with mode():
        layer.weight()
    nn.functional.linear(x, layer.weight()).sum().backward()
    assert torch.equal(x.grad, torch.full((1, 3), 4.0))
