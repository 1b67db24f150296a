import pytest

from laconic import optimizers
from tests.workshop import work


def test_weight_decay_is_for_matrices_only():
    decayed, plain = optimizers.build(work().model, "adamw", 1e-3, weight_decay=0.5).param_groups
    assert decayed["weight_decay"] == 0.5
    assert plain["weight_decay"] == 0.0
    assert all(p.ndim > 1 for p in decayed["params"])
    assert all(p.ndim == 1 for p in plain["params"])


@pytest.mark.parametrize("name", sorted(optimizers.OPTIMIZERS))
def test_what_is_frozen_is_not_trained(name):
    model = work().model
    frozen = next(model.parameters()).requires_grad_(False)
    made = optimizers.build(model, name, 1e-3)
    held = [p for group in made.param_groups for p in group["params"]]
    assert not any(p is frozen for p in held)
    assert len(held) == len(list(model.parameters())) - 1
    assert {group["lr"] for group in made.param_groups} == {1e-3}
