"""Open a causal language model of any origin: a Hugging Face folder, a run folder or an artifact.

No paper: what `trained` opens, with the windows of the task `lm`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from laconic import answers, checkpoint, trained
from laconic.errors import ArtifactError, RecipeError
from laconic.measures import size
from laconic.subwords import exact
from laconic.tasks.lm import LM


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
        return checkpoint.identity(self.model, self.tokenizer)

    def spell(self, parts: Sequence[bytes]) -> tuple[list[list[int]], bytes]:
        """Tokens of each part and what they leave out; ArtifactError for a token that the model does not know."""
        ids, rest = exact.spell(self.tokenizer, parts)
        highest, known = max((max(one, default=0) for one in ids), default=0), answers.width(self.model)
        if highest >= known:
            raise ArtifactError(f"{self.name}: its tokenizer gives token {highest} and its model knows {known}")
        return ids, rest


def read(source: str | Path, context: int | None = None, overlap: float | None = None) -> Causal:
    """The model in a folder or of a hub id; ArtifactError where it is no causal language model.

    `context` and `overlap` are those of the task `lm`: by default those it was trained with, or else what fits. What
    can't be either is a RecipeError before anything is opened.
    """
    LM(**_given(context, overlap))
    return within(opened(source, context), context, overlap)


def opened(source: str | Path, context: int | None = None) -> Causal:
    """The model as `read` gives it, its windows not yet those that are asked for; it is to read `context` tokens."""
    path = Path(source)
    held = trained.read(path) if trained.is_trained(path) else trained.decoder(source, context)
    asked: Any = held.task
    if not isinstance(asked, LM):
        raise ArtifactError(f"{path} is for the task {held.task.name}; give a causal language model, of the task lm")
    return Causal(str(source), held.model, held.tokenizer, asked, size.folder_bytes(path) if path.is_dir() else None)


def within(causal: Causal, context: int | None, overlap: float | None) -> Causal:
    """The model with these windows; RecipeError where it reads fewer tokens."""
    task = replace(causal.task, **_given(context, overlap))
    limit = checkpoint.limit(causal.model, causal.tokenizer, task.context)
    if context is not None and context > limit:
        raise RecipeError(f"context is {context}; {causal.name} reads at most {limit} tokens")
    tokenizer = copy.deepcopy(causal.tokenizer)  # others may read with the one that is given
    tokenizer.model_max_length = limit
    return replace(causal, task=task, tokenizer=tokenizer)


def _given(context: int | None, overlap: float | None) -> dict[str, Any]:
    """Options of the task that are not left to it."""
    return {key: value for key, value in {"context": context, "overlap": overlap}.items() if value is not None}
