"""What a reader must know to read the figures rightly, said whether it flatters or not.

No paper: rules on the record.
"""

from collections.abc import Mapping
from pathlib import Path

from laconic.measures import size
from laconic.report import figures
from laconic.report.record import Report

SPARSE = 0.02  # fewer zeros than this are chance, not a method
ALIKE = 0.995  # share of answers that an engine must give as PyTorch does
FEW = 500  # examples below which an interval says more than a score


def notes(report: Report) -> list[str]:
    """The run's own notes, then those that follow from its figures."""
    said = list(report.notes)
    before, after = report.before, report.after
    if after.size and after.size.parameters and 1 - after.size.nonzero / after.size.parameters > SPARSE:
        zeros = figures.share(1 - after.size.nonzero / after.size.parameters)
        said.append(
            f"{zeros} of the artifact's parameters are zero. Unstructured sparsity saves bytes, not time: the engines "
            "here multiply by zero as they do by any other number."
        )
    if before.latency and after.latency and before.engine != after.engine:
        said.append(
            f"The original was timed in {before.engine or 'an unnamed engine'} and the artifact in "
            f"{after.engine or 'an unnamed engine'}: part of the speedup is the engine's."
        )
    if after.agreement is not None and after.agreement < ALIKE:
        said.append(
            f"{after.engine or 'The engine'} gives only {figures.share(after.agreement)} of the answers that PyTorch "
            "gives with the same weights; where answers must not depend on the engine, run the artifact in PyTorch."
        )
    interval = after.differences.get(report.main)
    if interval and interval.low <= 0 <= interval.high:
        said.append(
            f"The interval of the difference in {figures.title(report.main)} holds zero: these examples cannot tell "
            "the two models apart, which does not prove them equal."
        )
    if interval is None and report.main in after.score and len(report.rows) > 1:
        said.append("The difference in score has no interval; evaluate with --against the original to get one.")
    if report.examples is not None and report.examples < FEW:
        said.append(f"Scores rest on {report.examples} examples; read the interval before the score.")
    if report.split == "validation":
        said.append("Scores are on the validation split, on which choices were made; those on test can be lower.")
    return said


def uncounted(folder: Path) -> list[str]:
    """Of files beside the original that are no part of its bytes."""
    files = size.strangers(folder)
    if not files:
        return []
    largest = max(files, key=lambda file: file.stat().st_size).relative_to(folder)
    return [
        f"Files beside the original that are not read do not count in its bytes: {len(files)} of "
        f"{sum(file.stat().st_size for file in files):,} bytes, such as {largest}."
    ]


def unknown(peaks: Mapping[str, object]) -> list[str]:
    """Of models by name whose peak memory is not known, but only why."""
    return [f"The peak memory of {name} is unknown: {why}." for name, why in peaks.items() if isinstance(why, str)]
