"""Where benchmarks find their inputs and how they write what they found.

No paper: a file format.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from laconic.errors import DataError
from laconic.prove import environment

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
Sections = list[tuple[str, str, list[list[str]]]]  # title, remark, and a table with its header row
MACHINE = ("processor", "threads")


def runs() -> Path:
    """Where runs are kept: LACONIC_RUNS, or `runs` in the current folder. A second call goes on from there."""
    return Path(os.environ.get("LACONIC_RUNS", "runs"))


def folder(variable: str, name: str) -> Path:
    """A data set or model below the folder in LACONIC_DATA or LACONIC_MODELS."""
    if variable not in os.environ:
        raise DataError(f"set {variable} to the folder that holds {name}")
    path = Path(os.environ[variable]) / name
    if not path.is_dir():
        raise DataError(f"{variable} has no folder {name!r}")
    return path


def renew(name: str, sections: Callable[[list[dict[str, Any]]], Sections]) -> None:
    """The page anew from the rows in `docs/results/NAME.json`, which stays as it is."""
    record = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    put(RESULTS / f"{name}.md", _page(name, record, sections(record["rows"])))


def write(name: str, rows: list[dict[str, Any]], sections: Sections) -> None:
    """`docs/results/NAME.json`, and a page with a table for every (title, remark, table with its header row)."""
    found = environment()
    record = {
        "command": f"python -m benchmarks.{name}" + "".join(f" {a}" for a in sys.argv[1:]),
        **origin(),
        "machine": {key: found[key] for key in MACHINE},
        "versions": {key: value for key, value in found.items() if key not in MACHINE},
        "rows": rows,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    put(RESULTS / f"{name}.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    put(RESULTS / f"{name}.md", _page(name, record, sections))


def origin() -> dict[str, str]:
    """When a figure was measured, and by which commit."""
    return {"commit": _commit(), "date": datetime.now(UTC).strftime("%Y-%m-%d")}


def _page(name: str, record: dict[str, Any], sections: Sections) -> str:
    machine = record["machine"]
    lines = [
        f"# {name}",
        "",
        f"`{record['command']}` at commit `{record['commit'][:12]}`, {record['date']}, on {machine['processor']} "
        f"with {machine['threads']} threads. The figures as data: [{name}.json]({name}.json).",
        "",
        f"Versions: {', '.join(f'{package} {version}' for package, version in record['versions'].items())}.",
    ]
    for title, remark, table in sections:
        header, *body = table
        lines += ["", f"## {title}", "", *([remark, ""] if remark else []), _line(header)]
        lines += [_line(["---"] + ["---:"] * (len(header) - 1)), *map(_line, body)]
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def put(path: Path, text: str) -> None:
    """Write a file under another name and rename it, so that it is whole or not there."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
