"""A shape rebuilds a cut model from the config it had before: state in, logits equal bit for bit."""

import copy
import json

import pytest
import torch

from laconic.anatomy import Anatomy, buffers
from laconic.errors import AnatomyError
from tests.tiny import ALIKE, FAMILIES, GROUPED, VARIANTS, heads, tiny, tiny_inputs
from tests.tiny import tiny_logits as logits

torch.set_num_threads(1)
ALL = [(family, head) for family in FAMILIES for head in heads(family)]
ALL += [(family, heads(family)[-1]) for family in ALIKE]


def nothing(anatomy):
    """The model as it is."""


def some_heads(anatomy):
    gone = [2, 3] if anatomy.family in GROUPED else [1]
    for stack in anatomy.stacks:
        anatomy.remove_heads(stack if stack.shared_heads else stack.blocks[-1], gone)
        if stack.blocks[0].cross is not None:
            anatomy.remove_heads(stack if stack.shared_heads else stack.blocks[-1], gone, cross=True)


def some_neurons(anatomy):
    for stack in anatomy.stacks:
        anatomy.remove_neurons(stack.blocks[0], [3, 4, 5])


def some_hidden(anatomy):
    anatomy.remove_hidden([0, 9, 31])


def some_blocks(anatomy):
    for stack in anatomy.stacks:
        anatomy.remove_blocks(stack, [0])


def some_words(anatomy):
    anatomy.keep_vocabulary([7, *range(2, 7), *range(8, 100), 1])  # padding 1 comes last
    for config in {id(m.config): m.config for m in anatomy.model.modules() if hasattr(m, "config")}.values():
        config.pad_token_id = 98


def some_positions(anatomy):
    if anatomy.positions is not None:
        anatomy.trim_positions(12)


def more_types(anatomy):
    if anatomy.token_types is not None:
        anatomy.widen_token_types(4)


CUTS = (nothing, some_heads, some_neurons, some_hidden, some_blocks, some_words, some_positions, more_types)


def rebuild(model, base, shape):
    with torch.device("meta"):
        empty = type(model)(base)
        anatomy = Anatomy(empty)
        anatomy.reshape(shape)
    buffers.materialise(empty)
    empty.load_state_dict(model.state_dict(), strict=True)
    return empty.eval()


def check(family, head, cuts):
    check_model(tiny(family, head=head), family, cuts)


def check_model(model, family, cuts):
    base = copy.deepcopy(model.config)
    anatomy = Anatomy(model)
    for cut in cuts:
        cut(anatomy)
    shape = anatomy.shape()
    again = rebuild(model, base, json.loads(json.dumps(shape)))
    ids = {k: v.clamp(2, 90) for k, v in tiny_inputs(family).items() if "ids" in k}
    ids["input_ids"][:, -1] = 3  # BART's classifier reads at eos, of which each row has as many
    ids["input_ids"][:, :-1] = ids["input_ids"][:, :-1].clamp(4)
    assert logits(again, family, **ids).equal(logits(model, family, **ids))
    assert Anatomy(again).shape() == shape
    assert {n: b.shape for n, b in again.named_buffers()} == {n: b.shape for n, b in model.named_buffers()}


@pytest.mark.parametrize(("family", "head"), [(family, heads(family)[-1]) for family in FAMILIES])
@pytest.mark.parametrize("cut", CUTS)
def test_each_surgery_is_rebuilt(family, head, cut):
    check(family, head, [cut])


@pytest.mark.parametrize(("family", "head"), ALL)
def test_all_surgery_together_is_rebuilt(family, head):
    check(family, head, CUTS)


@pytest.mark.parametrize(("family", "changed"), VARIANTS)
def test_all_surgery_of_variants_is_rebuilt(family, changed):
    check_model(tiny(family, head="lm", **changed), family, CUTS)


def test_a_scale_that_depended_on_the_depth_stays():
    model = tiny("gpt2", head="lm")
    model.config.scale_attn_by_inverse_layer_idx = True
    scaled = type(model)(model.config).eval()
    scaled.load_state_dict(model.state_dict())
    assert len({block.attn.scaling for block in scaled.transformer.h}) == 3
    check_model(scaled, "gpt2", [some_blocks])


def test_ties_are_kept_when_memory_is_given():
    for family in ("bert", "bart", "t5", "gpt2"):
        with torch.device("meta"):
            empty = type(tiny(family, head="lm"))(tiny(family).config)
        buffers.materialise(empty)
        assert empty.get_input_embeddings().weight is empty.get_output_embeddings().weight, family


def test_rotary_frequencies_are_computed_after_the_hidden_size_is_cut():
    model = tiny("qwen2")
    wanted = model.model.rotary_emb.inv_freq.clone()
    anatomy = Anatomy(model)
    anatomy.remove_hidden(range(8))
    model.model.rotary_emb.inv_freq.zero_()
    buffers.fill(model)
    assert model.model.rotary_emb.inv_freq.equal(wanted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden": 33}, "the shape has 33 hidden dimensions, but the model only 32"),
        ({"hidden": 0}, "says 0 hidden dimensions; it must be a whole number from 1"),
        ({"vocabulary": "60"}, "says '60' words"),
        ({"vocabulary": True}, "says True words"),
        ({"positions": 41}, "41 positions, but the model only 40"),
        ({"family": "gpt2"}, "of a 'gpt2' model and not of 'bert'"),
        ({"stacks": []}, "must list 1 stacks"),
        ({"stacks": [{"depth": 3}]}, "must be an object with depth and blocks"),
        ({"stacks": [{"depth": 3, "blocks": [{"heads": 1}]}]}, "must be an object with ffn, heads, scaling"),
        ({"stacks": [{"depth": 3, "blocks": [{"heads": 1, "ffn": 1, "scaling": "x"}]}]}, "scaling is x"),
        ({"stacks": [{"depth": 3, "blocks": [{"heads": 1, "ffn": 1, "scaling": 10**400}]}]}, "scaling is 1000"),
        ({"stacks": [{"depth": 3, "blocks": [], "types": "x"}]}, "types is x; it must be a list"),
        ({"padding": "x"}, "padding is x; it must be one of"),
        ({"padding": 10**9}, "padding is 1000000000; it must be one of"),
        ({"tokens": "x"}, "tokens is x; it must be an object"),
        ({"tokens": {"bos_token_id": [1]}}, "bos_token_id is .1.; it must be a word's number"),
        ({"token_types": 10**12}, "token_types is 1000000000000; it must be at most 1024"),
    ],
)
def test_a_damaged_shape_is_refused(change, words):
    model = tiny("bert")
    with pytest.raises(AnatomyError, match=words):
        Anatomy(model).reshape({**Anatomy(model).shape(), **change})


def test_padding_that_positions_count_from_cannot_be_left_out():
    anatomy = Anatomy(tiny("roberta"))
    with pytest.raises(AnatomyError, match="padding is None; it must be one of"):
        anatomy.reshape({**anatomy.shape(), "padding": None})


def test_an_incomplete_shape_is_refused():
    anatomy = Anatomy(tiny("bert"))
    part = {k: v for k, v in anatomy.shape().items() if k not in ("hidden", "padding")}
    with pytest.raises(AnatomyError, match="says nothing of hidden, padding"):
        anatomy.reshape(part)
