"""A model that is for a task, as a folder holds it: an artifact, a run folder of `finetune`, or a decoder as it stands.

No paper: three folder formats, opened alike. A decoder that was pretrained is for the task `lm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from laconic import artifact, checkpoint, notation, tasks
from laconic.contracts import Task
from laconic.data import records
from laconic.errors import ArtifactError

RUN_FILE = "laconic.json"  # beside the checkpoint in a run folder: what the model is for, and which data it saw


@dataclass(frozen=True)
class Source:
    """A model and what it is for, as read from a folder; `record` is the manifest's or the run's own JSON.

    One that is `untrained` has seen no data of a task: a decoder as it stands.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    task: Task
    record: dict[str, Any]
    untrained: bool = False

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
        found = given or self._place("data")
        if found is None:
            raise ArtifactError(
                "an artifact does not say where the data are that it was trained on; give the run folder, or --data"
            )
        return found

    @property
    def texts(self) -> str | None:
        """The texts without answers that the model was trained on; ArtifactError where they are gone."""
        found = self._place("unlabelled")
        if found is not None and not Path(found).exists():
            raise ArtifactError(
                f"the run learnt from the texts in {found}, which are gone; give them with --unlabelled, "
                "or go on without them by --no-unlabelled"
            )
        return found

    def _place(self, key: str) -> str | None:
        """A path or hub id of the record."""
        found = self.record.get(key)
        if found is not None and not isinstance(found, str):
            raise ArtifactError(f"the model's record says {key} {found!r}; it must be a path as text: make it again")
        return found


def is_trained(path: str | Path) -> bool:
    """Whether a folder says of itself that it is an artifact or a run folder."""
    return artifact.is_artifact(path) or (Path(path) / RUN_FILE).is_file()


def read(path: str | Path) -> Source:
    """The model in an artifact, a run folder or a decoder's checkpoint, in PyTorch; ArtifactError for anything else."""
    path = Path(path)
    if artifact.is_artifact(path) or artifact.is_damaged(path):
        opened = artifact.load(path)
        task = _task(opened.manifest.task, path)
        return _fitting(Source(opened.model, opened.tokenizer, task, opened.manifest.record()), path)
    where = path / RUN_FILE
    if not where.is_file() and (path / "config.json").is_file():
        return decoder(path)
    if not path.is_dir():
        raise ArtifactError(f"there is no folder {path}; give an artifact, or the run folder of laconic train")
    if not where.is_file():
        raise ArtifactError(f"{path} is neither an artifact (manifest.json) nor a run folder ({RUN_FILE}); give one")
    try:
        record = notation.read(where.read_bytes())
    except ValueError as error:
        raise ArtifactError(f"{where} is damaged ({error}); train the model again") from None
    task = _task(record.get("task") if isinstance(record, dict) else None, where)
    tokenizer = checkpoint.tokenizer(path)
    model = checkpoint.whole(task.auto, path, "copy the run folder again, or train again", alone=True)
    return _fitting(Source(model, tokenizer, task, record), where)


def decoder(source: str | Path, context: int | None = None) -> Source:
    """A decoder as it stands in a folder or under a hub id, for the task lm; ArtifactError for any other model.

    It reads `context` tokens at once, or what fits.
    """
    task = tasks.build("lm", labels=())
    mend = "give a run folder of laconic train, or a decoder such as GPT-2 or Llama"
    config = checkpoint.config(source)
    if config.is_encoder_decoder:
        raise ArtifactError(f"{source} is an encoder-decoder that was trained for no task; {mend}")
    checkpoint.suits(task.auto, config, source, mend)
    model = checkpoint.whole(task.auto, source, mend)
    tokenizer = checkpoint.tokenizer(source)
    tokenizer.model_max_length = checkpoint.limit(model.eval(), tokenizer, context)
    return Source(model, tokenizer, task, {"model": str(source)}, untrained=True)


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
    source.tokenizer.chat_template = getattr(source.task, "template", source.tokenizer.chat_template)
    return source
