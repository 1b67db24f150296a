"""The tasks' pages below docs/tasks, and their table: what is known from code and results is written, prose stays.

No paper: documents. A page begins with prose (what the task is, **Use it**, **Models.**, data, commands, a recipe, how
to read the figures); everything below its mark is written from the task's fields, from docs/reference.md and from
docs/results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from benchmarks.pages import DOCS, entries, measured, paragraph, reference, renewed, rows, section, table
from benchmarks.record import RESULTS
from benchmarks.settings import plain
from laconic import tasks

RECIPE = "balanced"
SMALLER = 8  # times smaller than the original that `balanced` has to be
WITHIN = 0.010  # of the original's score
WITHIN_BITS = 0.02  # of the original's bits per byte
ELSEWHERE = {"ner": ("conll2003", ("Models", "Speed")), "control": ("augment", ("Few records and more",))}
"""Tasks of which another benchmark has figures, and the sections of its page that show them."""

DECIDED = "by itself"  # the words of an option's meaning that say what it is where it is not given
ASIDE = ("task", "as PyTorch", "precision", "commit")  # columns of the results that pages leave out


def written() -> Iterator[tuple[Path, str]]:
    """Every page as code and results have it."""
    yield DOCS / "tasks.md", renewed(DOCS / "tasks.md", "tasks", overview())
    for name in tasks.names():
        yield page(name), renewed(page(name), "tasks", about(name))


def page(name: str) -> Path:
    """Where a task's page is."""
    return DOCS / "tasks" / f"{name}.md"


def overview() -> str:
    """The table of all tasks: from the reference, the results, and two paragraphs of each page."""
    lines = [["task", "when to use", "models", "main figure", "measured on"]]
    for name in tasks.names():
        data = dict.fromkeys(row["dataset"] for row in measured("tasks") if row["task"] == name)
        if name in ELSEWHERE:
            data |= {row["dataset"]: None for row in measured(ELSEWHERE[name][0])}
        lines.append([f"[`{name}`](tasks/{name}.md)", *(paragraph(page(name), w) for w in ("Use it", "Models."))])
        lines[-1] += [listed(name)[1], ", ".join(data) or "nothing yet"]
    return table(lines)


def about(name: str) -> str:
    """Options, head and figures of one task, and its measured rows."""
    lines = [["option", "default", "meaning"]]
    lines += [[f"`{option}`", default(name, option), meaning(name, option)] for option in options(name)]
    head, main = listed(name)
    return (
        f"## Options\n\n{table(lines)}\n## Head and figures\n\n- Head: {head}\n- Main figure: {main}\n{results(name)}"
    )


def options(name: str) -> dict[str, Any]:
    """A task's options and their defaults, without the labels, which the data say."""
    found = {field.name: field.default for field in tasks.offered(name)}
    lacking = [option for option, value in found.items() if value is MISSING]
    if lacking:
        raise SystemExit(f"the task {name} has no default of {lacking[0]}")
    return found


def default(name: str, option: str) -> str:
    """An option's default as YAML, or that data and model decide."""
    return DECIDED if DECIDED in meaning(name, option) else f"`{plain(options(name)[option])}`"


def meaning(name: str, option: str) -> str:
    """What the reference says of a task's option."""
    said = [
        text for key, (of, text) in entries(reference("### Options of tasks")) if key == option and f"`{name}`" in of
    ]
    if len(said) != 1:
        raise SystemExit(f"docs/reference.md: {len(said)} rows for the option {option} of {name}; give one")
    return said[0]


def listed(name: str) -> tuple[str, str]:
    """Head and main figure of a task, as the reference says them."""
    held = rows(reference("## Tasks"))
    head, main = held[name]
    if other := re.match(r"as `(\w+)`", head):
        head = held[other[1]][0] + head[other.end() :]
    return head, main


def results(name: str) -> str:
    """The rows of a task, and sections of another benchmark's page that has figures of it."""
    found, held = "\n## Measured\n", [row for row in measured("tasks") if row["task"] == name]
    if held:
        found += (
            "\nFrom [the benchmark of tasks](../results/tasks.md), which says what the columns are, with which changes "
            f"`{RECIPE}` ran, and on which commit.\n\n{table(shown(held))}"
        )
    elif name not in ELSEWHERE:
        found += "\nNothing yet: the results have no row of this task.\n"
    if name in ELSEWHERE:
        source, titles = ELSEWHERE[name]
        text = (RESULTS / f"{source}.md").read_text(encoding="utf-8")
        found += f"\nFrom [the benchmark `{source}`](../results/{source}.md):\n"
        found += "".join(f"\n{section(text, f'## {title}').strip()}\n" for title in titles)
    return found


def shown(held: list[dict[str, Any]]) -> list[list[str]]:
    """A task's rows without the columns that are left out, and with its other figures where it has any."""
    header, *body = verdicts(held)
    kept = [i for i, title in enumerate(header) if title not in ASIDE]
    lines = [[line[i] for i in kept] for line in (header, *body)]
    others = [beside(row) for row in held]
    return [[*line, other] for line, other in zip(lines, ["beside it", *others], strict=True)] if any(others) else lines


def beside(row: dict[str, Any]) -> str:
    """What a task scores besides the figure that its row is about."""
    named = re.findall(r"`(\w+)`", listed(row["task"])[1])
    return ", ".join(f"{key} {row[key]:.4g}" for key in named if key in row and row[key] != row["score"])


def verdicts(held: list[dict[str, Any]]) -> list[list[str]]:
    """Rows of the benchmark of tasks as a table, its header first."""
    header = ["data", "task", "model", "metric", "score", "difference (95%)", "bytes", "times smaller"]
    lines = [[*header, "as PyTorch", "x PyTorch, 1", "x PyTorch, 32", "precision", "commit", "as asked"]]
    for row in held:
        change = f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
        line = [row["dataset"], row["task"], row["name"], row["metric"], f"{row['score']:.4f}", change]
        line += [f"{row['bytes']:,}", f"{row['times_smaller']:.1f}", f"{row['engine_agreement']:.1%}"]
        line += [f"{row['speedup_batch1']:.1f}", f"{row['speedup_batch32']:.1f}"]
        line += [row["precision"], row["commit"][:8], verdict(row)]
        lines.append(line)
    return lines


def verdict(row: dict[str, Any]) -> str:
    """Whether a row is what was asked of it."""
    if row["name"] == "original":
        return "" if row["bar"] is None else ("yes" if row["score"] >= row["bar"] else f"no: {row['bar']:g}")
    if row["score"] == row["difference"] == 0:
        return "both 0"
    near = round(row["difference"], 9) >= -WITHIN  # 0.13 is not quite 0.01 below 0.14 in binary
    if row["metric"] == "bits_per_byte":
        near = row["difference"] <= WITHIN_BITS * (row["score"] - row["difference"])
    return "yes" if near and row["times_smaller"] >= SMALLER else "no"
