"""Round to nearest over a whole model."""

import pytest
import torch

from laconic import effects, layers
from laconic.errors import RecipeError
from laconic.layers.quantized import Quantized
from laconic.maths import grid
from laconic.methods.rtn import RTN
from tests.methods import small


@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize("group", ["tensor", "channel", 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_weight_goes_to_its_nearest_point(tmp_path, bits, group, symmetric):
    work = small.work(tmp_path)
    before = {p: layers.take(m).weight.detach().clone() for p, m in work.anatomy.linears("all")}
    RTN(bits, group, symmetric).apply(work)
    held = dict(layers.held(work.model))
    assert set(held) == set(before)
    for path, layer in held.items():
        points = torch.arange(1 if symmetric else 0, 2**bits)  # codes
        middle = torch.full_like(layer.scale, 2 ** (bits - 1)) if layer.zero is None else layer.zero.float()
        values = (points - middle.unsqueeze(-1)) * layer.scale.unsqueeze(-1)  # (R, G, points)
        parts = grid.split(before[path], layer.group).unsqueeze(-1)  # (R, G, n, 1)
        least = grid.join((parts - values.unsqueeze(2)).abs().amin(-1), *before[path].shape)
        assert torch.allclose((layer.weight - before[path]).abs(), least, atol=1e-6)


@pytest.mark.parametrize("where", ["attention", "ffn", "embeddings", "head"])
def test_where_says_which(tmp_path, where):
    work = small.work(tmp_path)
    RTN(4, where=where).apply(work)
    assert {path for path, _ in layers.held(work.model)} == {path for path, _ in work.anatomy.linears(where)}


def test_eight_bits_hardly_matter_and_low_bit_grows_as_bits_fall(tmp_path):
    work = small.work(tmp_path)
    said, amounts = small.logits(work), [effects.measure(work.model)]
    RTN(8).apply(work)
    amounts.append(effects.measure(work.model))
    assert float((small.logits(work) - said).abs().max()) < 0.05 * float(said.std())
    RTN(3).apply(work)
    amounts.append(effects.measure(work.model))
    assert effects.grew(amounts[0], amounts[1], "low_bit")
    assert effects.grew(amounts[1], amounts[2], "low_bit")
    said = small.logits(work)
    layers.freeze(work.model)
    assert torch.equal(small.logits(work), said)
    assert all(isinstance(layer, Quantized) and layer.width == 3 for _, layer in layers.held(work.model))


def test_refusals_and_forecast():
    with pytest.raises(RecipeError, match="bits is 9"):
        RTN(9).check()
    with pytest.raises(RecipeError, match="where is 'heads'"):
        RTN(where="heads").check()
    after = RTN(4, "channel", False).forecast(small.sketch())
    assert (after.embedding_bits, after.linear_bits) == (4 + 20 / 64, 4 + 20 / 64)
    assert RTN(4, "tensor", where="attention").forecast(small.sketch()).linear_bits == pytest.approx(32 - 28 / 3)
