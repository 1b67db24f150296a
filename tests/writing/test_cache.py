"""A rounded cache: what it gives back, how much it holds, and that beams, batches and texts go on as with floats."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from laconic import artifact, predict, tasks, trained, writing
from laconic.errors import EngineError
from laconic.writing import cache
from tests.tiny import tiny
from tests.workshop import USED, work


def states(batch=2, heads=3, tokens=64, width=16, seed=0):
    """Channels of very different size and middle, as keys have them."""
    torch.manual_seed(seed)
    size = 10 ** torch.linspace(-2, 2, width)
    return (torch.randn(batch, heads, tokens, width) + 3) * size


@given(st.sampled_from((8, 4)), st.integers(1, 3), st.integers(1, 2), st.sampled_from((8, 16, 64)), st.booleans())
@settings(max_examples=40, deadline=None)
def test_no_state_is_off_by_more_than_half_a_step(bits, batch, groups, width, keys):
    """By hand: a step is the range of what shares a grid over the number of steps."""
    given = states(batch, 2, 32 * groups, width)
    found = cache.Packed.of(given, bits, keys=keys).states(torch.float32)
    if keys:
        parts = given.reshape(batch, 2, groups, 32, width)
        span = (parts.amax(-2, keepdim=True) - parts.amin(-2, keepdim=True)).expand_as(parts).reshape(given.shape)
    else:
        parts = given.reshape(batch, 2, 32 * groups, -1, 32 if width % 32 == 0 else width)
        span = (parts.amax(-1, keepdim=True) - parts.amin(-1, keepdim=True)).expand_as(parts).reshape(given.shape)
    step = span / (2**bits - 1) * (1 + 2**-10)  # scales are rounded up to float16
    assert bool(((found - given).abs() <= 0.501 * step + 1e-5 * given.abs()).all())


def test_keys_along_a_channel_are_nearer_than_along_a_token():
    given = states()
    right, wrong = (
        float(((cache.Packed.of(given, 4, keys=keys).states(torch.float32) - given) / given).abs().mean())
        for keys in (True, False)
    )
    assert right < wrong / 3


@pytest.mark.parametrize(("bits", "most"), [(8, 0.45), (4, 0.32)])
def test_it_holds_less(bits, most):
    layer, floats = cache.Rounded(bits), states(tokens=128, width=64)
    layer.update(floats, floats)
    assert cache._bytes(layer) < most * 2 * floats.numel() * 4
    assert layer.get_seq_length() == 128
    assert layer.keys.shape[-2] == 0


def test_the_last_tokens_stay_floats_and_a_group_is_rounded_once():
    layer, given = cache.Rounded(4), states(tokens=100)
    for i in range(100):
        keys, values = layer.update(given[..., i : i + 1, :], given[..., i : i + 1, :])
        assert keys.shape[-2] == layer.get_seq_length() == i + 1
        assert torch.equal(keys[..., i // 32 * 32 :, :], given[..., i // 32 * 32 : i + 1, :])
    once = cache.Packed.of(given[..., :32, :], 4, keys=True).states(torch.float32)
    assert torch.equal(keys[..., :32, :], once)
    assert len(layer.packed) == 3
    assert torch.equal(values[..., 96:, :], given[..., 96:, :])


def test_rows_of_the_batch_go_where_beams_go():
    layer, plain, given = cache.Rounded(8), cache.Rounded(8), states(batch=3, tokens=40)
    order = torch.tensor([2, 0, 0])
    layer.update(given, given)
    layer.reorder_cache(order)
    plain.update(given[order], given[order])
    for one, other in zip(layer.update(given, given), plain.update(given, given), strict=True):
        assert torch.equal(one, other)
    layer.batch_repeat_interleave(2)
    assert len(layer.update(torch.cat([given] * 2), torch.cat([given] * 2))[0]) == 6
    layer.reset()
    assert layer.get_seq_length() == 0


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "phi3"])
def test_logits_step_by_step_are_near_those_with_floats(family):
    """8 bits are nearer than 4, and 4 bits are near."""
    model = tiny(family, 2, "lm").eval()
    ids = torch.randint(4, 100, (2, 39), generator=torch.Generator().manual_seed(0))
    far = {}
    for bits in (None, 8, 4):
        held = cache.empty(model, bits) if bits else DynamicCache(config=model.config)
        with torch.no_grad():
            steps = (ids[:, i : i + 1] for i in range(ids.shape[1]))
            rows = [model(input_ids=step, past_key_values=held, use_cache=True).logits for step in steps]
        far[bits] = torch.cat(rows, 1)
    spread = float(far[None].std())
    off = {bits: float((far[bits] - far[None]).abs().mean()) / spread for bits in (8, 4)}
    assert torch.equal(far[4][:, :32], far[None][:, :32]) or family in ("mistral", "qwen2")
    assert 0 < off[8] < off[4] < 0.2
    assert off[8] < 0.02


@pytest.mark.parametrize(("family", "beams"), [("t5", 1), ("bart", 3), ("marian", 2)])
def test_an_encoder_decoder_writes_nearly_the_same(family, beams):
    given = work(family, head="translate")
    how = writing.Writing(tokens=20, beams=beams, start="[pad]")
    features = given.task.encode(given.data.train, given.tokenizer, answers=False)
    plain, rounded = (
        writing.texts(writing.Pen(given.model, bits), features, given.tokenizer, how) for bits in (None, 8)
    )
    same = sum(a == b for a, b in zip(plain, rounded, strict=True))
    assert same >= len(plain) - 2
    assert any(len(text) > 5 for (text,) in plain)


def test_size_counts_both_sides():
    model, given = tiny("bart", 2, "lm").eval(), torch.randint(4, 99, (1, 34))
    held = cache.empty(model, 8)
    model(input_ids=given, decoder_input_ids=given, past_key_values=held, use_cache=True)
    floats = 2 * 2 * model.config.decoder_layers * 34 * model.config.d_model * 4
    assert 0.2 * floats < cache.size(held) < 0.6 * floats


@pytest.fixture
def folder(tmp_path):
    given = work("bart", head="translate")
    about = {"task": tasks.describe(given.task), "recipe": None, "provenance": {}, "measures": {}}
    artifact.save(tmp_path / "a", given.model, given.tokenizer, **about, base_config=given.model.config.to_dict())
    return tmp_path / "a"


def test_load_takes_the_bits(folder):
    loaded = predict.load(folder, cache_bits=8)
    assert loaded.engine.cache_bits == 8
    assert loaded.note == "its cache has 8 bits"
    assert loaded.predict(USED[1])[0].keys() == predict.load(folder).predict(USED[1])[0].keys()


@pytest.mark.parametrize("bits", [3, 0, 16])
def test_other_widths_are_refused(folder, bits):
    with pytest.raises(EngineError, match=f"cache_bits is {bits}; a cache has 8 or 4 bits"):
        predict.load(folder, cache_bits=bits)


def test_what_has_no_cache_is_refused(folder):
    with pytest.raises(EngineError, match="the engine onnxruntime rounds no cache"):
        predict.load(folder, "onnxruntime", cache_bits=8)
    given = work("bert")
    with pytest.raises(EngineError, match="a model of ner writes no text, so it has no cache"):
        predict.start(trained.Source(given.model, given.tokenizer, given.task, {}), cache_bits=8)
