"""Tiny models of every architecture, built in code; every parameter is moved off its initial 0 or 1."""

from typing import Any

import torch
import transformers as hf
from transformers import PretrainedConfig, PreTrainedModel

VOCABULARY, HIDDEN, HEADS, FFN, POSITIONS, PAD = 100, 32, 4, 64, 40, 1

_BERT = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "intermediate_size": FFN,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": PAD,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "tie_word_embeddings": True,
}
_LLAMA = {**_BERT, "num_key_value_heads": 2, "tie_word_embeddings": False}
_SIDES = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {"layers": 3, "attention_heads": HEADS, "ffn_dim": FFN}.items()
}
_SEQ2SEQ = {"vocab_size": VOCABULARY, "d_model": HIDDEN, "pad_token_id": PAD, "eos_token_id": 3, "bos_token_id": 2}
_DECODER = {"decoder_start_token_id": PAD, "forced_eos_token_id": None}

_CONFIGS = {
    "bert": (hf.BertConfig, _BERT),
    "roberta": (hf.RobertaConfig, {**_BERT, "type_vocab_size": 1}),
    "distilbert": (
        hf.DistilBertConfig,
        {"vocab_size": VOCABULARY, "dim": HIDDEN, "n_layers": 3, "n_heads": HEADS, "hidden_dim": FFN}
        | {"pad_token_id": PAD, "max_position_embeddings": POSITIONS},
    ),
    "electra": (hf.ElectraConfig, {**_BERT, "embedding_size": 24}),
    "albert": (hf.AlbertConfig, {**_BERT, "embedding_size": 24}),
    "gpt2": (
        hf.GPT2Config,
        {"vocab_size": VOCABULARY, "n_embd": HIDDEN, "n_layer": 3, "n_head": HEADS, "n_inner": FFN}
        | {"n_positions": POSITIONS, "pad_token_id": PAD, "bos_token_id": 2, "eos_token_id": 3},
    ),
    "llama": (hf.LlamaConfig, _LLAMA),
    "mistral": (hf.MistralConfig, {**_LLAMA, "sliding_window": 4}),
    "qwen2": (
        hf.Qwen2Config,
        {**_LLAMA, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
        | {"tie_word_embeddings": True},
    ),
    "qwen3": (hf.Qwen3Config, {**_LLAMA, "head_dim": 8}),
    "t5": (
        hf.T5Config,
        {**_SEQ2SEQ, "d_kv": 8, "d_ff": FFN, "num_layers": 3, "num_decoder_layers": 2, "num_heads": HEADS}
        | {"feed_forward_proj": "gated-gelu", "decoder_start_token_id": PAD, "relative_attention_num_buckets": 8},
    ),
    "bart": (hf.BartConfig, {**_SEQ2SEQ, **_SIDES, **_DECODER, "max_position_embeddings": POSITIONS}),
    "blenderbot": (hf.BlenderbotConfig, {**_SEQ2SEQ, **_SIDES, **_DECODER, "max_position_embeddings": POSITIONS}),
    "marian": (hf.MarianConfig, {**_SEQ2SEQ, **_SIDES, **_DECODER, "max_position_embeddings": POSITIONS}),
}

_CONFIGS |= {
    "gpt_neo": (
        hf.GPTNeoConfig,
        {"vocab_size": VOCABULARY, "hidden_size": HIDDEN, "num_layers": 3, "num_heads": HEADS, "window_size": 4}
        | {"intermediate_size": FFN, "max_position_embeddings": POSITIONS, "pad_token_id": PAD, "bos_token_id": 2}
        | {"eos_token_id": 3, "attention_types": [[["global", "local", "local"], 1]]},
    ),
    "gpt_neox": (hf.GPTNeoXConfig, {**_BERT, "rotary_pct": 0.5}),
    "opt": (hf.OPTConfig, {**_BERT, "ffn_dim": FFN, "word_embed_proj_dim": HIDDEN}),
    "phi": (hf.PhiConfig, {**_BERT, "tie_word_embeddings": False}),
    "phi3": (hf.Phi3Config, _LLAMA),
    "gemma": (hf.GemmaConfig, {**_LLAMA, "head_dim": 8, "tie_word_embeddings": True}),
    "gemma3_text": (
        hf.Gemma3TextConfig,
        {**_LLAMA, "head_dim": 8, "query_pre_attn_scalar": 8, "tie_word_embeddings": True, "sliding_window": 4}
        | {"layer_types": ["sliding_attention", "full_attention", "full_attention"]},
    ),
    "smollm3": (hf.SmolLM3Config, {**_LLAMA, "no_rope_layers": [1, 0, 1]}),
    "umt5": (
        hf.UMT5Config,
        {**_SEQ2SEQ, "d_kv": 8, "d_ff": FFN, "num_layers": 3, "num_decoder_layers": 2, "num_heads": HEADS}
        | {"decoder_start_token_id": PAD, "relative_attention_num_buckets": 8},
    ),
}
_ALIKE = {  # of a shape that one above has; what is tried of every family is tried of these at fewer places
    "xlm-roberta": (hf.XLMRobertaConfig, {**_BERT, "type_vocab_size": 1}),
    "camembert": (hf.CamembertConfig, {**_BERT, "type_vocab_size": 1}),
    "gemma2": (
        hf.Gemma2Config,
        {**_LLAMA, "head_dim": 8, "query_pre_attn_scalar": 8, "tie_word_embeddings": True, "sliding_window": 4},
    ),
    "granite": (hf.GraniteConfig, {**_LLAMA, "embedding_multiplier": 2.0, "residual_multiplier": 0.5}),
    "starcoder2": (hf.Starcoder2Config, _LLAMA),
    "mt5": (hf.MT5Config, {**_CONFIGS["umt5"][1], "tie_word_embeddings": False}),
    "mbart": (hf.MBartConfig, {**_CONFIGS["blenderbot"][1]}),
    "pegasus": (hf.PegasusConfig, {**_CONFIGS["blenderbot"][1]}),
}

VARIANTS = [  # of a family, by the fields of the config that make them
    ("opt", {"word_embed_proj_dim": 24}),  # its embeddings are projected
    ("gpt_neox", {"use_parallel_residual": False, "attention_bias": False}),
    (
        "phi3",
        {
            "original_max_position_embeddings": 8,
            "rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}
            | {"partial_rotary_factor": 0.5, "short_factor": [1.0, 1.5], "long_factor": [2.0, 3.0]},
        },
    ),
    ("smollm3", {"use_sliding_window": True, "sliding_window": 4}),
    ("gemma2", {"attn_logit_softcapping": None, "final_logit_softcapping": None}),
]

_CLASSES = {
    "bert": ("BertForTokenClassification", "BertForSequenceClassification", "BertForMaskedLM"),
    "roberta": ("RobertaForTokenClassification", "RobertaForSequenceClassification", "RobertaForMaskedLM"),
    "distilbert": ("DistilBertForTokenClassification", "DistilBertForSequenceClassification", "DistilBertForMaskedLM"),
    "electra": ("ElectraForTokenClassification", "ElectraForSequenceClassification", "ElectraForMaskedLM"),
    "albert": ("AlbertForTokenClassification", "AlbertForSequenceClassification", "AlbertForMaskedLM"),
    "gpt2": ("GPT2ForTokenClassification", "GPT2ForSequenceClassification", "GPT2LMHeadModel"),
    "llama": ("LlamaForTokenClassification", "LlamaForSequenceClassification", "LlamaForCausalLM"),
    "mistral": ("MistralForTokenClassification", "MistralForSequenceClassification", "MistralForCausalLM"),
    "qwen2": ("Qwen2ForTokenClassification", "Qwen2ForSequenceClassification", "Qwen2ForCausalLM"),
    "qwen3": ("Qwen3ForTokenClassification", "Qwen3ForSequenceClassification", "Qwen3ForCausalLM"),
    "t5": ("T5ForTokenClassification", "T5ForSequenceClassification", "T5ForConditionalGeneration"),
    "bart": (None, "BartForSequenceClassification", "BartForConditionalGeneration"),
    "blenderbot": (None, None, "BlenderbotForConditionalGeneration"),
    "marian": (None, None, "MarianMTModel"),
    "gpt_neo": (None, "GPTNeoForSequenceClassification", "GPTNeoForCausalLM"),
    "gpt_neox": (None, "GPTNeoXForSequenceClassification", "GPTNeoXForCausalLM"),
    "opt": (None, "OPTForSequenceClassification", "OPTForCausalLM"),
    "phi": (None, "PhiForSequenceClassification", "PhiForCausalLM"),
    "phi3": (None, "Phi3ForSequenceClassification", "Phi3ForCausalLM"),
    "gemma": (None, "GemmaForSequenceClassification", "GemmaForCausalLM"),
    "gemma3_text": (None, None, "Gemma3ForCausalLM"),
    "smollm3": (None, None, "SmolLM3ForCausalLM"),
    "umt5": (None, None, "UMT5ForConditionalGeneration"),
    "xlm-roberta": ("XLMRobertaForTokenClassification", "XLMRobertaForSequenceClassification", "XLMRobertaForMaskedLM"),
    "camembert": ("CamembertForTokenClassification", "CamembertForSequenceClassification", "CamembertForMaskedLM"),
    "gemma2": (None, None, "Gemma2ForCausalLM"),
    "granite": (None, None, "GraniteForCausalLM"),
    "starcoder2": (None, None, "Starcoder2ForCausalLM"),
    "mt5": (None, None, "MT5ForConditionalGeneration"),
    "mbart": (None, None, "MBartForConditionalGeneration"),
    "pegasus": (None, None, "PegasusForConditionalGeneration"),
}

HEAD_KINDS = ("tokens", "sequence", "lm")
FAMILIES = tuple(_CONFIGS)
ALIKE = tuple(_ALIKE)
GROUPED = tuple(  # two query heads share a key and a value
    name for name, (_, options) in (_CONFIGS | _ALIKE).items() if "num_key_value_heads" in options
)
PRE_NORM = ("gpt2", "gpt_neo", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "smollm3", "granite", "phi")
PRE_NORM += ("phi3", "gemma", "gemma2", "gemma3_text", "starcoder2", "t5", "mt5", "umt5")
PRE_NORM += ("blenderbot", "mbart", "pegasus")
TWO_SIDED = ("t5", "bart", "blenderbot", "marian", "umt5", "mt5", "mbart", "pegasus")  # encoder and decoder


def heads(family: str) -> list[str]:
    """The heads that transformers has for a family."""
    return [head for head, name in zip(HEAD_KINDS, _CLASSES[family], strict=True) if name is not None]


def config(family: str, labels: int = 5, **changed: Any) -> PretrainedConfig:
    """The config of `tiny`; label names are tag-like, so that tasks can read them."""
    made, options = (_CONFIGS | _ALIKE)[family]
    return made(**{**options, **changed}, num_labels=labels)


def tiny(family: str, labels: int = 5, head: str = "tokens", seed: int = 0, **changed: Any) -> PreTrainedModel:
    """A model of a few thousand weights in eval mode; where there is no such head, the next one of `HEAD_KINDS`.

    `changed` are fields of its config.
    """
    order = HEAD_KINDS[HEAD_KINDS.index(head) :]
    name = next(n for h in order for k, n in zip(HEAD_KINDS, _CLASSES[family], strict=True) if k == h and n is not None)
    state = torch.random.get_rng_state()
    try:
        torch.manual_seed(seed)
        model = getattr(hf, name)(config(family, labels, **changed))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape))
            for buffer in (b for n, b in model.named_buffers() if n.endswith("final_logits_bias")):
                buffer.add_(0.2 * torch.randn(buffer.shape))
    finally:
        torch.random.set_rng_state(state)
    return model.eval()


def tiny_inputs(family: str, batch: int = 3, tokens: int = 9, seed: int = 0) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask (batch, tokens), rows of falling length, padded on the right; each ends in eos.

    Encoder-decoders get decoder_input_ids (batch, tokens - 2) too.
    """
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, VOCABULARY, (batch, tokens), generator=generator)  # (batch, tokens)
    mask = torch.ones_like(ids)
    for row in range(batch):
        end = tokens - 2 * row
        ids[row, end - 1], ids[row, end:], mask[row, end:] = 3, PAD, 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if family in TWO_SIDED:
        start = torch.full((batch, 1), PAD)
        words = torch.randint(4, VOCABULARY, (batch, tokens - 3), generator=generator)
        inputs["decoder_input_ids"] = torch.cat([start, words], 1)  # (batch, tokens - 2)
    return inputs


@torch.no_grad()
def tiny_logits(model: PreTrainedModel, family: str, **changed: torch.Tensor) -> torch.Tensor:
    """What a model says of `tiny_inputs`, some of them changed; only language-model heads take decoder_input_ids."""
    inputs = {**tiny_inputs(family), **changed}
    if "TokenClass" in type(model).__name__ or "SequenceClass" in type(model).__name__:
        inputs.pop("decoder_input_ids", None)
    return model(**inputs).logits
