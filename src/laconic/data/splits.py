"""Deal the records of a source out to training, validation and test.

No paper: a seeded stratified draw. Sechidis et al. 2011, doi:10.1007/978-3-642-23808-6_10, say why records with several
labels need more; here they are stratified by their set of labels, and sets that occur once are drawn together.
Records with the same text stay together, and a label that only one part would have goes to training, so that a drawn
split never leaks and never holds a label that training lacks.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from laconic.contracts import Example, Splits, Task
from laconic.data import records, sources, utf8
from laconic.data.progress import follow
from laconic.data.readers import plain
from laconic.errors import DataError

Row = tuple[str, Example]  # where the record was read (file and record), and the record

HELD = 0.1  # share of all records that a drawn split holds
TEST_SEED = 0  # the test records are the same whatever the seed, so no run can train on what another was tested on


def read_splits(source: str | Path, task: Task | str, seed: int = 0, progress: bool = True) -> Splits:
    """Training and validation records of `source` for a task, or for the name of one whose labels are not known yet.

    Where there is no validation split, a tenth of the records is drawn from training by `seed`; where there is no test
    split either, `read_split` keeps another tenth. Raises DataError naming file, record and field for a record that
    cannot be used, and for a label in validation that training never saw (or the task does not know).
    """
    kind = _kind(task)
    parts = load(source, kind, ("train", "validation"), seed, progress)
    for name in ("train", "validation"):
        if name not in parts:
            raise _missing(source, name, kind)
    train, validation = parts["train"], parts["validation"]
    for rows in parts.values():
        refuse(rows, kind)
    _agree(parts)
    known = _labels(task) or records.labels([example for _, example in train], kind)
    refuse_unknown([*train, *validation], known, kind)
    _refuse_lists([*train, *validation], task)
    examples = {name: [example for _, example in rows] for name, rows in parts.items()}
    both = [{name: records.digest(part)} for name, part in examples.items()]
    return Splits(examples["train"], examples["validation"], records.digest(both))


def with_texts(
    splits: Splits, source: str | Path, task: Task, test: Sequence[Example] = (), progress: bool = False
) -> Splits:
    """The splits and, beside them, the texts of `source` without their answers: a file, or a folder's training split.

    A file of plain text holds one text a line (for lm, documents). Texts become words where the task reads words. Empty
    ones, and those of validation and `test`, spaces aside, are left out.
    """
    if task.name not in records.LONE_TEXTS:
        raise DataError(f"{source}: texts without answers are for {', '.join(records.LONE_TEXTS)}; leave them out")
    if Path(source).is_file() and (split := sources.split_of(Path(source))) not in (None, "train"):
        raise DataError(f"{source}: by its name it is the {split} split, of which nothing is learnt; give other texts")
    held = {_letters(example, task) for example in (*splits.validation, *test)}
    found = (e for e in asked(source, task, progress) if records.text(e, task.name).strip())
    texts = [e for e in found if _letters(e, task) not in held]
    if not texts:
        raise DataError(f"{source}: every text is empty or one of the validation or test split; give other texts")
    digest = records.digest([{"labelled": splits.digest, "texts": records.digest(texts)}])
    return Splits(splits.train, splits.validation, digest, texts)


def asked(source: str | Path, task: Task, progress: bool = False) -> Iterator[Example]:
    """The records of a file, or of a folder's training split, as the task reads them, without their answers.

    Raises DataError for the first that can't be asked.
    """
    for where, raw in follow(_questions(source, task), "reading texts", progress):
        example = records.awaited(records.question(raw, where, task.name), task.name)
        _refuse(where, records.asking_faults(example, task.name))
        yield _as_task(example, task)


def unseen(source: str | Path, task: Task, seed: int = 0) -> list[Example]:
    """The test split, where there is one, whose answers are not looked at: what no training may come across."""
    return [example for _, example in load(source, task.name, ("test",), seed).get("test", [])]


def _questions(source: str | Path, task: Task) -> Iterator[tuple[str, records.Raw]]:
    """(where, record) of texts without answers, each read as what the file is."""
    path = Path(source)
    if path.is_file() and path.suffix.lower() in plain.SUFFIXES and task.name not in records.PLAIN:
        for number, line in enumerate(utf8.stream(path), 1):
            yield f"{path}, line {number}", {"text": line}
        return
    found = sources.find(source, task.name)
    if not path.is_file() and "train" not in found:
        raise DataError(f"{source}: no texts; give a file of them, or a folder with train.jsonl or the like")
    for rows in found.values() if path.is_file() else [found["train"]]:
        yield from rows()


def _letters(example: Example, task: Task) -> str:
    """What is asked without any white space, by which it is known again however it is cut into words."""
    return "".join("".join(records.key(example, task.name)).split())


def _as_task(question: Example, task: Task) -> Example:
    """Words or text as the task reads them."""
    if task.name in records.ASKED:
        return question
    if task.name == "ner":
        return question if "tokens" in question else task.parse(question["text"])
    return task.parse(" ".join(question["tokens"])) if "tokens" in question else question


def read_split(source: str | Path, task: Task | str, name: str, seed: int = 0, progress: bool = False) -> list[Example]:
    """The records of one split: train, validation or test. The test split is for reading once, at the end.

    Raises DataError as `read_splits` does; labels are compared with the task's, so a bare name compares none.
    """
    kind = _kind(task)
    parts = load(source, kind, (name,), seed, progress)
    if name not in parts:
        raise _missing(source, name, kind)
    refuse(parts[name], kind)
    known = _labels(task)
    if known:
        refuse_unknown(parts[name], known, kind)
    _refuse_lists(parts[name], task)
    return [example for _, example in parts[name]]


def load(
    source: str | Path, kind: str, names: Sequence[str], seed: int = 0, progress: bool = False
) -> dict[str, list[Row]]:
    """Those of the splits `names` that the source has or that are drawn for it, without looking at their answers."""
    records.fields(kind)
    for name in names:
        if name not in sources.SPLITS:
            raise DataError(f"there is no split {name!r}; there are: {', '.join(sources.SPLITS)}")
    found = sources.find(source, kind)
    if "validation" in found or "train" not in found:
        return {name: _rows(source, name, found[name], kind, progress) for name in names if name in found}
    parts = {}
    if "test" in names and "test" in found:
        parts["test"] = _rows(source, "test", found["test"], kind, progress)
    drawn = set(names) - set(found) | set(names) & {"train"}
    if drawn:
        train = _rows(source, "train", found["train"], kind, progress)
        parts.update(deal(train, kind, seed, test="test" not in found))
    return {name: parts[name] for name in names if name in parts}


def _rows(source: str | Path, name: str, read: sources.Rows, kind: str, progress: bool) -> list[Row]:
    rows = [(where, records.example(raw, kind, where)) for where, raw in follow(read(), f"reading {name}", progress)]
    if not rows:
        raise DataError(f"{source}: the {name} split holds no records; give it at least one")
    if kind == "classify":
        several = isinstance(rows[0][1]["label"], list)
        for where, example in rows:
            if isinstance(example["label"], list) != several:
                kinds = ("one label", "a list of labels")
                raise DataError(f"{where}: {kinds[not several]}, but record 1 has {kinds[several]}; write all alike")
    return rows


def deal(rows: Sequence[Row], kind: str, seed: int, *, test: bool) -> dict[str, list[Row]]:
    """Training and validation, and test when asked for: a tenth of the records each, drawn by `draw`."""
    parts = {}
    left = list(rows)
    if test:
        left, parts["test"] = draw(left, kind, HELD, TEST_SEED)
    share = HELD * len(rows) / max(len(left), 1)
    parts["train"], parts["validation"] = draw(left, kind, share, seed)
    empty = [name for name, part in parts.items() if not part]
    if empty:
        held = "1 record is" if len(rows) == 1 else f"{len(rows)} records are"
        raise DataError(
            f"{held} too few to draw {' and '.join(empty)} from; give files for these splits, or at least 10 records"
            f"{' of each label' if records.labelled(kind) else ''}"
        )
    return parts


def draw(rows: Sequence[Row], kind: str, share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """(kept, held) in their order in the file: a `share` of every stratum is held, to within a group of same texts."""
    kind = records.DEALT.get(kind, kind)
    groups = _groups(rows, kind)
    rng = random.Random(seed)
    held: list[int] = []
    carry = 0.0
    for stratum in _strata(groups, rows, kind):
        rng.shuffle(stratum)
        wanted = share * sum(len(groups[g]) for g in stratum) + carry
        for group in stratum:
            if wanted < len(groups[group]) / 2:
                break
            held.append(group)
            wanted -= len(groups[group])
        carry = max(-1.0, min(1.0, wanted))
    out = {i for g in _shared(groups, sorted(held), rows, kind) for i in groups[g]}
    return [row for i, row in enumerate(rows) if i not in out], [rows[i] for i in sorted(out)]


def _groups(rows: Sequence[Row], kind: str) -> list[list[int]]:
    """Indices of records with the same text, in order of first appearance."""
    same: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, (_, example) in enumerate(rows):
        same[records.origin(example, kind)].append(i)
    return list(same.values())


def _strata(groups: Sequence[list[int]], rows: Sequence[Row], kind: str) -> list[list[int]]:
    """Groups by the set of labels (of entity types) of their first record; sets with one group come last, together."""
    strata: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for g, members in enumerate(groups):
        said = records.answers(rows[members[0]][1], kind)
        strata[tuple(sorted({a[2:] if kind == "ner" else a for a in said}))].append(g)
    singles = [g for stratum in strata.values() if len(stratum) == 1 for g in stratum]
    return [strata[name] for name in sorted(strata) if len(strata[name]) > 1] + ([singles] if singles else [])


def _shared(groups: Sequence[list[int]], held: Sequence[int], rows: Sequence[Row], kind: str) -> list[int]:
    """Those held groups whose labels all occur among the records that are kept; the others are kept too."""

    def said(group: int) -> list[str]:
        return [a for i in groups[group] for a in records.answers(rows[i][1], kind)]

    out = set(held)
    seen = {answer for g in range(len(groups)) if g not in out for answer in said(g)}
    shared = []
    for group in held:
        if seen.issuperset(said(group)):
            shared.append(group)
        else:
            seen.update(said(group))
    return shared


def refuse(rows: Sequence[Row], kind: str) -> None:
    """Raise DataError for the first record that cannot be trained or measured on."""
    for where, example in rows:
        _refuse(where, records.faults(example, kind))


def _refuse(where: str, faults: Iterable[records.Fault]) -> None:
    for fault in faults:
        if fault.level == "error":
            raise DataError(f"{where}: field {fault.field!r}: {fault.message}")


def refuse_unknown(rows: Sequence[Row], known: Sequence[str], kind: str) -> None:
    """Raise DataError for the first label that is not among the known ones."""
    word, allowed = ("tag" if kind == "ner" else "label"), set(known)
    for where, example in rows:
        for answer in records.answers(example, kind):
            if answer not in allowed:
                raise DataError(
                    f"{where}: {word} {answer!r} was never seen in training; known: {listed(known)}; "
                    "mend the record, or train on data that has it"
                )


def _agree(parts: Mapping[str, Sequence[Row]]) -> None:
    """Raise DataError when one split has lists of labels and another has one label a record."""
    several = isinstance(parts["train"][0][1].get("label"), list)
    for rows in parts.values():
        where, example = rows[0]
        if isinstance(example.get("label"), list) != several:
            kinds = ("one label", "lists of labels")
            raise DataError(f"{where}: {kinds[not several]}, but train has {kinds[several]}; write all alike")


def _missing(source: str | Path, name: str, kind: str) -> DataError:
    found = ", ".join(sources.find(source, kind))
    return DataError(f"{source}: no {name} split; there is: {found}; add a file called {name}, such as {name}.jsonl")


def listed(names: Sequence[str]) -> str:
    """Names in a row, the first 20 of many."""
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _kind(task: Task | str) -> str:
    return task if isinstance(task, str) else task.name


def _labels(task: Task | str) -> tuple[str, ...]:
    return () if isinstance(task, str) else task.labels


def _refuse_lists(rows: Sequence[Row], task: Task | str) -> None:
    """Raise DataError for a record with a list of labels where the task takes one."""
    if isinstance(task, str) or task.multiple:
        return
    for where, example in rows:
        label = example.get("label")
        if isinstance(label, list):
            raise DataError(f"{where}: the label {label!r} is a list; train with multiple labels, or give one")
