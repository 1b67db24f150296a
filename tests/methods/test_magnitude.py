"""Magnitude pruning: what is zero, where, and what is refused."""

from dataclasses import replace

import pytest
import torch

from laconic import effects, layers
from laconic.errors import RecipeError
from laconic.methods.magnitude import Magnitude
from laconic.methods.rtn import RTN
from tests.methods import small


def weights(work, where):
    return {path: layers.take(module).weight.detach() for path, module in work.anatomy.linears(where)}


@pytest.mark.parametrize(("where", "count"), [("attention", 8), ("ffn", 4), ("linears", 12)])
def test_the_smallest_of_all_go_and_the_others_stay(tmp_path, where, count):
    work = small.work(tmp_path)
    before, others = weights(work, where), weights(work, "embeddings")
    Magnitude(0.3, where).apply(work)
    after = weights(work, where)
    assert len(after) == count
    assert all(torch.equal(weight, others[path]) for path, weight in weights(work, "embeddings").items())
    flat = torch.cat([w.flatten() for w in before.values()])
    found = torch.cat([w.flatten() for w in after.values()])
    bound = flat.abs().sort().values[round(0.3 * len(flat)) - 1]
    assert torch.equal(found, torch.where(flat.abs() > bound, flat, 0.0))


def test_scope_says_among_which_weights(tmp_path):
    work = small.work(tmp_path)
    with torch.no_grad():
        work.model.bert.encoder.layer[0].attention.self.query.weight.mul_(1e-3)
    overall, each = small.work(tmp_path, work.model), None
    each = small.work(tmp_path, small.model())
    Magnitude(0.3, "linears", "global").apply(overall)
    Magnitude(0.3, "linears", "layer").apply(each)
    assert not weights(overall, "attention")["bert.encoder.layer.0.attention.self.query"].any()
    shares = [float((w == 0).float().mean()) for w in weights(each, "linears").values()]
    assert shares == pytest.approx([0.3] * 12, abs=1e-3)


def test_two_of_four(tmp_path):
    work = small.work(tmp_path)
    before = weights(work, "linears")
    Magnitude(scope="2:4").apply(work)
    for path, weight in weights(work, "linears").items():
        four = before[path].abs().reshape(-1, 4)
        top = four.topk(2, dim=1).indices
        assert torch.equal((weight != 0).reshape(-1, 4), torch.zeros_like(four, dtype=torch.bool).scatter(1, top, True))


def test_nothing_asked_nothing_changed_and_twice_is_more(tmp_path):
    work = small.work(tmp_path)
    said = small.logits(work)
    Magnitude(0.0, "all").apply(work)
    assert torch.equal(small.logits(work), said)
    Magnitude(0.4, "linears", "layer").apply(work)
    first = weights(work, "linears")
    between = effects.measure(work.model)
    Magnitude(0.6, "linears").apply(work)
    assert all(not weights(work, "linears")[path][weight == 0].any() for path, weight in first.items())
    assert effects.grew(between, effects.measure(work.model), "sparse")


def test_zeros_survive_rounding_and_freezing(tmp_path):
    work = small.work(tmp_path)
    Magnitude(0.5, "linears").apply(work)
    pruned = weights(work, "linears")
    RTN(4, 8, False, "all").apply(work)
    layers.freeze(work.model)
    assert all(not w[pruned[path] == 0].any() for path, w in weights(work, "linears").items())


def test_refusals_and_forecast():
    with pytest.raises(RecipeError, match="where is 'everything'"):
        Magnitude(where="everything").check()
    with pytest.raises(RecipeError, match=r"2:4 is a sparsity of 0\.5, not 0\.7"):
        Magnitude(0.7, scope="2:4").check()
    sketch = small.sketch()
    assert Magnitude(0.5, "linears").forecast(sketch).density == 0.5
    assert Magnitude(0.5, "ffn").forecast(replace(sketch, attention=100, ffn=300)).density == 1 - 0.5 * 0.75
    assert Magnitude(0.5, "embeddings").forecast(sketch) == sketch
