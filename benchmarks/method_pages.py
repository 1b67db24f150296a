"""The methods' pages below docs/methods, and their table: what is known from code and results is written, prose stays.

No paper: documents. A page begins with prose (the idea, **Cost.**, **Use it**, an example recipe); everything below its
mark is written from the method's options and refusals, from docs/reference.md and from docs/results/methods.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.pages import DOCS, measured, paragraph, reference, renewed, rows, table
from benchmarks.settings import plain
from laconic import methods
from laconic.contracts import PROPERTIES
from laconic.errors import RecipeError
from laconic.recipe import Step

HEADER = ["recipe", "bytes", "in the blocks", "score", "+ bits", "seconds"]
PROBES = ("tensor", -1, 0, 1, 10**12)  # values that some option refuses, and says what it takes
BESIDE: dict[str, dict[str, Any]] = {"sparsegpt": {"bits": 4}}  # options without which others are refused


def written() -> Iterator[tuple[Path, str]]:
    """Every page as code and results have it."""
    yield DOCS / "methods.md", renewed(DOCS / "methods.md", "methods", overview())
    for name in methods.names():
        yield page(name), renewed(page(name), "methods", about(name))


def page(name: str) -> Path:
    """Where a method's page is."""
    return DOCS / "methods" / f"{name}.md"


def overview() -> str:
    """The table of all methods: from the reference, the code, and two lines of each page."""
    lines = [["method", "what it changes", "needs", "source", "cost", "when to use"]]
    for name in methods.names():
        needs = ", ".join(sorted(methods.kind(name).needs)) or "nothing"
        lines.append([f"[`{name}`](methods/{name}.md)", listed()[name][0], needs, listed()[name][4]])
        lines[-1] += [paragraph(page(name), word) for word in ("Cost.", "Use it")]
    return table(lines)


def about(name: str) -> str:
    """Options, place in a recipe, and the measured rows of one method."""
    kind = methods.kind(name)
    lines = [["option", "default", "takes", "meaning"]]
    lines += [[f"`{o}`", f"`{plain(d)}`", takes(name, o), meaning(name, o)] for o, d in methods.options(name).items()]
    options = table(lines) if len(lines) > 1 else "It has none.\n"
    place = [f"{word}: {', '.join(sorted(held)) or 'nothing'}" for word, held in (("Needs", kind.needs),
             ("Makes", kind.makes), ("Keeps", kind.keeps & PROPERTIES))]  # fmt: skip
    place.append(f"Source: {listed()[name][4]}")
    return f"## Options\n\n{options}\n## Place in a recipe\n\n" + "".join(f"- {p}\n" for p in place) + results(name)


def listed() -> dict[str, list[str]]:
    """The reference's line of every method: what it changes, needs, makes, keeps, source."""
    return rows(reference("## Methods"))


def results(name: str) -> str:
    """The method's rows, with each model's own before them."""
    found = (
        "\n## Measured\n\nFrom [the benchmark of methods](../results/methods.md), which says what the columns are.\n"
    )
    held = measured("methods")
    for model in dict.fromkeys(r["model"] for r in held if r["method"] == name):
        own = [cells(r) for r in held if r["model"] == model and r["method"] in ("none", name)]
        found += f"\n{model}:\n\n{table([HEADER, *own])}"
    return found


def cells(row: dict[str, Any], with_method: bool = False) -> list[str]:
    """A row of the results in a table."""
    first = [row["method"] if row["method"] != "none" else ""] if with_method else []
    first.append(row["setting"] or "the original, stored")
    if "refused" in row:
        return [*first, f"refused: {row['refused']}", "", "", "", ""]
    figures = [f"{row['bytes']:,}", f"{row['block_bytes']:,}", f"{row['score']:.3f}", f"{row['loss_increase']:+.3f}"]
    return [*first, *figures, f"{row['seconds']:.1f}"]


def takes(name: str, option: str) -> str:
    """What an option takes: its type, or where a refusal says more, that."""
    kind, more = refusal(name, option, ()), None  # nothing takes a tuple
    for probe in PROBES:
        said = refusal(name, option, probe)
        if said and not said.startswith("it takes "):
            more = re.sub(r"^(give|choose|a grid has) ", "", said)
            break
    kind = (kind or "").removeprefix("it takes ")
    return f"{more}{', or null' if kind.endswith(' or null') else ''}" if more else kind


def refusal(name: str, option: str, value: Any) -> str | None:
    """What a method says it would take in place of a value; None where it takes that."""
    try:
        Step(name, {**BESIDE.get(name, {}), option: value}).build(1)
    except RecipeError as error:
        return str(error).split("; ", 1)[1]
    return None


def meaning(name: str, option: str) -> str:
    """What the reference says of an option, with what it says elsewhere in the place of pointers to there."""
    said = rows(reference(f"#### `{name}`"))[option][1]
    if not said:
        return meaning("finetune", option)
    if other := re.match(r"as for `(\w+)`", said):
        return meaning(other[1], option) + said[other.end() :]
    return said.replace("see above", "[which layers](../reference.md#recipes)")
