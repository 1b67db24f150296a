"""Open the tokenizer and the configuration of a checkpoint, for checks of data against it.

No paper: transformers, with its surprises named.
"""

from pathlib import Path

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast

from laconic.errors import DataError


def tokenizer(model: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer; raises DataError where there is none (transformers would make an empty one)."""
    try:
        found = AutoTokenizer.from_pretrained(str(model))
    except (OSError, ValueError) as error:
        raise DataError(f"{model}: no tokenizer ({_line(error)}); give a model folder") from error
    if not isinstance(found, PreTrainedTokenizerFast) or len(found) <= len(found.all_special_ids):
        raise DataError(f"{model}: no fast tokenizer is in it; add its tokenizer.json")
    return found


def config(model: str | Path) -> PreTrainedConfig:
    """The configuration; raises DataError where there is none."""
    try:
        found: PreTrainedConfig = AutoConfig.from_pretrained(str(model))
    except (OSError, ValueError) as error:
        raise DataError(f"{model}: no readable config.json ({_line(error)}); give a model folder") from error
    return found


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
