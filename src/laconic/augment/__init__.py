"""More records for a classifier: texts that a model writes for each label, or rewrites in part.

Kumar et al. 2020, arXiv:2003.02245. A model of the task `control` writes texts of a label; a masked language model
rewrites some words of texts that are there. A classifier, where one is given, judges which of them kept their label,
and only those stay (Anaby-Tavor et al. 2020, arXiv:1911.03118).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from laconic import data, options, predict, trained
from laconic.augment.rewriting import Rewriting
from laconic.augment.writing import LabelWriting
from laconic.contracts import Example
from laconic.data import records
from laconic.data.prepare import check_out, write
from laconic.data.progress import follow
from laconic.errors import ArtifactError, DataError, RecipeError
from laconic.writing.said import distinct

KIND = "classify"
SPLITS = ("train", "validation", "test")
MASK = 0.3  # of tokens
ROUNDS = 4  # each asks for twice as many texts as are lacking

Write = Callable[[str, int], list[str]]  # so many texts of a label
Judge = Callable[[Sequence[str]], list[Any]]  # their labels


@dataclass
class Made:
    """New records, and how they came about."""

    records: list[Example] = field(default_factory=list)
    written: int = 0  # texts, before those that are empty, no news, or of another label were left out
    new: int = 0  # texts that neither the data nor another of them has, spaces and case aside
    kept: int = 0  # new texts that the judge gives their label
    label_kept: float | None = None  # its share; None without a judge
    distinct: dict[str, float] = field(default_factory=dict)  # distinct-1 and 2 of the new records and of training
    fewer: dict[str, int] = field(default_factory=dict)  # labels that got fewer records than asked for, and how many

    def figures(self) -> dict[str, Any]:
        """All but the records, as JSON."""
        return {**asdict(self), "records": len(self.records)}


def augment(
    model: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    number: int = 20,
    judge: str | Path | None = None,
    temperature: float = 1.0,
    mask: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Made:
    """Make `number` records for each label of `source`; `out` is the data with them at the end of the training split.

    `model` is a run folder or artifact of `control`, or the checkpoint of a masked language model, which rewrites a
    share `mask` of the tokens of training texts, by default MASK. `judge` is a run folder or artifact of `classify`.
    Raises DataError for data or an `out` that cannot be used, ArtifactError for another model, RecipeError for another
    option.
    """
    options.whole("number", number)
    options.seed(seed)
    if mask is not None and not 0 < mask < 1:
        raise RecipeError(f"mask is {mask}; give a share of the tokens above 0 and below 1")
    if mask is not None and trained.is_trained(model):
        raise RecipeError(f"mask is {mask}, which a model of control does not read; leave mask out")
    options.temperature(temperature)
    check_out(Path(out), source)
    parts = _parts(source, seed)
    labels = records.labels(parts["train"], KIND)
    judged = None if judge is None else _judge(judge, labels)
    made = _gather(_writer(model, parts["train"], temperature, mask, seed), judged, parts, number, progress)
    whole = {**parts, "train": [*parts["train"], *made.records]}
    write(Path(out), whole, KIND, {"source": str(source), "seed": seed, "written by": str(model), **made.figures()})
    return made


def _parts(source: str | Path, seed: int) -> dict[str, list[Example]]:
    """The splits of data with one label a text."""
    found = data.splits.load(source, KIND, SPLITS, seed)
    if not found.get("train"):
        raise DataError(f"{source}: no train split; give data with one")
    for part in found.values():
        if any(isinstance(example["label"], list) for _, example in part):
            raise DataError(f"{source}: texts have several labels; new ones can be made of texts with one")
        data.splits.refuse(part, KIND)
        data.splits.refuse_unknown(part, records.labels([example for _, example in found["train"]], KIND), KIND)
    return {name: [example for _, example in part] for name, part in found.items()}


def _writer(model: str | Path, train: Sequence[Example], temperature: float, mask: float | None, seed: int) -> Write:
    if trained.is_trained(model):
        return LabelWriting(predict.load(model, "torch"), temperature, seed)
    return Rewriting(model, train, temperature, MASK if mask is None else mask, seed)


def _judge(folder: str | Path, labels: Sequence[str]) -> Judge:
    """What says the label of texts; DataError for one that does not know them all."""
    if not trained.is_trained(folder):
        raise ArtifactError(f"{folder} is no run folder or artifact; give a classifier as the judge")
    loaded = predict.load(folder, "torch")  # whose answer to a text is the same beside any other
    if loaded.task.name != KIND or loaded.task.multiple:
        raise ArtifactError(
            f"{folder} is for the task {loaded.task.name}; give a classifier of one label a text as the judge"
        )
    lacking = [label for label in labels if label not in loaded.task.labels]
    if lacking:
        raise DataError(
            f"{folder} does not know the label {lacking[0]!r} ({len(lacking)} such); give a judge of these data"
        )
    return lambda texts: [record["label"] for record in loaded.predict(texts)]


def _gather(
    write: Write, judge: Judge | None, parts: Mapping[str, Sequence[Example]], number: int, progress: bool
) -> Made:
    """`number` new texts for each label, or as many as ROUNDS bring."""
    made, labels = Made(), records.labels(parts["train"], KIND)
    known = {_letters(example["text"]) for part in parts.values() for example in part}
    for label in follow(labels, "writing", progress):
        own: list[str] = []
        for _ in range(ROUNDS):
            if len(own) < number:
                own += _news(write(label, 2 * (number - len(own))), label, judge, known, made)
        made.records += [{"text": text, "label": label} for text in own[:number]]
        if len(own) < number:
            made.fewer[label] = len(own)
    if not made.records:
        raise DataError(
            f"none of {made.written} texts is new and of its label; write at another temperature, or longer"
        )
    made.label_kept = None if judge is None else made.kept / made.new
    for name, some in (("", made.records), ("_train", parts["train"])):
        made.distinct |= {f"distinct_{size}{name}": distinct([e["text"] for e in some], size) for size in (1, 2)}
    return made


def _news(texts: Sequence[str], label: str, judge: Judge | None, known: set[str], made: Made) -> list[str]:
    """Those that are new and kept their label; all are counted, and the new ones are known from then on."""
    fresh = []
    for text in texts:
        letters = _letters(text)
        if letters and letters not in known:
            known.add(letters)
            fresh.append(text)
    labels = [label] * len(fresh) if judge is None else judge(fresh)
    kept = [text for text, said in zip(fresh, labels, strict=True) if said == label]
    made.written, made.new, made.kept = made.written + len(texts), made.new + len(fresh), made.kept + len(kept)
    return kept


def _letters(text: str) -> str:
    """By which a text is known again."""
    return "".join(text.split()).casefold()
