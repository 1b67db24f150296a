"""What a check found: one record each.

No paper: a record for people and for JSON.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SHOWN = 10  # findings of one check in one split that are given one by one


@dataclass(frozen=True)
class Finding:
    """One thing a check found; an `error` stops training, a `warning` may spoil it, `info` is a figure to know."""

    level: str  # error | warning | info
    check: str
    split: str
    record: int | None  # from 1; None where it is about a whole split
    field: str
    message: str
    value: float | None = None  # the figure in the message, where there is one


def capped(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The first few findings of every level and check, and one more that counts the rest."""
    counts: dict[tuple[str, str, str], int] = {}
    for finding in findings:
        group = (finding.level, finding.check, finding.split)
        counts[group] = counts.get(group, 0) + 1
        if counts[group] <= SHOWN:
            yield finding
    for (level, check, split), count in counts.items():
        if count > SHOWN:
            yield Finding(level, check, split, None, "", f"{count - SHOWN} more records like these", float(count))


def numbers(indices: Iterable[int], count: int) -> str:
    """The first record numbers of `count`, for a message."""
    first = [str(i + 1) for i, _ in zip(indices, range(5), strict=False)]
    return f"record{'s' if count > 1 else ''} {', '.join(first)}{', ...' if count > len(first) else ''}"
