"""A model that is ready to answer: an artifact or run folder, its task, and the engine that runs it.

No paper: joins tasks and engines, which do not know one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from laconic import engines, trained, writing
from laconic.answers import answered, complete, kept, room
from laconic.contracts import Engine, Example, Feature, Task, Writer
from laconic.data import cuts, records
from laconic.data.batching import MODEL_INPUTS, batches
from laconic.data.progress import follow
from laconic.engines.torch import Torch
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

    def outputs(self, features: Sequence[Feature], batch: int = BATCH, *, progress: bool = False) -> list[Any]:
        """Outputs of each feature as the task keeps them: (slots, labels) or (labels,) as a rule, or `Written`."""
        rows: list[np.ndarray] = [np.empty(0)] * len(features)
        asked, size = answered(features, self.task), room(self.model, features, batch)
        total = math.ceil(len(asked) / size)
        for chosen, logits in follow(self.run(asked, size), "answering", progress, total=total):
            for row, i in enumerate(chosen):
                rows[i] = kept(logits, row, features[i], self.task)
        return complete(rows, self.write, self.task, features, self.tokenizer, progress)

    def write(self, batch: dict[str, torch.Tensor], chosen: GenerationConfig) -> list[list[int]]:
        """The ids that are written behind each prompt; engines that run only what has no writing are never asked."""
        return cast(Writer, self.engine).write({k: v.numpy() for k, v in batch.items()}, chosen)

    def run(self, features: Sequence[Feature], batch: int) -> Iterator[tuple[list[int], np.ndarray]]:
        """(indices, logits) of each padded batch, longest examples first."""
        for chosen, padded in batches(features, batch, self.tokenizer.pad_token_id or 0):
            yield chosen, self.engine.run({k: padded[k].numpy() for k in MODEL_INPUTS if k in padded})

    def answer(
        self, examples: Sequence[Example], log: Callable[[str], None] | None = None, *, progress: bool = False
    ) -> list[Any]:
        """The task's prediction for each example; `log` is told of texts that were cut."""
        features = self.task.encode(examples, self.tokenizer, answers=False)
        shortened = cuts.said(features, self.tokenizer)
        if log is not None and shortened:
            log(shortened)
        return list(self.task.predict(self.outputs(features, progress=progress), features, examples))

    def predict(
        self,
        texts: str | Sequence[str | Example],
        log: Callable[[str], None] | None = None,
        *,
        progress: bool = False,
    ) -> list[dict[str, Any]]:
        """One record for each text, also for a text alone, or record of data: what `laconic predict` prints."""
        given = [texts] if isinstance(texts, str) else texts
        kind = self.task.name
        examples = [self.task.parse(x) if isinstance(x, str) else records.awaited(x, kind) for x in given]
        if not examples:
            return []
        return [
            self.task.show(p, e) for p, e in zip(self.answer(examples, log, progress=progress), examples, strict=True)
        ]


def load(path: str | Path, engine: str = "auto", threads: int | None = None, cache_bits: int | None = None) -> Loaded:
    """Open an artifact or run folder; `auto` takes the fastest installed engine that can run the model.

    A model that writes keeps what it has read in `cache_bits` of 8 or 4, or else in floats.
    """
    return start(trained.read(path), engine, threads, cache_bits)


def start(
    source: trained.Source, engine: str = "auto", threads: int | None = None, cache_bits: int | None = None
) -> Loaded:
    """Put a model in an engine; `threads` is all of the processor's where it is not given."""
    if threads is not None and threads < 1:
        raise EngineError(f"threads is {threads}; give a whole number from 1, or leave it out for all")
    if cache_bits is not None:
        return _with_cache(source, engine, threads, cache_bits)
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


def _with_cache(source: trained.Source, engine: str, threads: int | None, bits: int) -> Loaded:
    """A model that writes, in PyTorch, with a rounded cache."""
    if engine not in ("auto", Torch.name):
        raise EngineError(f"the engine {engine} rounds no cache; take torch, or leave cache_bits out")
    if writing.of(source.task) is None:
        raise EngineError(f"a model of {source.task.name} writes no text, so it has no cache; leave cache_bits out")
    built = Torch(source.model, threads=threads, cache_bits=bits)
    return Loaded(source.model, source.tokenizer, source.task, built, f"its cache has {bits} bits")
