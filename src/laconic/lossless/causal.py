"""Open a causal language model of any origin: a Hugging Face folder, a run folder or an artifact.

No paper: three folder formats, opened alike, and refused alike where what is in them does not predict the next token.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from laconic import answers, artifact, checkpoint, finetune, trained
from laconic.errors import ArtifactError, RecipeError
from laconic.measures import size
from laconic.subwords import exact
from laconic.tasks.lm import LM

UNNAMED = ("_name_or_path", "transformers_version", "architectures")  # of a config: what no probability depends on
CLOSE = 1e-3


@dataclass(frozen=True)
class Causal:
    """A model that predicts the next token, in windows as its task has them."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    task: LM
    folder_bytes: int | None  # of its folder, where it has one

    @property
    def context(self) -> int:
        """Tokens of a window."""
        return self.task.size(self.tokenizer)

    def digest(self) -> str:
        """sha256 of all that its probabilities depend on: weights, tokenizer, configuration."""
        config = {k: v for k, v in self.model.config.to_dict().items() if k not in UNNAMED}
        said = checkpoint.digest(self.model, self.tokenizer) + json.dumps(config, sort_keys=True, default=str)
        return hashlib.sha256(said.encode()).hexdigest()

    def spell(self, parts: Sequence[bytes]) -> tuple[list[list[int]], bytes]:
        """Tokens of each part and what they leave out; ArtifactError for a token that the model does not know."""
        ids, rest = exact.spell(self.tokenizer, parts)
        highest, known = max((max(one, default=0) for one in ids), default=0), answers.width(self.model)
        if highest >= known:
            raise ArtifactError(f"{self.name}: its tokenizer gives token {highest} and its model knows {known}")
        return ids, rest


def read(source: str | Path, context: int | None = None, overlap: float | None = None) -> Causal:
    """The model in a folder or of a hub id; ArtifactError where it is no causal language model.

    `context` and `overlap` are those of the task `lm`: by default those it was trained with, or else what fits.
    """
    path = Path(source)
    given: dict[str, Any] = {"context": context, "overlap": overlap}
    given = {key: value for key, value in given.items() if value is not None}
    if artifact.is_artifact(path) or (path / trained.RUN_FILE).is_file():
        held = trained.read(path)
        asked: Any = held.task
        if not isinstance(asked, LM):
            raise ArtifactError(
                f"{path} is for the task {held.task.name}; give a causal language model, of the task lm"
            )
        model, tokenizer, task = held.model, held.tokenizer, replace(asked, **given)
    else:
        task = LM(**given)
        model, tokenizer = _checkpoint(source)
    limit = finetune.limit(model, tokenizer, task.context or finetune.LENGTH)
    if context is not None and context > limit:
        raise RecipeError(f"context is {context}; {source} reads at most {limit} tokens")
    tokenizer.model_max_length = limit
    _check(model, str(source))
    return Causal(str(source), model, tokenizer, task, size.folder_bytes(path) if path.is_dir() else None)


def _checkpoint(source: str | Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    if checkpoint.config(source).is_encoder_decoder:
        raise ArtifactError(f"{source} is an encoder-decoder; give a causal language model, such as GPT-2 or Llama")
    model, found = checkpoint.model(LM.auto, source, output_loading_info=True)
    lost = [*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]
    if lost:
        raise ArtifactError(
            f"{source}: {len(lost)} weights of a causal language model are missing or of another shape, {min(lost)} "
            "for one; give a model that was trained to predict the next token"
        )
    return model.eval(), checkpoint.tokenizer(source)


@torch.inference_mode()
def _check(model: PreTrainedModel, name: str) -> None:
    """Raise ArtifactError for a model whose prediction changes with what comes after."""
    ids = torch.tensor([[0, 0, 0], [0, 1, 1]], device=model.device)
    first, second = model(input_ids=ids).logits[:, 0].float()  # (vocabulary,) each
    if not torch.allclose(first, second, atol=CLOSE, rtol=CLOSE, equal_nan=True):
        raise ArtifactError(
            f"{name}: {type(model).__name__} reads what comes after a token, so its bits are not those of a text; give "
            "a causal language model"
        )
