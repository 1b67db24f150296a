"""Separable convolutions over a model: less is lost than in groups alone, padding and caches, and later steps."""

import pytest
import torch

from laconic import layers
from laconic.errors import RecipeError
from laconic.layers.separable import Separable as Layer
from laconic.methods.convolve import Convolve
from laconic.methods.gptq import GPTQ
from laconic.methods.rtn import RTN
from laconic.methods.separable import Separable
from tests import workshop
from tests.methods import small

QUERY = "bert.encoder.layer.0.attention.self.query"


def entered(work) -> dict[str, list[torch.Tensor]]:
    """What enters each linear, text by text, without any padding."""
    seen = {path: [] for path, _ in work.anatomy.whole("linears")}
    hooks = [
        work.model.get_submodule(path).register_forward_pre_hook(lambda _, x, held=held: held.append(x[0].detach()))
        for path, held in seen.items()
    ]
    small.logits(work)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("options", [{}, {"groups": 2, "taps": 2}, {"permute": False}], ids=str)
def test_no_layer_loses_more_than_convolves_and_together_they_lose_less(options, tmp_path):
    work = small.work(tmp_path)
    given, original = entered(work), work.teacher.model
    losses = []
    for method in (Convolve, Separable):
        one = small.work(tmp_path)
        method(samples=64, **{k: v for k, v in options.items() if k != "taps" or method is Separable}).apply(one)
        losses.append([])
        for path, texts in given.items():
            pair = one.model.get_submodule(path), original.get_submodule(path)
            losses[-1].append(sum(float((pair[0](x) - pair[1](x)).detach().square().sum()) for x in texts))
    assert all(mine <= theirs * (1 + 1e-4) for theirs, mine in zip(*losses, strict=True))
    assert sum(losses[1]) < 0.98 * sum(losses[0])


def test_planted_groups_are_found_and_nothing_is_lost(tmp_path):
    work = small.work(tmp_path)
    with torch.no_grad():
        for _, module in work.anatomy.linears("linears"):
            rows, columns = module.weight.shape
            planted = torch.block_diag(*(0.2 * torch.randn(rows // 4, columns // 4) for _ in range(4)))
            module.weight.copy_(planted[torch.randperm(rows)][:, torch.randperm(columns)])
    said = small.logits(work)
    Separable(samples=64).apply(work)
    torch.testing.assert_close(small.logits(work), said, atol=1e-3, rtol=1e-3)


def test_an_answer_does_not_depend_on_the_padding_behind_the_text(tmp_path):
    work = small.work(tmp_path)
    Separable(samples=16).apply(work)
    features = work.task.encode(work.data.train, work.tokenizer, answers=False)[:4]
    for feature in features:
        ids = torch.tensor([feature["input_ids"]])
        mask = torch.cat([torch.ones_like(ids), torch.zeros(1, 6, dtype=torch.long)], 1)
        padded = torch.cat([ids, torch.randint(2, 42, (1, 6))], 1)
        with torch.no_grad():
            alone, beside = work.model(input_ids=ids), work.model(input_ids=padded, attention_mask=mask)
        torch.testing.assert_close(beside.logits, alone.logits, atol=1e-5, rtol=1e-5)


def test_a_decoder_that_writes_is_refused_and_one_that_classifies_is_not(tmp_path):
    with pytest.raises(RecipeError, match=r"GPT2LMHeadModel writes token by token .* use convolve"):
        Separable().apply(workshop.work("gpt2", tmp_path, head="lm"))
    work = workshop.work("gpt2", tmp_path)
    Separable().apply(work)
    assert all(isinstance(module, Layer) for _, module in work.anatomy.whole("linears"))


def test_of_an_encoder_decoder_that_writes_the_encoder_is_replaced_and_a_cache_changes_nothing(tmp_path):
    work = workshop.work("t5", tmp_path, head="translate")
    Separable().apply(work)
    held = {path for path, module in work.anatomy.whole("linears") if isinstance(module, Layer)}
    assert held == {path for path, _ in work.anatomy.whole("linears") if path.startswith("encoder.")}
    ids = torch.tensor([[5, 9, 30, 41, 3]])
    wrote = [
        work.model.generate(input_ids=ids, max_new_tokens=6, do_sample=False, use_cache=cached)
        for cached in (True, False)
    ]
    assert torch.equal(*wrote)


def test_a_text_cut_before_the_feed_forward_is_refused(tmp_path):
    work = small.work(tmp_path)
    work.model.config.chunk_size_feed_forward = 2
    with pytest.raises(RecipeError, match="chunk_size_feed_forward cuts texts"):
        Separable().apply(work)


@pytest.mark.parametrize("later", [GPTQ(4, samples=16), RTN(4, where="linears")], ids=["gptq", "rtn"])
def test_groups_are_rounded_and_filters_and_groups_are_trained(later, tmp_path):
    work = small.work(tmp_path)
    Separable(samples=16).apply(work)
    later.apply(work)
    layer = work.model.get_submodule(QUERY)
    assert [part.kind for _, part in layers.leaves(QUERY, layer)] == ["quantized"] * 4
    layers.thaw(work.model)
    layer(torch.randn(1, 5, 32)).square().sum().backward()
    assert all(part.latent.grad.any() for _, part in layers.leaves(QUERY, layer))
    assert layer.kernel.grad.ne(0).any(1).all()


def test_options_that_cannot_work_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="groups is 5, which does not divide"):
        Separable(groups=5).apply(small.work(tmp_path))
    with pytest.raises(RecipeError, match="taps is 1"):
        Separable(taps=1).check()
    Separable().check()


def test_the_forecast_counts_groups_and_filters():
    sketch = small.sketch()
    found = Separable(groups=4, taps=4, where="ffn").forecast(sketch)
    assert found.ffn == pytest.approx(sketch.ffn * (1 / 4 + 4 / 64))
    assert found.attention == sketch.attention
