"""Where the parts of each architecture are: one entry a family, found by the config's `model_type`.

No paper: names taken from transformers 5's modeling files. What follows the hidden size, the vocabulary or the
positions is not listed here: `cut.growing` reads it off two empty models.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Heads:
    """An attention's paths below its block: the module that holds the counts, the projections, the head size's name.

    One path as q, k and v means that one matrix holds them, below one another.
    """

    path: str
    q: str
    k: str
    v: str
    o: str
    size: str


@dataclass(frozen=True)
class Blocks:
    """A list of blocks below the base model, the parts of a block, and the config fields that say their sizes."""

    path: str
    attention: Heads
    inputs: tuple[str, ...]  # up, then gate; those that a block has are taken
    output: str
    cross: Heads | None = None
    inner: str | None = None  # ALBERT: the list holds groups, and the blocks are in this list of each
    pre_norm: bool = False  # norms stand before attention and feed-forward, not behind them
    shared_heads: bool = False  # T5: one relative bias serves all blocks, so heads go from all of them at once
    depth: str = "num_hidden_layers"
    ffn: str = "intermediate_size"
    heads: str = "num_attention_heads"
    kv_heads: str | None = None


@dataclass(frozen=True)
class Family:
    """One architecture; paths are below the base model, other names are config fields."""

    words: tuple[str, ...]  # the first that the model has is its word embedding
    stacks: tuple[Blocks, ...]  # those that the model has are taken
    positions: tuple[str, ...] = ()  # position tables
    offset: int | None = 0  # rows of a position table before the first position; None: padding id + 1
    types: str | None = None  # token type table
    projection: str | None = None  # from the embeddings' width to the hidden size
    hidden: str = "hidden_size"
    embedding: str | None = None  # the embeddings' width, where it has a field of its own
    vocabulary: tuple[str, ...] = ("vocab_size",)
    head_size: str | None = None
    pooled: bool = True  # a sequence classification head reads one position
    refused: tuple[str, ...] = ()  # config flags that add parts this entry does not name


def _heads(path: str, names: str, size: str) -> Heads:
    """Projections named by four words below `path`."""
    q, k, v, o = (f"{path}.{name}" for name in names.split())
    return Heads(path, q, k, v, o, size)


def _bert_heads(path: str) -> Heads:
    return replace(_heads(f"{path}.self", "query key value o", "attention_head_size"), o=f"{path}.output.dense")


_BERT = Family(
    words=("embeddings.word_embeddings",),
    positions=("embeddings.position_embeddings",),
    types="embeddings.token_type_embeddings",
    stacks=(
        Blocks(
            "encoder.layer",
            _bert_heads("attention"),
            inputs=("intermediate.dense",),
            output="output.dense",
            cross=_bert_heads("crossattention"),
        ),
    ),
)

_DISTILBERT = Family(
    words=("embeddings.word_embeddings",),
    positions=("embeddings.position_embeddings",),
    hidden="dim",
    stacks=(
        Blocks(
            "transformer.layer",
            _heads("attention", "q_lin k_lin v_lin out_lin", "attention_head_size"),
            inputs=("ffn.lin1",),
            output="ffn.lin2",
            ffn="hidden_dim",
        ),
    ),
)

_ALBERT = replace(
    _BERT,
    projection="encoder.embedding_hidden_mapping_in",
    embedding="embedding_size",
    stacks=(
        Blocks(
            "encoder.albert_layer_groups",
            _heads("attention", "query key value dense", "attention_head_size"),
            inputs=("ffn",),
            output="ffn_output",
            inner="albert_layers",
        ),
    ),
)

_GPT2 = Family(
    words=("wte",),
    positions=("wpe",),
    stacks=(
        Blocks(
            "h",
            _heads("attn", "c_attn c_attn c_attn c_proj", "head_dim"),
            inputs=("mlp.c_fc",),
            output="mlp.c_proj",
            pre_norm=True,
            ffn="n_inner",
        ),
    ),
    pooled=False,
    refused=("add_cross_attention",),
)

_LLAMA = Family(
    words=("embed_tokens",),
    stacks=(
        Blocks(
            "layers",
            _heads("self_attn", "q_proj k_proj v_proj o_proj", "head_dim"),
            inputs=("mlp.up_proj", "mlp.gate_proj"),
            output="mlp.down_proj",
            pre_norm=True,
            kv_heads="num_key_value_heads",
        ),
    ),
    head_size="head_dim",
    pooled=False,
)


def _t5_blocks(path: str, ffn: str, cross: Heads | None, depth: str) -> Blocks:
    return Blocks(
        path,
        _heads("layer.0.SelfAttention", "q k v o", "key_value_proj_dim"),
        inputs=(f"{ffn}.wi", f"{ffn}.wi_1", f"{ffn}.wi_0"),
        output=f"{ffn}.wo",
        cross=cross,
        pre_norm=True,
        shared_heads=True,
        depth=depth,
        ffn="d_ff",
        heads="num_heads",
    )


_T5 = Family(
    words=("shared",),
    hidden="d_model",
    stacks=(
        _t5_blocks("encoder.block", "layer.1.DenseReluDense", None, "num_layers"),
        _t5_blocks(
            "decoder.block",
            "layer.2.DenseReluDense",
            _heads("layer.1.EncDecAttention", "q k v o", "key_value_proj_dim"),
            "num_decoder_layers",
        ),
    ),
    head_size="d_kv",
)


def _bart_blocks(side: str, cross: Heads | None) -> Blocks:
    return Blocks(
        f"{side}.layers",
        _heads("self_attn", "q_proj k_proj v_proj out_proj", "head_dim"),
        inputs=("fc1",),
        output="fc2",
        cross=cross,
        depth=f"{side}_layers",
        ffn=f"{side}_ffn_dim",
        heads=f"{side}_attention_heads",
    )


_BART = Family(
    words=("shared", "encoder.embed_tokens", "decoder.embed_tokens"),
    positions=("encoder.embed_positions", "decoder.embed_positions"),
    offset=2,
    hidden="d_model",
    stacks=(
        _bart_blocks("encoder", None),
        _bart_blocks("decoder", _heads("encoder_attn", "q_proj k_proj v_proj out_proj", "head_dim")),
    ),
)

FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    "roberta": replace(_BERT, offset=None),
    "electra": replace(_BERT, projection="embeddings_project", embedding="embedding_size"),
    "distilbert": _DISTILBERT,
    "albert": _ALBERT,
    "gpt2": _GPT2,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "t5": _T5,
    "bart": _BART,
    "blenderbot": replace(_BART, offset=0, stacks=tuple(replace(blocks, pre_norm=True) for blocks in _BART.stacks)),
    "marian": replace(_BART, offset=0, vocabulary=("vocab_size", "decoder_vocab_size")),
}
