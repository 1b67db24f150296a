"""Write a source's splits, checked, as a folder of JSON Lines that training and evaluation read.

No paper: a folder with train, validation and test.jsonl, labels.json (sorted), and data.json (counts, digests, seed).
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laconic import notation, options
from laconic.artifact import place
from laconic.contracts import Example
from laconic.data import checks, records, splits
from laconic.data.findings import Finding
from laconic.errors import DataError

SPLITS = ("train", "validation", "test")
LABELS, MARK = "labels.json", "data.json"
OURS = frozenset({*(f"{name}.jsonl" for name in SPLITS), LABELS, MARK})  # all that a prepared folder can hold
SAID = {"task", "source", "seed", "splits"}  # keys of MARK by which a prepared folder is known


def prepare(
    source: str | Path,
    kind: str,
    out: str | Path | None = None,
    model: str | Path | None = None,
    seed: int = 0,
    progress: bool = False,
) -> list[Finding]:
    """Read, split and check `source` for the task called `kind`; write the folder `out` unless there are errors.

    The test split is checked too, for its records are files here and decide nothing. Raises DataError for what cannot
    be read at all, and for an `out` that holds something else.
    """
    target = Path(out) if out is not None else None
    if target is not None:
        check_out(target, source)
    options.seed(seed)
    parts = splits.load(source, kind, SPLITS, seed, progress)
    examples = {name: [example for _, example in rows] for name, rows in parts.items()}
    places = {name: [where for where, _ in rows] for name, rows in parts.items()}
    findings = checks.check(examples, kind, model=model, places=places, seed=seed, progress=progress)
    if target is not None and not any(finding.level == "error" for finding in findings):
        write(target, examples, kind, {"source": str(source), "seed": seed})
    return findings


def write(out: Path, parts: Mapping[str, Sequence[Example]], kind: str, origin: Mapping[str, Any]) -> None:
    """The folder, all of it or nothing: it is written under another name first."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, examples in parts.items():
            lines = "".join(json.dumps(example, ensure_ascii=False) + "\n" for example in examples)
            (fresh / f"{name}.jsonl").write_text(lines, encoding="utf-8", newline="\n")
        if records.labelled(kind):
            _json(fresh / LABELS, records.labels(parts.get("train", []), kind))
        digests = {name: {"records": len(part), "sha256": records.digest(part)} for name, part in parts.items()}
        _json(fresh / MARK, {"task": kind, **origin, "splits": digests})
        fresh.chmod(0o755)  # mkdtemp makes folders that only their owner can read
        place.settle(fresh)
        _put(fresh, out)
        place.flush(out.parent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _put(fresh: Path, out: Path) -> None:
    """Rename `fresh` to `out`; an earlier prepared folder there is moved aside first, and then removed."""
    if not out.exists():
        os.replace(fresh, out)
        return
    _check_place(out)  # once more: what follows removes all that it holds
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    os.replace(out, aside)  # a folder replaces an empty one
    try:
        os.replace(fresh, out)
    finally:
        if not out.exists():
            os.replace(aside, out)
    shutil.rmtree(aside)


def check_out(out: Path, source: str | Path) -> None:
    """Raise DataError for a place where `write` would lose something."""
    _check_folder(out)
    if out.exists() and out.resolve() in (Path(source).resolve(), *Path(source).resolve().parents):
        raise DataError(f"{out} holds the source {str(source)!r}; give another folder")
    _check_place(out)


def _check_folder(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise DataError(f"{out} is a {'link' if out.is_symlink() else 'file'}; give a folder that is not there yet")


def _check_place(out: Path) -> None:
    """Raise DataError unless the place is new, empty, or a folder that was prepared before and holds nothing else."""
    _check_folder(out)
    if place.is_underfoot(out):
        raise DataError(f"{out} is the folder you are in, or one above it; name a new one for the data")
    held = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if held and not _is_prepared(out):
        raise DataError(f"{out} holds other files; give a folder that is new or was prepared before")
    if others := [name for name in held if name not in OURS or not (out / name).is_file()]:
        raise DataError(
            f"{out / others[0]} is not part of the data that were prepared here ({len(others)} such), and replacing "
            "them would delete it; move it away or give another folder"
        )


def _is_prepared(out: Path) -> bool:
    """Whether what stands in a folder's MARK is what `write` puts there."""
    try:
        said = notation.read((out / MARK).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and set(said) >= SAID


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8", newline="\n")
