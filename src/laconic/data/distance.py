"""How far the task's text is from what a checkpoint was pretrained on: perplexity under its own pretraining head.

Salazar et al. 2020, arXiv:1910.14659: mask each token in turn, and add up the log probabilities of what was there.
Causal models have a plain perplexity. Differs from the paper: texts are cut after 128 tokens, to bound the time.
"""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from transformers.utils import logging as transformers_logging

from laconic import checkpoint
from laconic.contracts import Example, Feature
from laconic.data import records
from laconic.data.batching import batches
from laconic.data.findings import Finding
from laconic.data.progress import follow

CHECK = "distance from pretraining"
TEXTS = 32  # texts sampled
TOKENS = 128  # of a text
BATCH = 32  # copies of texts a forward pass
IGNORED = -100  # target of a position that is not measured


def check(
    split: str,
    examples: Sequence[Example],
    kind: str,
    tokenizer: PreTrainedTokenizerFast,
    model: str | Path,
    seed: int = 0,
    progress: bool = False,
) -> Iterator[Finding]:
    """One finding: the perplexity of a seeded sample of texts, or why the checkpoint has none."""
    column = next(iter(records.fields(kind)))
    head = load(model, tokenizer)
    if isinstance(head, str):
        message = f"not measured: {head}; fertility is the only sign of the distance here"
        yield Finding("info", CHECK, split, None, column, message)
        return
    texts = [text for e in examples if (text := records.text(e, kind)).strip()]
    chosen = random.Random(seed).sample(texts, min(TEXTS, len(texts)))
    nats, tokens = likelihood(head, tokenizer, chosen, progress) if chosen else (0.0, 0)
    if not tokens:
        yield Finding("info", CHECK, split, None, column, "not measured: the texts have no tokens to predict")
        return
    value = math.exp(nats / tokens)
    name = "pseudo-perplexity" if head.masked else "perplexity"
    message = f"{name} {value:.1f} under the checkpoint's own head ({tokens:,} tokens of {len(chosen)} texts)"
    yield Finding("info", CHECK, split, None, column, message, value)


@dataclass(frozen=True)
class Head:
    """A model with the head it was pretrained with: one that fills masks, or one that says the next token."""

    model: PreTrainedModel
    masked: bool


def load(model: str | Path, tokenizer: PreTrainedTokenizerFast) -> Head | str:
    """The model with its pretraining head, or why there is none. A head that is not in the weights is never run."""
    config = checkpoint.config(model)
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if config.is_encoder_decoder:
        return f"{model} is an encoder-decoder, whose pretraining has no perplexity of a text"
    if masked and tokenizer.mask_token_id is None:
        return f"the tokenizer of {model} has no mask token"
    if not masked and config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return f"transformers has no pretraining head for {config.model_type!r}"
    auto = AutoModelForMaskedLM if masked else AutoModelForCausalLM
    with quiet():
        loaded, report = checkpoint.model(auto, model, output_loading_info=True)
    missing = sorted(report["missing_keys"])
    if missing:
        return f"{model} has no pretraining head (its weights lack {missing[0]})"
    return Head(loaded.eval(), masked)


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own bars and its table of missing weights: what is missing is said in a finding."""
    logging = cast(Any, transformers_logging)  # its functions have no types
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def likelihood(
    head: Head, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], progress: bool = False
) -> tuple[float, int]:
    """(-log likelihood in nats, tokens it is summed over): pseudo-likelihood under a head that fills masks."""
    rows = masked_rows(tokenizer, texts) if head.masked else causal_rows(tokenizer, texts)
    todo = list(batches(rows, BATCH, tokenizer.pad_token_id or 0))
    nats, tokens = 0.0, 0
    with torch.inference_mode():
        for _, batch in follow(todo, "perplexity", progress):
            output = head.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
            chosen = batch["labels"] != IGNORED  # (batch, tokens)
            targets = batch["labels"][chosen]  # (measured,)
            logits = output.logits[chosen].double()  # (measured, vocabulary)
            nats += float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))
            tokens += len(targets)
    return nats, tokens


def masked_rows(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[Feature]:
    """For every token of every text a copy of the text without it, and the token as its target."""
    encoded = tokenizer(list(texts), truncation=True, max_length=TOKENS, return_special_tokens_mask=True)
    rows = []
    for ids, special in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
        for place in (i for i, flag in enumerate(special) if not flag):
            hidden = [*ids[:place], tokenizer.mask_token_id, *ids[place + 1 :]]
            targets = [IGNORED] * place + [ids[place]] + [IGNORED] * (len(ids) - place - 1)
            rows.append({"input_ids": hidden, "attention_mask": [1] * len(ids), "labels": targets})
    return rows


def causal_rows(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[Feature]:
    """Every text with its next tokens as targets; a beginning-of-text token, where there is one, leads to the first."""
    rows = []
    for ids in tokenizer(list(texts), truncation=True, max_length=TOKENS)["input_ids"]:
        first = tokenizer.bos_token_id
        led = ids if first is None or ids[:1] == [first] else [first, *ids]
        rows.append({"input_ids": led, "attention_mask": [1] * len(led), "labels": [*led[1:], IGNORED]})
    return rows
