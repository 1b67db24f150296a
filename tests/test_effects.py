"""Amounts against counting by hand."""

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from laconic import effects, layers
from laconic.anatomy import Anatomy
from laconic.contracts import Sketch
from laconic.layers.inputs import Inputs
from laconic.layers.lowrank import LowRank
from laconic.layers.quantized import Quantized
from laconic.layers.sparse import Sparse


def model(**changes) -> BertForMaskedLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(**{**sizes, "intermediate_size": 24, "max_position_embeddings": 8, **changes})
    made = BertForMaskedLM(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


def test_a_stock_model():
    found = effects.measure(model())
    assert found == {
        "sparse": 0.0, "low_bit": 0.0, "narrow": -(16.0 + 16 + 24), "shallow": -2.0,
        "tied": 2.0, "small_vocabulary": -50.0, "low_rank": 0.0, "grouped": 0.0, "low_bit_inputs": 0.0,
        "half": 0.0,
    }  # fmt: skip  # tied: weight and bias of the masked-language head


@pytest.mark.parametrize(
    ("changes", "grown"),
    [({"vocab_size": 49}, "small_vocabulary"), ({"num_hidden_layers": 1}, "shallow"),
     ({"intermediate_size": 20}, "narrow"), ({"hidden_size": 8}, "narrow")],
)  # fmt: skip
def test_a_smaller_model_has_more_of_one_property(changes, grown):
    before, after = effects.measure(model()), effects.measure(model(**changes))
    assert {p for p in before if effects.grew(before, after, p)} == {grown}


def test_zeros_are_counted_over_all_matrices_those_that_are_tied_once():
    made = model()
    query = made.bert.encoder.layer[0].attention.self.query
    layers.swap(made, "bert.encoder.layer.0.attention.self.query", Sparse.of(query, torch.zeros(16, 16).bool()))
    total = 2 * (4 * 16 * 16 + 2 * 16 * 24) + (50 + 8 + 2) * 16 + 16 * 16  # the head's own, which the table follows
    assert effects.measure(made)["sparse"] == pytest.approx(256 / total)


def test_bits_are_of_all_numbers_the_model_holds():
    made = model()
    numbers = sum(p.numel() for p in made.parameters())
    path = "bert.encoder.layer.1.output.dense"
    layers.swap(made, path, Quantized.of(made.get_submodule(path), bits=4))
    expected = (32 * (numbers - 16 * 24) + 4 * 16 * 24 + 16 * 16) / numbers
    assert effects.bits_per_weight(made) == pytest.approx(expected)
    layers.freeze(made)
    assert effects.bits_per_weight(made) == pytest.approx(expected)


def test_a_quantized_embedding_stays_tied():
    made = model()
    before = effects.measure(made)
    path = "bert.embeddings.word_embeddings"
    layers.swap(made, path, Quantized.of(made.get_submodule(path), bits=4))
    for _ in range(2):
        after = effects.measure(made)
        assert after["tied"] == before["tied"]
        assert effects.grew(before, after, "low_bit")
        layers.freeze(made)


def test_floats_that_16_bits_hold_are_counted_by_tensors():
    made = model()
    numbers = sum(p.numel() for p in made.parameters())
    query = made.bert.encoder.layer[0].attention.self.query
    query.weight.data = query.weight.data.half().float()
    query.bias.data[1:] = 0.5  # the first number needs 32 bits, and so its tensor has them
    assert effects.measure(made)["half"] == pytest.approx(256 / numbers)
    path = "bert.encoder.layer.1.output.dense"
    layers.swap(made, path, Quantized.of(made.get_submodule(path), bits=4))
    for _ in range(2):
        assert effects.measure(made)["half"] == pytest.approx(256 / (numbers - 16 * 24))
        layers.freeze(made)
    layers.swap(made, "bert.encoder.layer.0.attention.self.query", Sparse.of(query, torch.eye(16) > 0))
    layers.freeze(made)
    assert effects.measure(made)["half"] == pytest.approx(16 / (numbers - 16 * 24 - 240))


def test_a_tenth_of_what_was_made_may_go_and_no_more():
    start, made = ({"sparse": a, "low_bit": b, "half": c} for a, b, c in ((0.2, 16.0, 1.0), (0.7, 24.0, 1.0)))
    for sparse, gone in ((0.9, False), (0.66, False), (0.64, True), (0.0, True)):
        assert effects.lost(start, made, {**made, "sparse": sparse}, "sparse") == gone
    trained = {**made, "half": 0.0, "low_bit": 20.0}  # floats that needed 16 bits, as they came, need 32
    assert not effects.lost(start, made, trained, "low_bit")
    assert effects.lost(start, made, {**trained, "low_bit": 0.0}, "low_bit")
    assert effects.lost(start, made, {**made, "low_bit": 20.0}, "low_bit")


def test_blocks_that_go_take_their_widths_along():
    made = model(num_hidden_layers=4)
    start = effects.measure(made)
    for block, neurons in zip(Anatomy(made).stacks[0].blocks, (20, 20, 4, 4), strict=True):
        Anatomy(made).remove_neurons(block, range(neurons))
    cut = effects.measure(made)
    assert effects.left(start, cut, cut, "narrow") == 12
    for _ in range(2):
        Anatomy(made).remove_blocks(Anatomy(made).stacks[0], [0])
        assert not effects.lost(start, cut, effects.measure(made), "narrow")
    assert effects.measure(made)["narrow"] < cut["narrow"]  # either that stays is wider than the four on average
    assert effects.lost(start, cut, start, "narrow")


def test_a_matrix_has_one_share_of_the_inputs_bits_however_many_parts_hold_it():
    made = model()
    ends = "attention.self.query", "intermediate.dense"
    layers.swap(made, f"bert.encoder.layer.0.{ends[0]}", Inputs.of(made.bert.encoder.layer[0].attention.self.query, 8))
    path = f"bert.encoder.layer.0.{ends[1]}"
    assert effects.measure(made)["low_bit_inputs"] == pytest.approx(24 / 12)
    layers.swap(made, path, LowRank.of(made.get_submodule(path), torch.ones(24, 2), torch.ones(2, 16)))
    assert effects.measure(made)["low_bit_inputs"] == pytest.approx(24 / 12)
    layers.swap(made, f"{path}.up", Inputs.of(made.get_submodule(path).up, 8))
    assert effects.measure(made)["low_bit_inputs"] == pytest.approx(24 * 1.5 / 12)


def test_sketches():
    sketch = Sketch(vocabulary=100, hidden=8, blocks=2, attention=100, ffn=300, positions=10, rest=50)
    assert effects.lowered(sketch, "ffn", 4).linear_bits == 32 - 0.75 * 28
    assert effects.lowered(sketch, "all", 4).embedding_bits == 4
    assert effects.lowered(effects.lowered(sketch, "all", 4), "all", 8).linear_bits == 4
    assert effects.thinned(sketch, "attention", 0.8).density == 0.8
