"""Every method leaves the same model on another device as on the processor; there is no list to extend."""

import pytest
import torch

from laconic import layers, machine, methods, testing
from tests.accelerator import accelerator
from tests.contract.test_methods import FITTING, METHODS
from tests.workshop import work

CLOSE = 5e-2  # of the logits' deviation: sums in another order tip single weights, and few examples let solutions swing


def left(name, folder, device=machine.PROCESSOR):
    """The logits of what the method leaves, and where it left it."""
    one = work(FITTING.get(name, "bert"), folder, head="lm" if name in FITTING else "tokens")
    one.model.to(device)
    one.teacher.model.to(device)
    torch.manual_seed(one.seed)
    METHODS[name].apply(one)
    places = {tensor.device for tensor in one.model.state_dict().values()}
    one.model.to(machine.PROCESSOR)
    layers.freeze(one.model)
    return testing.logits(one), places


@pytest.mark.parametrize("name", methods.names())
def test_a_method_works_on_another_device(name, tmp_path):
    with accelerator() as device:
        there, places = left(name, tmp_path / "there", device)
    here, _ = left(name, tmp_path / "here")
    assert places == {device}
    assert (there - here).square().mean().sqrt() <= CLOSE * here.std()


def test_the_device_keeps_apart_what_a_gpu_does():
    with accelerator() as device:
        here, there = torch.ones(3), torch.ones(3, device=device)
        assert (there + 1).device == (there * torch.tensor(2.0)).device == there[torch.tensor([0])].device == device
        for mixed in (lambda: here + there, lambda: here[there.long()], lambda: torch.stack([here, there])):
            with pytest.raises(RuntimeError, match="on one device"):
                mixed()
        with pytest.raises(TypeError, match="to numpy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(3, device=device, generator=torch.Generator())
