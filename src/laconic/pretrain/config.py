"""What a pretraining run is given as YAML or JSON: architecture, tokenizer, training. Every key is checked.

No paper: a schema as dataclasses. `model` holds the keys of a Hugging Face configuration, under their own names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModel, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from laconic import options, ranks, training
from laconic.errors import RecipeError
from laconic.pretrain import blueprint

SECTIONS = ("model", "tokenizer", "training")
FROM_TOKENIZER = ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")
DEPTHS = ("num_hidden_layers", "num_layers", "encoder_layers", "num_decoder_layers", "decoder_layers")
KINDS = ("bpe", "wordpiece", "unigram")


@dataclass(frozen=True)
class Tokens:
    """How text is cut: `kind` of KINDS, with `vocabulary` pieces, special ones included."""

    kind: str = "bpe"
    vocabulary: int = 8192
    lowercase: bool = False

    def check(self) -> None:
        """Raise RecipeError for a value that cannot work."""
        options.choice("kind", self.kind, KINDS)
        options.whole("vocabulary", self.vocabulary, least=2)


@dataclass(frozen=True)
class Schooling(training.Training):
    """Options of training, and those of pretraining alone; `steps` of the optimizer, where given, replace `epochs`."""

    epochs: float = 1
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    warmup: float = 0.02
    schedule: str = "cosine"  # of training.SCHEDULES
    block: int = 256  # tokens of one example
    steps: int | None = None
    every: int | None = None  # steps between two checks; by default a tenth of the run
    mask: float = 0.15  # share of tokens hidden: mlm, span-corruption
    span: float = 3.0  # mean tokens of a hidden span: span-corruption
    fsdp: bool = False  # processes that torchrun started deal out the model among them, where it is too large for one

    def check(self) -> None:
        """Raise RecipeError for a value that cannot work."""
        super().check()
        options.choice("schedule", self.schedule, tuple(training.SCHEDULES))
        options.whole("block", self.block, least=8)
        processes = ranks.count()
        if self.batch % processes:
            raise RecipeError(f"batch is {self.batch} and {processes} processes share it; give a multiple of that")
        if self.fsdp and not ranks.can_deal_out():
            raise RecipeError(
                "fsdp deals a model out to several processes, each with a GPU; leave it out, or start them with "
                "torchrun --nproc-per-node GPUS -m laconic pretrain ..."
            )
        for name in ("steps", "every"):
            if getattr(self, name) is not None:
                options.whole(name, getattr(self, name))
        if self.patience is not None:
            raise RecipeError("patience is for fine-tuning; pretraining keeps the last weights: leave it out")
        if not 0 < self.mask <= 0.5:
            raise RecipeError(f"mask is {self.mask}; give a share of the tokens, above 0 and at most 0.5")
        if not 1 <= self.span <= 20:
            raise RecipeError(f"span is {self.span}; give a mean number of tokens, 1 to 20")


@dataclass(frozen=True)
class Plan:
    """A whole configuration; `model` and `tokenizer` are empty for a run that goes on from a checkpoint."""

    model: dict[str, Any] = field(default_factory=dict)
    tokenizer: Tokens | None = None
    training: Schooling = field(default_factory=Schooling)

    def __post_init__(self) -> None:
        self.training.check()


def read(path: str | Path, *, scratch: bool) -> Plan:
    """The configuration in a YAML or JSON file; `scratch` runs need a model and a tokenizer, others may have none."""
    try:
        held = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: can't be read ({error.strerror}); give a YAML or JSON file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML ({' '.join(str(error).split())}); mend it") from error
    return parse(held, str(path), scratch=scratch)


def parse(held: Any, where: str, *, scratch: bool) -> Plan:
    """The configuration in a dict; RecipeError names the key that is wrong, and the nearest known one."""
    if not isinstance(held, dict):
        raise RecipeError(f"{where}: holds no keys; give {', '.join(SECTIONS)}")
    known(held, SECTIONS, where)
    for name in SECTIONS[:2]:
        if scratch != (name in held):
            say = f"lacks {name!r}; describe it, or go on from a checkpoint with --from"
            raise RecipeError(f"{where}: " + (say if scratch else f"has {name!r}, but a checkpoint brings its own"))
    for name in held:
        if not isinstance(held[name], dict):
            raise RecipeError(f"{where}: {name} is {str(held[name])[:40]!r}; give keys and values")
    tokens = _record(Tokens, held["tokenizer"], f"{where}: tokenizer") if scratch else None
    taught = _record(Schooling, held.get("training", {}), f"{where}: training")
    if scratch:
        architecture(held["model"], {}, f"{where}: model")
    return Plan(dict(held.get("model", {})), tokens, taught)


def architecture(model: dict[str, Any], given: dict[str, Any], where: str = "model") -> PreTrainedConfig:
    """The configuration that `model` describes, with what is `given` by the tokenizer put in."""
    name = str(model.get("model_type"))
    if name not in CONFIG_MAPPING:
        near = get_close_matches(name, list(CONFIG_MAPPING), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; give one such as llama, gpt2, bert or t5"
        raise RecipeError(f"{where}: there is no model_type {name!r}{hint}")
    for key in FROM_TOKENIZER:
        if key in model:
            raise RecipeError(f"{where}: {key} follows from the tokenizer; leave it out")
    kind = CONFIG_MAPPING[name]
    known(model, {*kind().to_dict(), *kind.attribute_map, "model_type"} - set(FROM_TOKENIZER), where)
    values = {key: value for key, value in model.items() if key != "model_type"}
    blueprint.sizes({key: value for key, value in values.items() if key not in DEPTHS}, kind, where)
    try:
        made: PreTrainedConfig = AutoConfig.for_model(name, **values, **given)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise RecipeError(f"{where}: {' '.join(str(error).split())[:160]}") from error
    for key in DEPTHS:
        if (blocks := getattr(made, key, None)) is not None and blocks < 1:
            raise RecipeError(f"{where}: {key} is {blocks}; a model has at least 1 block")
    return made


def longest(model: dict[str, Any], pad: int) -> int:
    """Tokens of the longest text that the model which is described promises to read; `pad` is its padding token's id.

    Some count learned positions from behind the padding id, as RoBERTa does, and so have fewer than rows.
    """
    described = architecture(model, {"pad_token_id": pad})
    return int(blueprint.reach(blueprint.blank(AutoModel, described, "model")) or VERY_LARGE_INTEGER)


def known(held: dict[Any, Any], allowed: Iterable[str], where: str) -> None:
    """Raise RecipeError for a key that is not allowed, naming the nearest that is."""
    names = sorted(allowed)
    for key in held:
        if key not in names:
            near = get_close_matches(str(key), names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has: {', '.join(names[:20])}"
            raise RecipeError(f"{where} has no {str(key)!r}{hint}")


def _record(kind: Any, held: dict[str, Any], where: str) -> Any:
    known(held, [f.name for f in fields(kind)], where)
    hints = get_type_hints(kind)
    for key, value in held.items():
        allowed = (int, float) if hints[key] is float else hints[key]
        if not isinstance(value, allowed) or (isinstance(value, bool) and hints[key] is not bool):
            hint = " (YAML reads 1e-3 as a word)" if isinstance(value, str) and hints[key] is float else ""
            raise RecipeError(f"{where}: {key} is {value!r}; give {_name(hints[key])}{hint}")
    made = kind(**held)
    try:
        made.check()
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    return made


def _name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
    return names.get(hint, "a whole number")
