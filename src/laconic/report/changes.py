"""What changed between the original and the artifact, one line each, for the terminal and the page alike.

No paper: arithmetic on the record.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeGuard

from laconic.maths.bootstrap import Interval
from laconic.report import figures
from laconic.report.record import Report, Row


@dataclass(frozen=True)
class Change:
    """One measured thing before and after, as text; `better` is None when it is neither."""

    group: str  # "quality", "size", "speed", "memory" or "bits"
    label: str
    before: str
    after: str
    change: str
    interval: str = ""
    better: bool | None = None


ONE, MANY = "One text, median", "Texts per second, batched"
Show = Callable[[float | None], str]


def changes(report: Report) -> list[Change]:
    """Every line both rows have a figure for, in the order they are read."""
    before, after = report.before, report.after
    lines = list(_quality(report))
    unit, scores = after.bits.unit if after.bits else "", {line.label for line in lines}
    for group, label, part, field, show, lower in FIGURES:
        name = label.format(unit=unit)
        old, new = _figure(before, part, field), _figure(after, part, field)
        if old is not None and new is not None and name not in scores:  # bits per byte may be a score already
            ratio = _ratio(old, new, lower)
            better = None if ratio is None or abs(ratio - 1) < 0.005 else ratio > 1
            factor, spread = _factor(ratio, lower), _speedup(label, after)
            lines.append(Change(group, name, show(old), show(new), factor, spread, better))
    return lines


def _quality(report: Report) -> Iterator[Change]:
    before, after = report.before, report.after
    keys = [k for k in after.score if k in before.score and _plain(after.score[k]) and _plain(before.score[k])]
    for key in sorted(keys, key=lambda k: k != report.main):
        step = after.score[key] - before.score[key]
        interval = after.differences.get(key)
        yield Change(
            "quality",
            figures.title(key),
            figures.score(before.score[key]),
            figures.score(after.score[key]),
            figures.signed(step, 4) if key in figures.AMOUNTS else f"{figures.points(step)} points",
            _within(interval),
            None if not interval or interval.low <= 0 <= interval.high else step > 0,
        )
    if after.flips is not None:
        yield Change("quality", "Predictions changed", "", figures.share(after.flips), "")
    if after.token_flips is not None:
        yield Change("quality", "Word tags changed", "", figures.share(after.token_flips), "")
    if after.agreement is not None:
        yield Change("quality", "Answers the same in PyTorch", "", figures.share(after.agreement), "")


def speedup(report: Report) -> float | None:
    """How many times faster one text is answered."""
    return report.after.latency.single_speedup.median if report.after.latency else None


def shrinkage(report: Report) -> float | None:
    """How many times smaller the folder is."""
    before, after = report.before.size, report.after.size
    return before.bytes / after.bytes if before and after and after.bytes and before.bytes else None


def loss(report: Report) -> float | None:
    """Change of the main figure on the test examples, as a fraction."""
    key = report.main
    if key in report.after.differences:
        return report.after.differences[key].value
    old, new = report.before.score.get(key), report.after.score.get(key)
    return new - old if _plain(old) and _plain(new) else None


def tables(report: Report) -> dict[str, tuple[dict[str, float] | None, dict[str, float]]]:
    """Label -> (figures before, figures after), for scores with a table by label."""
    after, before = report.after.score.get("table"), report.before.score.get("table")
    if not isinstance(after, dict):
        return {}
    old = before if isinstance(before, dict) else {}
    return {label: (old.get(label), row) for label, row in after.items() if isinstance(row, dict)}


def _figure(row: Row, part: str, field: str) -> float | None:
    held = getattr(row, part)
    return None if held is None else float(getattr(held, field))


def _plain(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(interval: Interval | None) -> str:
    return "" if interval is None else f"{figures.span(interval)} at {100 * interval.level:g}{figures.SPACE}%"


def _ratio(old: float, new: float, lower: bool) -> float | None:
    small, large = (new, old) if lower else (old, new)
    return large / small if small and large else None


def _factor(ratio: float | None, lower: bool) -> str:
    if ratio is None:
        return figures.NONE
    if f"{ratio:.2f}" == "1.00":
        return "the same"
    words = ("less", "more") if lower else ("more", "less")
    return f"{figures.times(ratio)} {words[0]}" if ratio > 1 else f"{figures.times(1 / ratio)} {words[1]}"


def _speedup(label: str, row: Row) -> str:
    if row.latency is None or label not in (ONE, MANY):
        return ""
    spread = row.latency.single_speedup if label == ONE else row.latency.batch_speedup
    return f"[{figures.times(spread.low)}, {figures.times(spread.high)}] over {row.latency.rounds} rounds"


def _bits(value: float | None) -> str:
    return f"{figures.count(value)}bit"


FIGURES: tuple[tuple[str, str, str, str, Show, bool], ...] = (  # group, label, part of a row, its field, form, lower?
    ("size", "Folder on disk", "size", "bytes", figures.amount, True),
    ("size", "Bits per parameter", "size", "bits_per_parameter", figures.plain, True),
    ("size", "Parameters", "size", "parameters", figures.count, True),
    ("size", "Parameters not zero", "size", "nonzero", figures.count, True),
    ("size", "Multiplications a text", "size", "macs", figures.count, True),
    ("speed", ONE, "latency", "p50_seconds", figures.seconds, True),
    ("speed", "One text, 95th percentile", "latency", "p95_seconds", figures.seconds, True),
    ("speed", MANY, "latency", "sentences_per_second", figures.count, False),
    ("memory", "Peak memory", "memory", "peak_bytes", figures.amount, True),
    ("bits", "Bits per {unit}", "bits", "bits_per_answer", figures.plain, True),
    ("bits", "Description length", "bits", "description_length_bits", _bits, True),
)
