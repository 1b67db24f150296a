"""Surgery keeps the function of the same model with the removed entries silenced, for every family and head."""

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from laconic.anatomy import Anatomy
from laconic.errors import AnatomyError
from tests.tiny import ALIKE, FAMILIES, GROUPED, HIDDEN, PAD, PRE_NORM, VARIANTS, VOCABULARY, heads, tiny, tiny_inputs
from tests.tiny import tiny_logits as logits

torch.set_num_threads(1)
ALL = [(family, head) for family in FAMILIES for head in heads(family)]
FIRST = [(family, heads(family)[0]) for family in FAMILIES]
NEVER_RESIDUAL = {"query", "key", "value", "q_lin", "k_lin", "v_lin", "q_proj", "k_proj", "v_proj", "q", "k", "v"}
TYPED = ("qwen2", "gemma2", "gemma3_text")  # their config says of each block whether it slides
NEVER_RESIDUAL |= {"q_norm", "k_norm"}


def same(model, reference, family):
    torch.testing.assert_close(logits(model, family), logits(reference, family), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def silence(model, path, columns):
    """Zero columns of the (out, in) weight at `path`, so that nothing reads these entries."""
    module = model.get_submodule(path)
    weight = module.weight.t() if isinstance(module, Conv1D) else module.weight
    assert weight[:, columns].any()
    weight[:, columns] = 0


@pytest.mark.parametrize("family", FAMILIES + ALIKE)
def test_removing_heads_is_silencing_them(family):
    head = heads(family)[0]
    model = tiny(family, head=head)
    reference, whole = copy.deepcopy(model), copy.deepcopy(model)
    anatomy = Anatomy(model)
    gone = [2, 3] if family in GROUPED else [1]
    columns = [h * 8 + i for h in gone for i in range(8)]
    for stack in anatomy.stacks:
        part = stack if stack.shared_heads else stack.blocks[-1]
        for cross in (False, True):
            blocks = part.blocks if stack.shared_heads else [part]
            if cross and blocks[0].cross is None:
                continue
            for block in blocks:
                silence(reference, (block.cross if cross else block.attention).o, columns)
            anatomy.remove_heads(part, gone, cross=cross)
    same(model, reference, family)
    assert not torch.allclose(logits(model, family), logits(whole, family), atol=1e-3)
    assert anatomy.stacks[-1].blocks[-1].attention.heads == 4 - len(gone)


@pytest.mark.parametrize(("family", "head"), FIRST)
def test_removing_neurons_is_silencing_them(family, head):
    model = tiny(family, head=head)
    reference = copy.deepcopy(model)
    anatomy = Anatomy(model)
    for stack in anatomy.stacks:
        block = stack.blocks[0]
        silence(reference, block.ffn.output, [0, 5, 63])
        anatomy.remove_neurons(block, [63, 0, 5])
    same(model, reference, family)
    assert anatomy.stacks[0].blocks[0].ffn.size == 61


class _Masked(nn.Module):
    """A norm whose statistics are over the kept dimensions only; the others come out as zero."""

    def __init__(self, norm, kept):
        super().__init__()
        self.norm, self.kept, self.weight = norm, kept, norm.weight

    def forward(self, x):
        inner = copy.deepcopy(self.norm)
        inner.weight = nn.Parameter(self.norm.weight[self.kept])
        if isinstance(inner, nn.LayerNorm):
            inner.bias, inner.normalized_shape = nn.Parameter(self.norm.bias[self.kept]), (len(self.kept),)
        out = torch.zeros_like(x)
        out[..., self.kept] = inner(x[..., self.kept])
        return out


def masked(model, gone):
    """The model with hidden dimensions held at zero wherever a layer writes them; found by names and widths alone."""
    reference = copy.deepcopy(model)
    kept = [i for i in range(HIDDEN) if i not in gone]

    def hold(_, __, out):
        out = out.clone()
        out[..., gone] = 0
        return out

    for path, module in list(reference.named_modules()):
        name = path.rpartition(".")[2]
        if "Norm" in type(module).__name__ and module.weight.shape == (HIDDEN,) and name not in NEVER_RESIDUAL:
            parent = reference.get_submodule(path.rpartition(".")[0])
            setattr(parent, name, _Masked(module, kept))
        elif isinstance(module, nn.Linear | nn.Embedding | Conv1D) and name not in NEVER_RESIDUAL:
            width = module.nf if isinstance(module, Conv1D) else getattr(module, "out_features", None)
            if (width or module.weight.shape[1]) == HIDDEN:
                module.register_forward_hook(hold)
    return reference


@pytest.mark.parametrize(("family", "head"), ALL)
def test_removing_hidden_dimensions_is_holding_them_at_zero(family, head):
    model = tiny(family, head=head)
    gone = [0, 9, 31]
    reference = masked(model, gone)
    anatomy = Anatomy(model)
    anatomy.remove_hidden(gone)
    same(model, reference, family)
    assert anatomy.hidden == HIDDEN - 3
    assert model.config.hidden_size == HIDDEN - 3


@pytest.mark.parametrize(("family", "changed"), VARIANTS)
def test_removing_hidden_dimensions_of_variants_is_holding_them_at_zero(family, changed):
    model = tiny(family, head="lm", **changed)
    gone = [0, 9, 31]
    reference = masked(model, gone)
    Anatomy(model).remove_hidden(gone)
    same(model, reference, family)


def test_an_embedding_as_wide_as_the_hidden_size_goes_along():
    """ELECTRA base has no projection; a small one may be cut to the width of its embeddings and keeps its own."""
    model = tiny("electra", head="lm")
    anatomy = Anatomy(model)
    anatomy.remove_hidden(range(24, 32))
    assert anatomy.hidden == model.electra.embeddings.word_embeddings.embedding_dim == 24
    anatomy.remove_hidden([3])
    assert (anatomy.hidden, model.electra.embeddings.word_embeddings.embedding_dim) == (23, 24)
    config = copy.deepcopy(tiny("electra").config)
    config.embedding_size = config.hidden_size
    model = type(tiny("electra", head="lm"))(config).eval()
    reference = masked(model, [4])
    Anatomy(model).remove_hidden([4])
    same(model, reference, "electra")
    assert model.config.embedding_size == model.config.hidden_size == 31


class _Skip(nn.Module):
    def forward(self, x, *_, **__):
        return x


@pytest.mark.parametrize(("family", "head"), FIRST)
@pytest.mark.parametrize("index", [0, 1])
def test_removing_a_block_is_passing_it_by(family, head, index):
    model = tiny(family, head=head)
    reference = copy.deepcopy(model)
    anatomy = Anatomy(model)
    for stack in anatomy.stacks:
        if family == "albert":
            reference.config.num_hidden_layers = 2
        elif family in PRE_NORM:  # what stands behind them, a norm of nothing or a scale, gives nothing
            block = stack.blocks[index]
            for path in [block.attention.o, block.ffn.output, *([block.cross.o] if block.cross else [])]:
                for parameter in reference.get_submodule(path).parameters():
                    parameter.data.zero_()
        else:
            reference.get_submodule(stack.path)[index] = _Skip()
        anatomy.remove_blocks(stack, [index])
    same(model, reference, family)
    assert anatomy.stacks[0].depth == 2
    assert model.config.num_hidden_layers == 2


@pytest.mark.parametrize(
    "family", ["qwen2", "gpt_neo", "gpt_neox", "opt", "phi", "phi3", "gemma2", "gemma3_text", "smollm3", "starcoder2"]
)
def test_caches_and_types_follow_the_blocks(family):
    model = tiny(family, head="lm")
    fields = {"gpt_neo": ["attention_layers"], "smollm3": ["layer_types", "no_rope_layers"]}
    types = {
        name: list(getattr(model.config, name)) for name in fields.get(family, ["layer_types"] * (family in TYPED))
    }
    anatomy = Anatomy(model)
    anatomy.remove_blocks(anatomy.stacks[0], [0])
    assert types == {name: [kinds[0], *getattr(model.config, name)] for name, kinds in types.items()}
    places = {vars(m).get("layer_idx", vars(m).get("layer_id")) for m in model.modules()} - {None}
    assert places == {0, 1}
    inputs = {k: v[:1] for k, v in tiny_inputs(family).items()}
    said = model.generate(**inputs, max_new_tokens=4, do_sample=False, use_cache=True)
    assert said.equal(model.generate(**inputs, max_new_tokens=4, do_sample=False, use_cache=False))


def test_stacks_with_configs_of_their_own_say_their_own_depth():
    model = tiny("t5", head="lm")
    anatomy = Anatomy(model)
    anatomy.remove_blocks(anatomy.stacks[1], [0])
    assert (model.config.num_layers, model.config.num_decoder_layers) == (3, 1)
    assert (model.encoder.config.num_layers, model.decoder.config.num_layers) == (3, 1)


@pytest.mark.parametrize(("family", "head"), ALL)
def test_keeping_words_keeps_what_is_said_of_them(family, head):
    model = tiny(family, head=head)
    reference = copy.deepcopy(model)
    inputs = tiny_inputs(family)
    used = [*sorted({int(i) for ids in inputs.values() for i in ids.unique()} - {0, PAD}), PAD, 50]
    ids = [7, *(i for i in dict.fromkeys(used) if i != 7)]  # padding moves far up
    new = {old: i for i, old in enumerate(ids)}
    Anatomy(model).keep_vocabulary(ids)
    for config in {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}.values():
        for name in ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"):
            if getattr(config, name, None) is not None:
                setattr(config, name, new.get(getattr(config, name)))
    renamed = {k: v.clone().apply_(lambda i: new[i]) for k, v in inputs.items() if "ids" in k}
    expected = logits(reference, family)
    if expected.shape[-1] == VOCABULARY:
        expected = expected[..., ids]
    torch.testing.assert_close(logits(model, family, **renamed), expected, rtol=1e-5, atol=1e-5)
    assert model.config.vocab_size == len(ids) == Anatomy(model).vocabulary
    assert all(m.padding_idx in (None, new[PAD]) for m in model.modules() if isinstance(m, nn.Embedding))


@pytest.mark.parametrize("family", FAMILIES)
def test_trimmed_positions_serve_texts_of_that_length(family):
    model = tiny(family)
    anatomy = Anatomy(model)
    if anatomy.positions is None:
        with pytest.raises(AnatomyError, match="learns no positions"):
            anatomy.trim_positions(9)
        return
    assert anatomy.positions == (38 if family == "roberta" else 40)
    before = logits(model, family)
    anatomy.trim_positions(9)
    assert anatomy.positions == 9
    assert logits(model, family).equal(before)
    longer = {k: v for k, v in tiny_inputs(family, tokens=10).items() if k in ("input_ids", "attention_mask")}
    with pytest.raises((IndexError, RuntimeError)):
        model(**longer)
    with pytest.raises(AnatomyError, match="positions for 9 tokens; trim to 1 to 9, not 10"):
        anatomy.trim_positions(10)


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "albert"])
def test_wider_token_types_begin_as_the_first(family):
    model = tiny(family)
    ids = tiny_inputs(family)["input_ids"]
    before = logits(model, family)
    anatomy = Anatomy(model)
    anatomy.widen_token_types(4)
    assert anatomy.token_types == model.config.type_vocab_size == 4
    assert logits(model, family).equal(before)
    assert logits(model, family, token_type_ids=torch.full_like(ids, 3)).equal(before)
    with torch.no_grad():
        model.get_submodule(model.base_model_prefix).embeddings.token_type_embeddings.weight[3] += 1
    assert not logits(model, family, token_type_ids=torch.full_like(ids, 3)).equal(before)
    with pytest.raises(AnatomyError, match="has 4 token types; widen it to 4 or more, not 2"):
        anatomy.widen_token_types(2)


@pytest.mark.parametrize("family", FAMILIES)
def test_ties_stay_ties(family):
    model = tiny(family, head="lm")
    pairs = dict(model.named_parameters(remove_duplicate=False))
    names = {}
    for name, parameter in pairs.items():
        names.setdefault(id(parameter), []).append(name)
    anatomy = Anatomy(model)
    anatomy.remove_hidden([3])
    anatomy.keep_vocabulary(range(60))
    after = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        after.setdefault(id(parameter), []).append(name)
    assert sorted(names.values()) == sorted(after.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_config_says_what_it_has_fields_for(family):
    """A model narrowed alike in all blocks is what its own config builds."""
    model = tiny(family, head="lm")
    anatomy = Anatomy(model)
    for stack in anatomy.stacks:
        for block in stack.blocks:
            anatomy.remove_neurons(block, range(40))
        if family in (*GROUPED, "t5", "umt5"):
            anatomy.remove_heads(stack, [0, 1])
            if family in ("t5", "umt5") and stack.blocks[0].cross is not None:
                anatomy.remove_heads(stack, [0, 1], cross=True)
        anatomy.remove_blocks(stack, [1])
    if family in (*GROUPED, "t5", "umt5"):
        anatomy.remove_hidden([2])
    anatomy.keep_vocabulary(range(60))
    if anatomy.positions is not None:
        anatomy.trim_positions(20)
    stock = type(model)(model.config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in stock.state_dict().items()}
    assert [b.shape for b in stock.buffers()] == [b.shape for b in model.buffers()]
    stock.load_state_dict(model.state_dict())
    if family not in ("t5", "umt5", "gemma", "gemma3_text"):  # scale head or words by the width they were built with
        assert logits(stock.eval(), family, **_small(family)).equal(logits(model, family, **_small(family)))


def _small(family):
    return {k: v % 60 for k, v in tiny_inputs(family).items() if "ids" in k}


@pytest.mark.parametrize(
    ("family", "cut", "words"),
    [
        ("bert", lambda a: a.remove_heads(a.stacks[0].blocks[0], [4]), "has 4 heads, 0 to 3; it has no 4 to remove"),
        ("bert", lambda a: a.remove_heads(a.stacks[0].blocks[0], range(4)), "at least one must stay"),
        ("llama", lambda a: a.remove_heads(a.stacks[0].blocks[0], [1]), "2 query heads share a key and a value"),
        ("llama", lambda a: a.remove_heads(a.stacks[0].blocks[0], [1, 2]), r"such as \[0, 1\], and not \[1, 2\]"),
        ("t5", lambda a: a.remove_heads(a.stacks[0].blocks[0], [1]), "give the stack"),
        ("phi3", lambda a: a.remove_heads(a.stacks[0].blocks[0], [0, 1]), "shares what counts its heads"),
        ("bert", lambda a: a.remove_heads(a.stacks[0], [1], cross=True), "has no cross-attention"),
        ("bert", lambda a: a.remove_neurons(a.stacks[0].blocks[0], [64]), "has 64 neurons, 0 to 63"),
        ("bert", lambda a: a.remove_hidden(range(32)), "all were to be removed"),
        ("bert", lambda a: a.remove_blocks(a.stacks[0], [3]), "has 3 blocks, 0 to 2"),
        ("albert", lambda a: a.remove_blocks(a.stacks[0], [0, 1, 2]), "at least one must stay"),
        ("bert", lambda a: a.keep_vocabulary([1, 1]), "each id once"),
        ("bert", lambda a: a.keep_vocabulary([1, 100]), "no id 100"),
        ("bert", lambda a: a.keep_vocabulary([]), "no use for an empty list"),
        ("roberta", lambda a: a.keep_vocabulary([5]), "counts positions from the padding id 1"),
        ("distilbert", lambda a: a.widen_token_types(4), "has no token types"),
    ],
)
def test_a_cut_that_cannot_be_is_refused_in_words(family, cut, words):
    model = tiny(family)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(AnatomyError, match=words):
        cut(Anatomy(model))
    assert all(before[name].equal(tensor) for name, tensor in model.state_dict().items())
