"""A model that has seen nothing yet, for a task to be trained from the beginning: YAML with `model` and `tokenizer`.

No paper: the configuration of `laconic pretrain` without its training; the tokenizer is trained on the task's texts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoModel, PreTrainedConfig, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from laconic.errors import RecipeError
from laconic.pretrain import blueprint, config, tokenizer
from laconic.pretrain.config import Plan
from laconic.pretrain.corpus import Texts

SUFFIXES = (".yaml", ".yml")


def is_plan(model: str | Path) -> bool:
    """Whether a file describes the model, which is then made anew."""
    return Path(model).suffix.lower() in SUFFIXES


def read(path: str | Path) -> Plan:
    """The plan in a file; raises RecipeError for what it should not hold, training above all, which has options."""
    plan = config.read(path, scratch=True)
    if plan != Plan(plan.model, plan.tokenizer):
        raise RecipeError(f"{path}: has 'training', which laconic train takes as options; leave it out")
    return plan


def described(plan: Plan, words: PreTrainedTokenizerFast | None = None, **head: Any) -> PreTrainedConfig:
    """The configuration of the model; with `words`, what follows from a tokenizer too, and with `head` from a task.

    An encoder-decoder begins to write with the padding token, as T5 and Marian do.
    """
    bare = config.architecture(plan.model, {})
    if words is None:
        return bare
    given = {**tokenizer.told(words), **head}
    if bare.is_encoder_decoder:
        given |= {"decoder_start_token_id": words.pad_token_id, "forced_eos_token_id": None}
    return config.architecture(plan.model, given)


def reader(plan: Plan, texts: Texts, optimizer: str) -> PreTrainedTokenizerFast:
    """A tokenizer trained on texts, with the special tokens that the kind of model needs.

    Raises RecipeError before for a model that cannot be built, or trained in the memory there is.
    """
    assert plan.tokenizer is not None
    kind = config.architecture(plan.model, {"vocab_size": plan.tokenizer.vocabulary, "pad_token_id": tokenizer.PAD})
    blueprint.fits(blueprint.blank(AutoModel, kind, "model"), optimizer, "model")
    masked = kind.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    marks = "seq2seq" if kind.is_encoder_decoder else "masked" if masked else "causal"
    return tokenizer.train(plan.tokenizer, texts, marks, config.longest(plan.model, tokenizer.PAD))
