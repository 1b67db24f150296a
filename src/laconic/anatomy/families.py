"""Where the parts of each architecture are: one entry a family, found by the config's `model_type`.

No paper: names taken from transformers 5's modeling files. What an entry can say stands in `names.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from laconic.anatomy.names import Blocks, Family, Heads

_FUSED = "query_key_value query_key_value query_key_value dense"


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
            norms=("ln_1", None, "ln_2"),
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
            norms=("input_layernorm", None, "post_attention_layernorm"),
            kv_heads="num_key_value_heads",
        ),
    ),
    head_size="head_dim",
    final="norm",
    pooled=False,
)


def _blocks(family: Family, **changed: Any) -> Family:
    """The family with other fields in each of its stacks."""
    return replace(family, stacks=tuple(replace(blocks, **changed) for blocks in family.stacks))


def _t5_blocks(path: str, ffn: str, cross: Heads | None, depth: str) -> Blocks:
    last = ffn.rpartition(".")[0]
    return Blocks(
        path,
        _heads("layer.0.SelfAttention", "q k v o", "key_value_proj_dim"),
        inputs=(f"{ffn}.wi", f"{ffn}.wi_1", f"{ffn}.wi_0"),
        output=f"{ffn}.wo",
        cross=cross,
        norms=("layer.0.layer_norm", "layer.1.layer_norm" if cross is not None else None, f"{last}.layer_norm"),
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

_BART_NORMS = ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")
_BLENDERBOT = replace(_blocks(_BART, norms=_BART_NORMS), offset=0)

_OPT = Family(
    words=("decoder.embed_tokens",),
    positions=("decoder.embed_positions",),
    offset=2,
    projection="decoder.project_in",
    embedding="word_embed_proj_dim",
    stacks=(
        replace(
            _bart_blocks("decoder", None),
            norms=_BART_NORMS,
            depth="num_hidden_layers",
            ffn="ffn_dim",
            heads="num_attention_heads",
        ),
    ),
    pooled=False,
    needed=("do_layer_norm_before", "layer_norm_elementwise_affine"),
)

_GPT_NEO = _blocks(
    _GPT2,
    attention=_heads("attn.attention", "q_proj k_proj v_proj out_proj", "head_dim"),
    depth="num_layers",
    heads="num_heads",
    ffn="intermediate_size",
)

_GPT_NEOX = replace(
    _blocks(
        _LLAMA,
        attention=replace(_heads("attention", _FUSED, "head_size"), by_head=True),
        inputs=("mlp.dense_h_to_4h",),
        output="mlp.dense_4h_to_h",
        kv_heads=None,
    ),
    words=("embed_in",),
    head_size=None,
    rotary="head_dim",
    final=None,
)

_PHI = replace(
    _blocks(
        _LLAMA,
        attention=_heads("self_attn", "q_proj k_proj v_proj dense", "head_dim"),
        inputs=("mlp.fc1",),
        output="mlp.fc2",
        norms=("input_layernorm", None, "input_layernorm"),  # attention and feed-forward stand side by side
    ),
    final=None,
    refused=("qk_layernorm",),
)

_PHI3 = _blocks(
    _LLAMA,
    attention=_heads("self_attn", "qkv_proj qkv_proj qkv_proj o_proj", "head_dim"),
    inputs=("mlp.gate_up_proj",),
    fused=True,
    shared_heads=True,
)

_STARCODER2 = replace(_blocks(_LLAMA, inputs=("mlp.c_fc",), output="mlp.c_proj"), final=None)
_GEMMA = replace(_LLAMA, plus=1.0)
_GEMMA2 = replace(
    _blocks(_GEMMA, norms=("input_layernorm", None, "pre_feedforward_layernorm"), altered=True), final=None
)
_ROBERTA = replace(_BERT, offset=None)

FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), _ROBERTA),
    "electra": replace(_BERT, projection="embeddings_project", embedding="embedding_size"),
    "distilbert": _DISTILBERT,
    "albert": _ALBERT,
    "gpt2": _GPT2,
    "gpt_neo": _GPT_NEO,
    "gpt_neox": _GPT_NEOX,
    "opt": _OPT,
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "smollm3"), _LLAMA),
    "granite": _blocks(_LLAMA, altered=True),
    "phi": _PHI,
    "phi3": _PHI3,
    "gemma": _GEMMA,
    **dict.fromkeys(("gemma2", "gemma3_text"), _GEMMA2),
    "starcoder2": _STARCODER2,
    **dict.fromkeys(("t5", "mt5"), _T5),
    "umt5": _blocks(_T5, shared_heads=False),
    "bart": _BART,
    "mbart": replace(_BLENDERBOT, offset=2),
    **dict.fromkeys(("blenderbot", "pegasus"), _BLENDERBOT),
    "marian": replace(_BART, offset=0, vocabulary=("vocab_size", "decoder_vocab_size")),
}
