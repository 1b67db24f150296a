"""LoRA: the paper's formula, only the updates trained, merged bit for bit, through masks and grids."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers.pytorch_utils import Conv1D

from laconic import answers, effects, layers
from laconic.errors import RecipeError
from laconic.methods.lora import LoRA, Update
from laconic.methods.magnitude import Magnitude
from laconic.methods.rtn import RTN
from laconic.methods.svd import SVD
from tests.methods import small

QUICK = {"epochs": 1, "learning_rate": 0.01, "rank": 2}


@pytest.mark.parametrize("module", [nn.Linear(6, 4), Conv1D(4, 6)])
def test_the_update_is_the_papers(module):
    plain = copy.deepcopy(module)
    update = Update(module, "weight", 2, 3.0, torch.Generator().manual_seed(0))
    parametrize.register_parametrization(module, "weight", update)
    x = torch.randn(3, 6)
    assert torch.equal(module(x), plain(x))  # B is zero at first
    assert 0 < float(update.down.detach().abs().max()) <= 6**-0.5
    with torch.no_grad():
        update.up.normal_()
    expected = plain(x) + 1.5 * (x @ update.down.T) @ update.up.T
    torch.testing.assert_close(module(x), expected)
    said = module(x)
    parametrize.remove_parametrizations(module, "weight")
    assert torch.equal(module(x), said)
    assert type(module) is type(plain)


def test_only_a_low_rank_change_is_made_and_only_where_asked(tmp_path):
    work = small.work(tmp_path)
    before = {name: p.detach().clone() for name, p in work.model.named_parameters()}
    LoRA(where="attention", **QUICK).apply(work)
    after = dict(work.model.named_parameters())
    assert set(after) == set(before)
    changed = {name for name, p in after.items() if not torch.equal(p, before[name])}
    assert changed == {f"{path}.weight" for path, _ in work.anatomy.linears("attention")}
    assert all(torch.linalg.matrix_rank(after[name] - before[name], atol=1e-5) <= 2 for name in changed)
    assert all(p.requires_grad and p.grad is None for p in after.values())


def test_a_rank_beyond_the_layers_is_full_rank():
    module = nn.Linear(6, 4)
    wide, full = (Update(module, "weight", rank, 16.0, torch.Generator().manual_seed(0)) for rank in (2**63, 4))
    assert wide.down.shape == (4, 6)
    assert torch.equal(wide.down, full.down)
    assert wide.scale == full.scale == 4


def test_it_learns(tmp_path):
    work = small.work(tmp_path)
    loss = answers.evaluate(work.model, work.tokenizer, work.task, work.data.train)["bits"]
    LoRA(epochs=6, learning_rate=0.01, rank=4).apply(work)
    assert answers.evaluate(work.model, work.tokenizer, work.task, work.data.train)["bits"] < 0.97 * loss


def test_masks_and_grids_are_trained_through(tmp_path):
    work = small.work(tmp_path)
    Magnitude(0.5).apply(work)
    RTN(4, where="linears").apply(work)
    layers.freeze(work.model)
    zeros = {path: layer.weight == 0 for path, layer in layers.held(work.model)}
    codes = {path: layer.codes.clone() for path, layer in layers.held(work.model)}
    before = effects.measure(work.model)
    LoRA(**QUICK).apply(work)
    said = small.logits(work)
    layers.freeze(work.model)
    assert torch.equal(small.logits(work), said)
    assert all(not work.model.get_submodule(path).weight[mask].any() for path, mask in zeros.items())
    assert any(not torch.equal(work.model.get_submodule(path).codes, held) for path, held in codes.items())
    after = effects.measure(work.model)
    assert after["low_bit"] == pytest.approx(before["low_bit"])
    assert after["sparse"] >= before["sparse"]


def test_sparse_layers_and_factors_learn_where_they_stand(tmp_path):
    work = small.work(tmp_path)
    SVD(keep=0.5).apply(work)
    Magnitude(0.3).apply(work)
    before = effects.measure(work.model)
    LoRA(**QUICK).apply(work)
    layers.freeze(work.model)
    after = effects.measure(work.model)
    assert (after["low_rank"], after["sparse"]) == (before["low_rank"], before["sparse"])


@pytest.mark.parametrize(
    ("wrong", "says"), [({"rank": 0}, "rank is 0"), ({"alpha": 0.0}, "alpha is 0"), ({"epochs": 0}, "epochs")]
)
def test_refusals(wrong, says):
    LoRA().check()
    with pytest.raises(RecipeError, match=says):
        LoRA(**wrong).check()


def test_the_forecast_stays():
    assert LoRA().forecast(small.sketch()) == small.sketch()
