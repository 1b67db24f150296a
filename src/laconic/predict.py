"""A model that is ready to answer: an artifact or run folder, its task, and the engine that runs it.

No paper: joins tasks and engines, which do not know one another.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from laconic import artifact, checkpoint, engines, tasks
from laconic.answers import kept, room
from laconic.contracts import Engine, Example, Feature, Task
from laconic.data import records
from laconic.data.batching import MODEL_INPUTS, batches
from laconic.errors import ArtifactError, EngineError
from laconic.finetune import RUN_FILE

BATCH = 32


@dataclass(frozen=True)
class Source:
    """A model and what it is for, as read from a folder; `record` is the manifest's or the run's own JSON."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    task: Task
    record: dict[str, Any]

    @property
    def seed(self) -> int:
        """What deals the splits the model was trained on, where the data have none; an artifact keeps it."""
        seed = self.record.get("seed", self.record.get("provenance", {}).get("seed", 0))
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ArtifactError(
                f"the model's record says seed {seed!r}; it must be a whole number from 0: make it again"
            )
        return seed

    def data(self, given: str | Path | None = None) -> str | Path:
        """The data that are given, else those the model was trained on; ArtifactError where it does not say."""
        found = given or self.record.get("data")
        if found is None:
            raise ArtifactError(
                "an artifact does not say where the data are that it was trained on; give the run folder, or --data"
            )
        return cast("str | Path", found)


@dataclass(frozen=True)
class Loaded:
    """A model, its task and its engine. `model` is a plain Hugging Face model."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    task: Task
    engine: Engine
    note: str  # why this engine, where another was wished for

    def outputs(self, features: Sequence[Feature], batch: int = BATCH) -> list[np.ndarray]:
        """Outputs of each feature as the task keeps them: (slots, labels) or (labels,) as a rule."""
        rows: list[np.ndarray] = [np.empty(0)] * len(features)
        for chosen, logits in self.run(features, room(self.model, features, batch)):
            for row, i in enumerate(chosen):
                rows[i] = kept(logits, row, features[i], self.task)
        return rows

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


def read(path: str | Path) -> Source:
    """The model in an artifact or a run folder, in PyTorch; raises ArtifactError for anything else."""
    path = Path(path)
    if artifact.is_artifact(path):
        opened = artifact.load(path)
        task = _task(opened.manifest.task, path)
        return _fitting(Source(opened.model, opened.tokenizer, task, opened.manifest.record()), path)
    where = path / RUN_FILE
    if not where.is_file():
        raise ArtifactError(f"{path} is neither an artifact (manifest.json) nor a run folder ({RUN_FILE})")
    try:
        record = json.loads(where.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{where} is damaged ({error}); train the model again") from None
    task = _task(record.get("task") if isinstance(record, dict) else None, where)
    tokenizer = checkpoint.tokenizer(path)
    model = checkpoint.model(task.auto, path)
    return _fitting(Source(model.eval(), tokenizer, task, record), where)


def load(path: str | Path, engine: str = "auto", threads: int | None = None) -> Loaded:
    """Open an artifact or run folder; `auto` takes the fastest installed engine that can run the model."""
    return start(read(path), engine, threads)


def start(source: Source, engine: str = "auto", threads: int | None = None) -> Loaded:
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


def _task(described: Any, where: Path) -> Task:
    """The task a manifest or run file describes, its labels and options of the types they must have."""
    try:
        labels = described["labels"]
        if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
            raise TypeError(f"labels are {labels!r} and should be a list of text")
        task = tasks.build(**described)
        if not labels and records.labelled(task.name):
            raise ValueError("there are no labels")
        return task
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{where}: its task is damaged ({error}); make the model again") from None


def _fitting(source: Source, where: Path) -> Source:
    """The source, when its model gives one number for each of the task's labels, if it has any."""
    given, labels = source.model.config.num_labels, len(source.task.labels)
    if labels and given != labels:
        raise ArtifactError(f"{where}: the model tells {given} labels apart and its task has {labels}; make it again")
    return source
