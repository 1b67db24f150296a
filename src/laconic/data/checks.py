"""Say what is wrong with a data set, and how it looks to a model's tokenizer and to its pretraining.

No paper: the faults that spoil a measurement. Duplicates and leakage between splits compare the text exactly; Lee et
al. 2021, arXiv:2107.06499, say what they cost.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from laconic import checkpoint
from laconic.contracts import Example
from laconic.data import distance, records, subwords
from laconic.data.findings import Finding, capped, numbers

IMBALANCE = 20.0  # the commonest label this many times as often as the rarest: macro averages hang on a few records
FEW = 5  # a label with fewer training records than this is learned by chance
LEVELS = ("error", "warning", "info")


def check(
    parts: Mapping[str, Sequence[Example]],
    kind: str,
    *,
    tokenizer: PreTrainedTokenizerFast | None = None,
    model: str | Path | None = None,
    places: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> list[Finding]:
    """Findings about the splits `parts` (name: examples) of a task, errors first.

    With `model`, a checkpoint, also how its tokenizer splits the text and how far the text is from its pretraining;
    with `tokenizer` alone, only the former. `places` says where each record was read, for messages.
    """
    findings: list[Finding] = []
    for split, examples in parts.items():
        findings += capped(_records(split, examples, kind, places[split] if places else None))
        findings += _duplicates(split, examples, kind)
    if "train" in parts:
        findings += capped(_unknown(parts, kind, places))
        findings += _imbalance(parts["train"], kind) if records.labelled(kind) else ()
    findings += _leaks(parts, kind)
    if model is not None and tokenizer is None:
        tokenizer = checkpoint.tokenizer(model)
    if tokenizer is not None:
        limit = subwords.limit(tokenizer, model)
        for split, examples in parts.items():
            findings += subwords.check(split, examples, kind, tokenizer, limit, progress)
    if model is not None and tokenizer is not None:
        split = next(iter(parts))
        findings += distance.check(split, parts[split], kind, tokenizer, model, seed, progress)
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def _records(split: str, examples: Sequence[Example], kind: str, places: Sequence[str] | None) -> Iterator[Finding]:
    for i, example in enumerate(examples):
        for fault in records.faults(example, kind):
            message = f"{places[i]}: {fault.message}" if places else fault.message
            yield Finding(fault.level, fault.check, split, i + 1, fault.field, message)


def _unknown(
    parts: Mapping[str, Sequence[Example]], kind: str, places: Mapping[str, Sequence[str]] | None
) -> Iterator[Finding]:
    known, field = set(records.labels(parts["train"], kind)), list(records.fields(kind))[-1]
    for split in parts:
        for i, example in enumerate(parts[split]):
            for answer in sorted(set(records.answers(example, kind)) - known):
                where = f"{places[split][i]}: " if places else ""
                message = f"{where}{answer!r} was never seen in training; mend it, or train on data that has it"
                yield Finding("error", "unknown label", split, i + 1, field, message)


def _duplicates(split: str, examples: Sequence[Example], kind: str) -> Iterator[Finding]:
    """Records whose text occurred before in the split: with the same answer, and with another one."""
    field, answer = next(iter(records.fields(kind))), records.ANSWERED.get(kind, ())
    first: dict[tuple[str, ...], Example] = {}
    same: list[int] = []
    other: list[int] = []
    for i, example in enumerate(examples):
        before = first.setdefault(records.key(example, kind), example)
        if before is not example:
            (same if all(before.get(a) == example.get(a) for a in answer) else other).append(i)
    for level, name, found, cause in (
        ("info", "duplicates", same, "repeat an earlier record exactly"),
        (
            "warning",
            "contradictions",
            other,
            f"repeat the {field} of an earlier record, but not its {' and '.join(answer)}",
        ),
    ):
        if found:
            message = f"{len(found)} of {len(examples)} records {cause}: {numbers(found, len(found))}"
            yield Finding(level, name, split, found[0] + 1, field, message, float(len(found)))


def _leaks(parts: Mapping[str, Sequence[Example]], kind: str) -> Iterator[Finding]:
    """Records of a later split whose text is in an earlier one: they measure memory, not skill."""
    field = next(iter(records.fields(kind)))
    names = list(parts)
    keys = {name: {records.origin(e, kind) for e in parts[name]} for name in names}
    for later in range(1, len(names)):
        for earlier in names[:later]:
            split = names[later]
            found = [i for i, e in enumerate(parts[split]) if records.origin(e, kind) in keys[earlier]]
            if found:
                share = len(found) / len(parts[split])
                message = (
                    f"{len(found)} of {len(parts[split])} records ({share:.1%}) are also in {earlier}: "
                    f"{numbers(found, len(found))}; remove them from one of the two"
                )
                yield Finding("warning", "leakage", split, found[0] + 1, field, message, share)


def _imbalance(examples: Sequence[Example], kind: str) -> Iterator[Finding]:
    """How often the labels occur in training; of tags, the entities of each type."""
    field = list(records.fields(kind))[-1]
    counts = Counter(_classes(examples, kind))
    if not counts:
        yield Finding("warning", "class imbalance", "train", None, field, "no record has a label", 0.0)
        return
    (most, high), (least, low) = counts.most_common()[0], counts.most_common()[-1]
    ratio = high / low
    level = "warning" if ratio >= IMBALANCE else "info"
    message = f"{len(counts)} classes; the commonest, {most!r}, occurs {ratio:.1f} times as often as {least!r}"
    message += f" ({high:,} and {low:,})"
    message = f"one class, {most!r}, {high:,} times" if len(counts) == 1 else message
    yield Finding(level, "class imbalance", "train", None, field, message, ratio)
    few = sorted(name for name, count in counts.items() if count < FEW)
    if few:
        message = f"fewer than {FEW} examples of: {', '.join(few[:10])}{', ...' if len(few) > 10 else ''}; add some"
        yield Finding("warning", "rare classes", "train", None, field, message, float(len(few)))


def _classes(examples: Sequence[Example], kind: str) -> Iterator[str]:
    for example in examples:
        for answer in records.answers(example, kind):
            if kind != "ner":
                yield answer
            elif answer[:2] == "B-":
                yield answer[2:]
