"""What an anatomy reads: parts, matrices of every kind, multiply-accumulates; and what it says of the unknown."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MarianMTModel,
)

from laconic import layers
from laconic.anatomy import Anatomy
from laconic.errors import AnatomyError
from laconic.layers.dense import Dense
from laconic.layers.quantized import Quantized
from tests.tiny import ALIKE, FAMILIES, GROUPED, config, heads, tiny, tiny_inputs, tiny_logits

torch.set_num_threads(1)
ALL = [(family, head) for family in FAMILIES for head in heads(family)]


GATED = {*GROUPED, "t5", "umt5", "mt5"} - {"phi3", "starcoder2"}  # Phi-3's one matrix holds both


@pytest.mark.parametrize("family", FAMILIES + ALIKE)
def test_parts_have_the_sizes_of_the_config(family):
    anatomy = Anatomy(tiny(family))
    assert (anatomy.family, anatomy.hidden, anatomy.vocabulary) == (family, 32, 100)
    assert anatomy.embeddings[0] == anatomy.word_embedding
    for stack in anatomy.stacks:
        assert stack.depth == sum(block.repeats for block in stack.blocks)
        for block in stack.blocks:
            attention = block.attention
            kv_heads = 2 if family in GROUPED else 4
            assert (attention.heads, attention.kv_heads, attention.head_size) == (4, kv_heads, 8)
            assert block.ffn.size == 64
            assert len(block.ffn.inputs) == (2 if family in GATED else 1)
            assert block.ffn.gated == (family in {*GATED, "phi3"})


def test_parts_of_some_models_are_these():
    bert = Anatomy(tiny("bert", head="sequence"))
    assert bert.stacks[0].blocks[1].attention.o == "bert.encoder.layer.1.attention.output.dense"
    assert bert.head == ["bert.pooler.dense", "classifier"]
    names = ["word_embeddings", "position_embeddings", "token_type_embeddings"]
    assert bert.embeddings == [f"bert.embeddings.{name}" for name in names]
    llama = Anatomy(tiny("llama")).stacks[0].blocks[2]
    assert llama.ffn.inputs == ("model.layers.2.mlp.up_proj", "model.layers.2.mlp.gate_proj")
    t5 = Anatomy(tiny("t5", head="lm"))
    assert [stack.path for stack in t5.stacks] == ["encoder.block", "decoder.block"]
    assert t5.stacks[0].blocks[0].cross is None
    assert t5.stacks[1].blocks[0].cross.k == "decoder.block.0.layer.1.EncDecAttention.k"
    albert = Anatomy(tiny("albert"))
    assert [block.repeats for block in albert.stacks[0].blocks] == [3]
    assert albert.projections == ["albert.encoder.embedding_hidden_mapping_in"]
    opt = Anatomy(tiny("opt", head="lm", word_embed_proj_dim=24))
    assert (opt.projections, opt.head) == (["model.decoder.project_in"], ["model.decoder.project_out", "lm_head"])


def test_rows_of_a_fused_matrix_make_the_head_they_say():
    model = tiny("gpt2")
    attention = Anatomy(model).stacks[0].blocks[0].attention
    assert attention.fused
    assert attention.rows("k", [1]) == list(range(32 + 8, 32 + 16))
    module = model.get_submodule(attention.q)
    x = torch.randn(2, 32)
    _, key, _ = module(x).split(32, dim=1)  # as GPT-2 splits it
    weight = layers.take(module)
    rows = attention.rows("k", [1])
    torch.testing.assert_close(x @ weight.weight[rows].T + weight.bias[rows], key.view(2, 4, 8)[:, 1])


@torch.no_grad()
def test_rows_of_a_matrix_fused_head_by_head_make_the_head_they_say():
    model = tiny("gpt_neox")
    attention = Anatomy(model).stacks[0].blocks[0].attention
    module = model.get_submodule(attention.q)
    x = torch.randn(2, 32)
    each = module(x).view(2, 4, 3 * 8)  # as GPT-NeoX views it
    for part, columns in (("q", slice(0, 8)), ("k", slice(8, 16)), ("v", slice(16, 24))):
        rows = attention.rows(part, [1, 3])
        said = x @ module.weight[rows].T + module.bias[rows]
        torch.testing.assert_close(said.view(2, 2, 8), each[:, [1, 3], columns])


@torch.no_grad()
def test_rows_of_phi_3_make_the_grouped_heads_gates_and_neurons_they_say():
    model = tiny("phi3")
    block = Anatomy(model).stacks[0].blocks[0]
    weight = model.get_submodule(block.attention.q).weight
    q, k, v = weight.split([32, 16, 16])  # as Phi-3 cuts it: four query heads of 8, two heads of keys and values
    for part, rows in (("q", q), ("k", k), ("v", v)):
        assert weight[block.attention.rows(part, [1])].equal(rows[8:16])
    gate, up = model.get_submodule(block.ffn.inputs[0]).weight.chunk(2)
    whole = model.get_submodule(block.ffn.inputs[0]).weight
    assert whole[block.ffn.ungated].equal(up)
    assert whole[block.ffn.rows([3, 5])].equal(torch.cat([up[[3, 5]], gate[[3, 5]]]).roll(2, 0))


@pytest.mark.parametrize("family", FAMILIES + ALIKE)
def test_every_matrix_is_in_exactly_one_place(family):
    model = tiny(family, head="lm")
    anatomy = Anatomy(model)
    parts = ("attention", "ffn", "embeddings", "head")
    places = {where: [path for path, _ in anatomy.linears(where)] for where in parts}
    every = [path for paths in places.values() for path in paths]
    assert len(set(every)) == len(every)
    assert sorted(every) == sorted(path for path, _ in anatomy.linears("all"))
    assert [path for path, _ in anatomy.linears("linears")] != []
    assert set(places["attention"] + places["ffn"]) == {path for path, _ in anatomy.linears("linears")}
    listed = {id(module.weight) for _, module in anatomy.linears("all")}
    known = {"relative_attention_bias.weight", "embed_positions.weight"}  # heads' biases, and tables that compute
    left = [
        name
        for name, p in model.named_parameters()
        if p.dim() == 2 and id(p) not in listed and ".".join(name.split(".")[-2:]) not in known
    ]
    assert not left
    for _, module in anatomy.linears("all"):
        layers.take(module)


def test_a_place_that_is_none_is_refused():
    with pytest.raises(AnatomyError, match="where is 'mlp'; it is one of all, attention"):
        list(Anatomy(tiny("bert")).linears("mlp"))


@pytest.mark.parametrize("family", FAMILIES)
def test_our_own_layers_are_recognised(family):
    model = tiny(family, head="lm")
    before, stock = tiny_logits(model, family), Anatomy(model)
    shape, macs, paths = stock.shape(), stock.macs(9), [path for path, _ in stock.linears("all")]
    for path, module in layers.distinct(stock.linears("all")):
        layers.swap(model, path, Dense.of(module))
    ours = Anatomy(model)
    assert (ours.shape(), ours.macs(9)) == (shape, macs)
    assert [path for path, _ in ours.linears("all")] == paths
    torch.testing.assert_close(tiny_logits(model, family), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5"])
def test_dense_layers_are_cut_as_stock_ones_are(family):
    stock, ours = tiny(family, head="lm"), tiny(family, head="lm")
    for path, module in layers.distinct(Anatomy(ours).linears("all")):
        layers.swap(ours, path, Dense.of(module))
    for model in (stock, ours):
        anatomy = Anatomy(model)
        anatomy.remove_neurons(anatomy.stacks[0].blocks[0], [1])
        anatomy.remove_heads(anatomy.stacks[0], [2])
        anatomy.remove_hidden([3, 4])
        anatomy.keep_vocabulary(range(99))
    ids = {k: v.clamp(max=98) for k, v in tiny_inputs(family).items() if "ids" in k}
    said, wanted = tiny_logits(ours, family, **ids), tiny_logits(stock, family, **ids)
    torch.testing.assert_close(said, wanted, rtol=1e-5, atol=1e-5)
    spec = dict(layers.held(ours))[Anatomy(ours).stacks[0].blocks[0].ffn.output].spec()
    assert spec["shape"] == [30, 63]


def test_a_quantized_layer_is_not_cut():
    model = tiny("bert")
    anatomy = Anatomy(model)
    path = anatomy.stacks[0].blocks[0].ffn.output
    layers.swap(model, path, Quantized.of(model.get_submodule(path), bits=8))
    before = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for cut in (lambda: anatomy.remove_neurons(anatomy.stacks[0].blocks[0], [1]), lambda: anatomy.remove_hidden([1])):
        with pytest.raises(AnatomyError, match=f"{path} is held as quantized, which can't be cut"):
            cut()
        assert before == {name: tensor.shape for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize(("family", "head"), ALL)
def test_macs_are_half_the_flops_that_torch_counts(family, head):
    model = tiny(family, head=head)
    model.set_attn_implementation("eager")
    anatomy = Anatomy(model)
    anatomy.remove_neurons(anatomy.stacks[0].blocks[0], [1, 2])
    anatomy.remove_heads(anatomy.stacks[-1], [2, 3])
    inputs = {"input_ids": torch.randint(4, 100, (1, 9)), "attention_mask": torch.ones(1, 9, dtype=torch.long)}
    inputs["input_ids"][:, -1] = 3
    if len(anatomy.stacks) == 2 and head == "lm":
        inputs["decoder_input_ids"] = inputs["input_ids"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**inputs)
    assert 2 * anatomy.macs(9) == counter.get_total_flops()
    if "decoder_input_ids" in inputs:
        inputs["decoder_input_ids"] = inputs["input_ids"][:, :4]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(**inputs)
        assert 2 * anatomy.macs(9, 4) == counter.get_total_flops()


def test_an_unknown_architecture_says_what_to_add_and_where():
    model = BloomForCausalLM(BloomConfig(hidden_size=8, n_head=2, n_layer=1, vocab_size=10))
    words = r"is a 'bloom' model, which has no anatomy .*add an entry 'bloom' to FAMILIES in laconic/anatomy/families"
    with pytest.raises(AnatomyError, match=words):
        Anatomy(model)


def test_parts_that_no_entry_names_are_refused():
    sizes = {"n_embd": 8, "n_head": 2, "n_layer": 1, "vocab_size": 10, "n_positions": 8}
    with pytest.raises(AnatomyError, match="gpt2 with add_cross_attention=True has other parts"):
        Anatomy(GPT2LMHeadModel(GPT2Config(**sizes, add_cross_attention=True)))


@pytest.mark.parametrize("family", ["bart", "blenderbot", "marian", "mbart", "pegasus", "bert"])
def test_a_decoder_that_attends_to_an_encoder_it_lacks_is_refused(family):
    """No example reaches those layers, so nothing could be fitted to what enters them."""
    found = config(family, 5, is_decoder=True, add_cross_attention=True)
    with pytest.raises(AnatomyError, match=r"attends to an encoder \(\S*0\.(encoder_attn|cross)\S*\) and has none"):
        Anatomy(AutoModelForCausalLM.from_config(found))


@pytest.mark.parametrize(
    ("family", "changed"),
    [
        ("opt", {"do_layer_norm_before": False}),
        ("opt", {"layer_norm_elementwise_affine": False}),
        ("phi", {"qk_layernorm": True}),
    ],
)
def test_variants_of_other_parts_are_refused(family, changed):
    ((flag, value),) = changed.items()
    with pytest.raises(AnatomyError, match=f"{family} with {flag}={value} has other parts"):
        Anatomy(tiny(family, head="lm", **changed))


def test_two_vocabularies_are_not_cut_as_one():
    apart = config("marian")
    apart.share_encoder_decoder_embeddings, apart.tie_word_embeddings = False, False
    with pytest.raises(AnatomyError, match="vocabularies of their own"):
        Anatomy(MarianMTModel(apart)).keep_vocabulary(range(50))
