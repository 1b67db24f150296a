"""A model that is ready to answer: an artifact or run folder, its task, and the engine that runs it.

No paper: joins tasks and engines, which do not know one another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from laconic import engines, trained
from laconic.answers import answered, complete, kept, room
from laconic.contracts import Engine, Example, Feature, Task, Writer
from laconic.data.batching import MODEL_INPUTS, batches
from laconic.errors import EngineError

BATCH = 32


@dataclass(frozen=True)
class Loaded:
    """A model, its task and its engine. `model` is a plain Hugging Face model."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    task: Task
    engine: Engine
    note: str  # why this engine, where another was wished for

    def outputs(self, features: Sequence[Feature], batch: int = BATCH) -> list[Any]:
        """Outputs of each feature as the task keeps them: (slots, labels) or (labels,) as a rule, or `Written`."""
        rows: list[np.ndarray] = [np.empty(0)] * len(features)
        for chosen, logits in self.run(answered(features, self.task), room(self.model, features, batch)):
            for row, i in enumerate(chosen):
                rows[i] = kept(logits, row, features[i], self.task)
        return complete(rows, self.write, self.task, features, self.tokenizer)

    def write(self, batch: dict[str, torch.Tensor], chosen: GenerationConfig) -> list[list[int]]:
        """The ids that are written behind each prompt; engines that run only what has no writing are never asked."""
        return cast(Writer, self.engine).write({k: v.numpy() for k, v in batch.items()}, chosen)

    def run(self, features: Sequence[Feature], batch: int) -> Iterator[tuple[list[int], np.ndarray]]:
        """(indices, logits) of each padded batch, longest examples first."""
        for chosen, padded in batches(features, batch, self.tokenizer.pad_token_id or 0):
            yield chosen, self.engine.run({k: padded[k].numpy() for k in MODEL_INPUTS if k in padded})

    def answer(self, examples: Sequence[Example]) -> list[Any]:
        """The task's prediction for each example."""
        features = self.task.encode(examples, self.tokenizer, answers=False)
        return list(self.task.predict(self.outputs(features), features, examples))

    def predict(self, texts: str | Sequence[str]) -> list[dict[str, Any]]:
        """One record for each text, also for a text alone: what `laconic predict` prints."""
        examples = [self.task.parse(text) for text in ([texts] if isinstance(texts, str) else texts)]
        return [self.task.show(p, e) for p, e in zip(self.answer(examples), examples, strict=True)]


def load(path: str | Path, engine: str = "auto", threads: int | None = None) -> Loaded:
    """Open an artifact or run folder; `auto` takes the fastest installed engine that can run the model."""
    return start(trained.read(path), engine, threads)


def start(source: trained.Source, engine: str = "auto", threads: int | None = None) -> Loaded:
    """Put a model in an engine; `threads` is all of the processor's where it is not given."""
    if threads is not None and threads < 1:
        raise EngineError(f"threads is {threads}; give a whole number from 1, or leave it out for all")
    note = ""
    names = engines.available() if engine == "auto" else [engine]
    for i, name in enumerate(names):
        try:
            built = engines.choose(name)(source.model, threads=threads)
        except EngineError as error:
            if i + 1 == len(names):
                raise
            note = str(error)
        else:
            return Loaded(source.model, source.tokenizer, source.task, built, note)
    raise EngineError("no engine is installed; torch always should be: install laconic again")
