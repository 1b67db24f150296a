"""The graph says what torch says: in float32 nearly to the bit, in int8 nearly."""

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import AutoModelForQuestionAnswering

from laconic import layers, machine
from laconic.anatomy import Anatomy
from laconic.answers import logits_of
from laconic.errors import EngineError
from laconic.layers.quantized import Quantized
from laconic.layers.separable import Separable
from laconic.lowering import lower, read
from tests.tiny import config, tiny, tiny_inputs

ENCODERS = ("bert", "roberta", "xlm-roberta", "electra", "distilbert", "albert")
HEADS = ("tokens", "sequence", "spans")


def made(family, head):
    """A tiny model; one that scores starts and ends of spans, with every parameter off its initial value."""
    if head != "spans":
        return tiny(family, head=head)
    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_config(config(family, 2)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return model


def run(model, *, integers, types=None):
    """Logits of `tiny_inputs` from the graph alone, and from torch."""
    inputs = tiny_inputs(model.config.model_type)
    if types is not None:
        inputs["token_type_ids"] = types
    lowered = lower(read(model), integers=integers)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    tables = {k: onnxruntime.OrtValue.ortvalue_from_numpy(v) for k, v in lowered.tables.items()}
    options.add_external_initializers(list(tables), list(tables.values()))
    session = onnxruntime.InferenceSession(lowered.model.SerializeToString(), options)
    ids = inputs["input_ids"].numpy().astype(np.int32)
    places = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    places = places if types is None else places + lowered.tokens_at_most * types.numpy()
    lengths = inputs["attention_mask"].sum(1).numpy().astype(np.int32)
    found = session.run(None, {"ids": ids, "places": places.astype(np.int32), "lengths": lengths})[0]
    with torch.no_grad():
        expected = logits_of(model(**inputs)).numpy()
    if not lowered.pooled:
        real = inputs["attention_mask"].numpy() == 1
        found, expected = found[real], expected[real]
    return found, expected


def distance(found, expected):
    assert found.shape == expected.shape
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", ENCODERS)
def test_float_graph_is_torch(family, head):
    found, expected = run(made(family, head), integers=False)
    assert np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", ENCODERS)
def test_int8_graph_is_close(family, head):
    found, expected = run(made(family, head), integers=True)
    assert 0 < distance(found, expected) < (0.12 if machine.saturates() else 0.08)  # codes of 7 bits or 8


def test_token_types_count():
    model = tiny("bert")
    types = torch.tensor([[0, 1, 1, 0, 0, 1, 0, 1, 1]] * 3)
    found, expected = run(model, integers=False, types=types)
    plain, _ = run(model, integers=False)
    assert np.abs(found - expected).max() < 1e-4
    assert np.abs(found - plain).max() > 0.01


def test_cut_models_run():
    model = tiny("bert")
    anatomy = Anatomy(model)
    blocks = anatomy.stacks[0].blocks
    anatomy.remove_heads(blocks[0], [1])
    anatomy.remove_neurons(anatomy.stacks[0].blocks[1], range(30))
    anatomy.remove_blocks(anatomy.stacks[0], [2])
    anatomy.remove_hidden([3, 17, 20])
    found, expected = run(model, integers=False)
    assert np.abs(found - expected).max() < 1e-4


def test_quantized_layers_are_read_as_they_compute():
    model = tiny("bert")
    before, _ = run(model, integers=False)
    for path, module in list(Anatomy(model).linears("all")):
        layers.swap(model, path, Quantized.of(module, bits=4))
    layers.freeze(model)
    found, expected = run(model, integers=False)
    assert np.abs(found - expected).max() < 1e-4
    assert np.abs(found - before).max() > 0.01


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", ["bert", "distilbert", "albert"])
def test_layers_that_read_back_read_the_same_in_the_graph(family, head):
    """Of several taps beside one another, and beside a dense one, also where a text has fewer tokens than taps."""
    model = made(family, head)
    before, _ = run(model, integers=False)
    block = Anatomy(model).stacks[0].blocks[0]
    paths = [block.attention.q, block.attention.v, block.attention.o, *block.ffn.inputs, block.ffn.output]
    for taps, path in zip((2, 12, 3, 2, 3), paths, strict=True):
        kernel = torch.randn(taps, layers.take(model.get_submodule(path)).weight.shape[1]) / taps
        layers.swap(model, path, Separable.of(model.get_submodule(path), kernel))
    found, expected = run(model, integers=False)
    assert np.abs(found - expected).max() < 1e-4
    assert np.abs(found - before).max() > 0.01
    assert distance(*run(model, integers=True)) < 0.15


def test_a_block_that_runs_again_is_held_once():
    once, again = tiny("albert"), tiny("albert")
    once.config.num_hidden_layers = 1
    sizes = [lower(read(m)).model.ByteSize() for m in (once, again)]
    kinds = [sum(n.op_type == "QAttention" for n in lower(read(m)).model.graph.node) for m in (once, again)]
    assert kinds == [1, 3]
    assert sizes[1] < 1.5 * sizes[0]


def test_an_unknown_activation_is_named():
    model = tiny("bert")
    model.config.hidden_act = "mish"
    with pytest.raises(EngineError, match=r"no activation 'mish' .*relu.*engine='torch'"):
        lower(read(model))


@pytest.mark.parametrize(("family", "head"), [("gpt2", "tokens"), ("llama", "sequence"), ("t5", "lm"), ("bert", "lm")])
def test_other_models_are_refused(family, head):
    with pytest.raises(EngineError, match=r"onnxruntime engine can't run this model.*engine='torch'"):
        read(tiny(family, head=head))
