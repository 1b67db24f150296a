"""Steps of recipes that are finished: what each says of what it left, and the model that it left.

No paper: a killed run goes on after the last of them, and a run beside another takes up what that one has done.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from laconic import artifact, notation
from laconic.contracts import Work
from laconic.errors import ArtifactError

FILE = "step.json"  # beside the model a step left: what it says of it; written last


def rows(folders: list[Path], log: Callable[[str], None]) -> list[dict[str, Any]]:
    """What the first steps say they left, up to one that is not finished or cannot be read any more."""
    found: list[dict[str, Any]] = []
    for folder in folders:
        if not (folder / FILE).is_file():
            break
        try:
            row = notation.read((folder / FILE).read_bytes())
            if not isinstance(row, dict):
                raise ValueError("it holds no record")
        except (OSError, ValueError) as error:
            log(f"{folder / FILE} cannot be read ({error}): step {len(found) + 1} is done again")
            break
        found.append(row)
    return found


def take(work: Work, folder: Path, number: int) -> bool:
    """Give `work` what a finished step left; False where that is damaged."""
    try:
        opened = artifact.load(folder / "model")
    except ArtifactError as error:
        work.log(f"step {number} was done before, but what it left is damaged ({error}): it is done again")
        return False
    work.model, work.tokenizer = opened.model, opened.tokenizer
    return True


def meanwhile(work: Work, folder: Path, number: int) -> dict[str, Any] | None:
    """A step that another process has finished since the steps folder was looked through; `work` has it then."""
    found = rows([folder], lambda _: None)
    if not found or not take(work, folder, number):
        return None
    work.log(f"step {number} ({found[0]['step']}) was done by another process: taken up")
    return found[0]
