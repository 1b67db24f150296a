"""Pages of which a part is written by hand and the rest from code and results: prose, a mark, and what stands below.

No paper: Markdown, read back and written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import record

DOCS = record.ROOT / "docs"
MARK = "<!-- What follows is written by `{}`. -->"


def command(benchmark: str) -> str:
    """What writes the pages of a benchmark anew."""
    return f"python -m benchmarks.{benchmark} --pages"


def measured(benchmark: str) -> list[dict[str, Any]]:
    """The rows of a benchmark, as they stand in the results."""
    held = record.RESULTS / f"{benchmark}.json"
    return json.loads(held.read_text(encoding="utf-8"))["rows"] if held.is_file() else []


def prose(path: Path) -> str:
    """What was written by hand."""
    return path.read_text(encoding="utf-8").split(MARK.split("{}")[0])[0].rstrip() + "\n\n"


def renewed(path: Path, benchmark: str, body: str) -> str:
    """The page with `body` below its mark."""
    return f"{prose(path)}{MARK.format(command(benchmark))}\n\n{body}"


def write(pages: Iterable[tuple[Path, str]]) -> None:
    """Write anew what stands below the mark on every page."""
    for path, text in pages:
        path.write_text(text, encoding="utf-8")


def paragraph(path: Path, word: str) -> str:
    """The paragraph of a page's prose that begins with this word in bold, in one line."""
    found = re.search(rf"^\*\*{re.escape(word)}\*\* (.+?)\n\n", prose(path), re.M | re.S)
    if not found:
        raise SystemExit(f"{path.relative_to(record.ROOT)}: its prose has no paragraph **{word}**")
    return " ".join(found[1].split())


def reference(heading: str) -> str:
    """What the reference says below a heading, before the next one."""
    return re.split(r"\n#+ ", section((DOCS / "reference.md").read_text(encoding="utf-8"), heading), maxsplit=1)[0]


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    level = heading.split(" ")[0]
    body = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", body, maxsplit=1, flags=re.MULTILINE)[0]


def rows(body: str) -> dict[str, list[str]]:
    """Cells of every table row by the first word in its first cell's backticks."""
    return dict(entries(body))


def entries(body: str) -> Iterator[tuple[str, list[str]]]:
    """The first word in the first cell's backticks, and the other cells, of every table row that has one."""
    for line in body.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and (name := re.search(r"`([^`]+)`", cells[0])):
            yield name[1], cells[1:]


def table(lines: list[list[str]]) -> str:
    """Cells as Markdown, the header first."""
    header, *body = lines
    return "".join("| " + " | ".join(line) + " |\n" for line in (header, ["---"] * len(header), *body))
