"""A factored word embedding: the planted rank, common words first, tied heads followed."""

import pytest
import torch

from laconic import effects, layers
from laconic.errors import RecipeError
from laconic.methods.factorize import Factorize
from laconic.methods.rtn import RTN
from tests.methods import small
from tests.tiny import tiny, tiny_logits
from tests.workshop import work as workshop

TABLE = "bert.embeddings.word_embeddings"


def test_a_planted_rank_is_found(tmp_path):
    work = small.work(tmp_path)
    table = work.model.get_submodule(TABLE)
    with torch.no_grad():
        table.weight.copy_(torch.randn(42, 4) @ torch.randn(4, 32))
    said = small.logits(work)
    before = effects.measure(work.model)
    Factorize(rank=4).apply(work)
    assert work.model.get_submodule(TABLE).rank == 4
    torch.testing.assert_close(small.logits(work), said, atol=1e-4, rtol=1e-4)
    assert effects.grew(before, effects.measure(work.model), "low_rank")


def test_unweighted_it_is_the_plain_svd_and_weighted_it_favours_common_words(tmp_path):
    errors = {}
    for weighted in (False, True):
        work = small.work(tmp_path)
        work.data.train[:] = [{"text": "w3 w3 w3 w3 w5", "label": "a"}] * 8
        table = work.model.get_submodule(TABLE).weight.detach().double()
        Factorize(rank=8, weighted=weighted).apply(work)
        found = layers.take(work.model.get_submodule(TABLE)).weight.double()
        errors[weighted] = (table - found).square().sum(1).detach()
    assert float(errors[False].sum()) == pytest.approx(float(torch.linalg.svdvals(table)[8:].square().sum()), rel=1e-4)
    assert errors[True][5] < 0.5 * errors[False][5]  # w3
    assert errors[True].sum() > errors[False].sum()


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "t5", "bart", "marian"])
def test_tied_heads_read_the_same_factors(family, tmp_path):
    work = workshop("bert", tmp_path)
    work.model = tiny(family, head="lm")
    tied = effects.measure(work.model)["tied"]
    Factorize(weighted=False).apply(work)
    said = tiny_logits(work.model, family)
    path = work.anatomy.word_embedding
    dense = tiny(family, head="lm")
    with torch.no_grad():
        weight = layers.take(work.model.get_submodule(path)).weight
        layers.take(dense.get_submodule(path)).weight.copy_(weight)
    torch.testing.assert_close(said, tiny_logits(dense, family), atol=1e-4, rtol=1e-4)
    assert effects.measure(work.model)["tied"] == tied
    RTN(8, where="embeddings").apply(work)
    assert {part.kind for _, part in layers.parts(work.model.get_submodule(path))} == {"quantized"}


def test_refusals():
    Factorize().check()
    for wrong, says in (
        ({"keep": 1.5}, "keep is 1.5"),
        ({"rank": 0}, "rank is 0"),
        ({"rank": 8, "keep": 0.9}, "keep is 0.9"),
    ):
        with pytest.raises(RecipeError, match=says):
            Factorize(**wrong).check()


def test_the_forecast_counts_words_only():
    sketch = small.sketch()
    words = sketch.vocabulary / (sketch.vocabulary + sketch.positions)
    assert Factorize(keep=0.25).forecast(sketch).embedding_bits == pytest.approx(32 * (1 - 0.75 * words))
