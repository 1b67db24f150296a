"""Open an ordinary checkpoint, a folder or a hub id: tokenizer, configuration, model. Code it brings is never run.

No paper: transformers, with its surprises named. This is the one place that reads such a folder, so that what can be
wrong with one is refused alike by every command.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

from laconic import artifact
from laconic.anatomy import Anatomy
from laconic.artifact.damage import Reading
from laconic.errors import ArtifactError

LABELS = ("num_labels", "id2label", "label2id")  # of a configuration: what a head follows
UNNAMED = ("_name_or_path", "transformers_version", "architectures")  # of a configuration: what no answer depends on
LENGTH = 512  # tokens read where neither tokenizer nor model sets a limit


def _reading(source: str | Path, part: str) -> Reading:
    """Turns what goes wrong while one part of a checkpoint is read into an ArtifactError that names it."""

    def says(cause: str) -> str:
        if not Path(source).exists():
            return (
                f"there is no model folder {str(source)!r}, and it cannot be had from the hub ({cause}); give "
                "a folder, or a hub id such as org/name where the hub is in reach"
            )
        return f"{source}: its {part} cannot be read ({cause}); copy the model again or give another one"

    return Reading(says)


def config(source: str | Path, **labels: Any) -> PreTrainedConfig:
    """The configuration, with these labels where any are given; it names no kernel to fetch.

    Raises ArtifactError where it is damaged, quantized, or of an architecture that is not known.
    """
    if Path(source).is_dir():
        artifact.check_model_folder(source)
        for path in sorted(Path(source).glob("*.safetensors")):
            with _reading(source, path.name):
                safe_open(path, "pt")  # reads the header, which says how long the file is
    elif os.sep in str(source) and str(source).count("/") != 1:
        raise ArtifactError(f"there is no model folder {str(source)!r}; give a folder or a hub id such as org/name")
    with _reading(source, "config.json"):
        held, _ = PreTrainedConfig.get_config_dict(str(source))
        name = held.get("model_type")
        if name is not None and name not in CONFIG_MAPPING:
            raise ArtifactError(
                f"{source}: transformers {transformers.__version__} has no model type {name!r}, and no code in a "
                f"folder is run; install a transformers that has it, and add an entry {name!r} to FAMILIES in "
                "laconic/anatomy/families.py where there is none"
            )
        if held.get("quantization_config") is not None:  # some ways of quantizing fetch the code that reads them
            raise ArtifactError(f"{source}: its weights are quantized already; give the model with its float weights")
        found: PreTrainedConfig = AutoConfig.from_pretrained(str(source), trust_remote_code=False, **labels)
        found._attn_implementation = None  # of its parts too; transformers then takes the best of its own
    return found


def tokenizer(source: str | Path, *, words: bool = False) -> PreTrainedTokenizerFast:
    """The fast tokenizer; `words` makes one that can read texts split into words."""
    config(source)  # where the model type is not known, transformers guesses a tokenizer
    with _reading(source, "tokenizer"):
        found = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
        if words and getattr(found, "add_prefix_space", None) is False:  # byte-level ones read words with their space
            found = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False, add_prefix_space=True)
    if not isinstance(found, PreTrainedTokenizerFast) or len(found) <= len(found.all_special_ids):
        raise ArtifactError(f"{source}: no fast tokenizer is in it; save it with its tokenizer.json")
    return found


def model(auto: type, source: str | Path, **options: Any) -> Any:
    """What `auto.from_pretrained` gives with these options, in float32, from safetensors only."""
    found = config(source, **{key: options.pop(key) for key in LABELS if key in options})
    suits(auto, found, source)
    with _reading(source, "model"):
        return auto.from_pretrained(  # type: ignore[attr-defined]
            str(source), config=found, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, **options
        )


def reads_ahead(config: PreTrainedConfig) -> bool:
    """Whether a language model of the configuration is a masked one: an encoder, which reads what comes after too."""
    alone = not config.is_encoder_decoder and not getattr(config, "is_decoder", False)
    return alone and type(config) in MODEL_FOR_MASKED_LM_MAPPING


def is_decoder(config: PreTrainedConfig) -> bool:
    """Whether a model of the configuration reads only what comes before a token, and writes behind it."""
    return not config.is_encoder_decoder and not reads_ahead(config)


def suits(auto: type, config: PreTrainedConfig, source: str | Path, mend: str = "") -> None:
    """Raise ArtifactError unless `auto` makes a model of the configuration: causal, a decoder; masked, an encoder."""
    kind = config.model_type
    if type(config) not in auto._model_mapping:  # type: ignore[attr-defined]
        wanted = auto.__name__.removeprefix("AutoModelFor")
        raise ArtifactError(
            f"{source}: transformers has no {wanted} of model type {kind!r}; {mend or 'give a model that has one'}"
        )
    if auto is AutoModelForCausalLM and reads_ahead(config):
        raise ArtifactError(
            f"{source} is an encoder ({kind}), which reads what comes after a token too; "
            f"{mend or 'give a decoder such as GPT-2 or Llama'}"
        )
    if auto is AutoModelForMaskedLM and config.is_encoder_decoder:
        raise ArtifactError(
            f"{source} is an encoder-decoder ({kind}), which writes what is hidden; "
            f"{mend or 'give an encoder such as BERT or RoBERTa'}"
        )


def whole(auto: type, source: str | Path, mend: str, *, alone: bool = False) -> Any:
    """`model`, in eval mode; raises ArtifactError with the mend where the folder lacks some of its weights.

    With `alone`, also where it holds others, which a folder of ours never does: the config is then of another model.
    """
    made, found = model(auto, source, output_loading_info=True)
    lost = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    if lost:
        raise ArtifactError(
            f"{source}: {len(lost)} weights of {type(made).__name__} are missing or of another shape, {min(lost)} for "
            f"one; {mend}"
        )
    if alone and found["unexpected_keys"]:
        strange = sorted(found["unexpected_keys"])
        raise ArtifactError(
            f"{source}: {len(strange)} of its weights are none of the {type(made).__name__} of its config.json, "
            f"{strange[0]} for one; {mend}"
        )
    return made.eval()


def digest(model: nn.Module, tokenizer: PreTrainedTokenizerFast) -> str:
    """sha256 of the weights' bits and the tokenizer."""
    found = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def content(source: str | Path) -> str | None:
    """What a model's place holds: sha256 of the files that are read of a folder, or a hub id's revision, where known.

    Files are read as they are, which takes a second for some gigabytes. Of a hub id the configuration is fetched first,
    so that the first call knows the revision which later ones find.
    """
    if not Path(source).is_dir():
        config(source)
        cached = try_to_load_from_cache(str(source), "config.json")
        return Path(cached).parent.name if isinstance(cached, str) else None
    found = hashlib.sha256()
    for path in sorted(artifact.read_files(Path(source), spare=True)):
        with path.open("rb") as file:
            found.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()


def identity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> str:
    """sha256 of all that what a model says depends on: weights, tokenizer, configuration."""
    config = {k: v for k, v in model.config.to_dict().items() if k not in UNNAMED}
    said = digest(model, tokenizer) + json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def limit(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, length: int | None = None) -> int:
    """Tokens of the longest text: what tokenizer and model allow, and `length` where positions are not learned."""
    length = length or LENGTH
    promised = getattr(model.config, "max_position_embeddings", None) or length
    return min(tokenizer.model_max_length, Anatomy(model).positions or min(promised, length))
