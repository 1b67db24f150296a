"""A model that is ready to answer: an artifact or run folder, its task, and the engine that runs it.

No paper: joins tasks and engines, which do not know one another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from laconic import artifact, engines, tasks
from laconic.contracts import Engine, Example, Feature, Task
from laconic.data.batching import MODEL_INPUTS, batches
from laconic.errors import ArtifactError, EngineError
from laconic.finetune import RUN_FILE, load_tokenizer

BATCH = 32


@dataclass(frozen=True)
class Source:
    """A model and what it is for, as read from a folder; `record` is the manifest's or the run's own JSON."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    task: Task
    record: dict[str, Any]


@dataclass(frozen=True)
class Loaded:
    """A model, its task and its engine. `model` is a plain Hugging Face model."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    task: Task
    engine: Engine
    note: str  # why this engine, where another was wished for

    def outputs(self, features: Sequence[Feature], batch: int = BATCH) -> list[np.ndarray]:
        """Raw outputs of each example where the task answers: (slots, labels) or (labels,)."""
        rows: list[np.ndarray] = [np.empty(0)] * len(features)
        for chosen, logits in self.run(features, batch):
            for row, i in enumerate(chosen):
                rows[i] = logits[row, features[i]["slots"]] if "slots" in features[i] else logits[row]
        return rows

    def run(self, features: Sequence[Feature], batch: int) -> Iterator[tuple[list[int], np.ndarray]]:
        """(indices, logits) of each padded batch, longest examples first."""
        for chosen, padded in batches(features, batch, self.tokenizer.pad_token_id or 0):
            yield chosen, self.engine.run({k: padded[k].numpy() for k in MODEL_INPUTS if k in padded})

    def answer(self, examples: Sequence[Example]) -> list[Any]:
        """The task's prediction for each example."""
        features = self.task.encode(examples, self.tokenizer, answers=False)
        return list(self.task.predict(self.outputs(features), features, examples))

    def predict(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """One record for each text: what `laconic predict` prints."""
        examples = [self.task.parse(text) for text in texts]
        return [self.task.show(p, e) for p, e in zip(self.answer(examples), examples, strict=True)]


def read(path: str | Path) -> Source:
    """The model in an artifact or a run folder, in PyTorch; raises ArtifactError for anything else."""
    path = Path(path)
    if artifact.is_artifact(path):
        opened = artifact.load(path)
        return Source(opened.model, opened.tokenizer, tasks.build(**opened.manifest.task), opened.manifest.record())
    if not (path / RUN_FILE).is_file():
        raise ArtifactError(f"{path} is neither an artifact (manifest.json) nor a run folder ({RUN_FILE})")
    try:
        record = json.loads((path / RUN_FILE).read_text(encoding="utf-8"))
        task = tasks.build(**record["task"])
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path / RUN_FILE} is damaged ({error}); train the model again") from None
    tokenizer = load_tokenizer(path)
    model = task.auto.from_pretrained(path, use_safetensors=True, trust_remote_code=False)  # type: ignore[attr-defined]
    return Source(model.eval(), tokenizer, task, record)


def load(path: str | Path, engine: str = "auto", threads: int | None = None) -> Loaded:
    """Open an artifact or run folder; `auto` takes the fastest installed engine that can run the model."""
    source = read(path)
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
