"""Readers, one file per format: `SUFFIXES` it is known by, and `read(path)`, which yields (line, record).

No paper: discovery. `line` is where in the file the record begins, counted from 1, or None where a format has no lines.
"""

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import cast

from laconic.data.records import Raw


@cache
def formats() -> list[ModuleType]:
    """Every reader."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names]


@cache
def known(kind: str = "") -> dict[str, ModuleType]:
    """The reader of every suffix, such as '.jsonl', for the task called `kind`.

    A suffix that a reader has for one task only (`ONLY`) is another reader's for the others.
    """
    found = {suffix: module for module in formats() for suffix in module.SUFFIXES}
    return found | {
        suffix: module
        for module in formats()
        for only, suffixes in getattr(module, "ONLY", {}).items()
        for suffix in suffixes
        if only == kind
    }


def read(path: Path, kind: str = "") -> Iterator[tuple[int | None, Raw]]:
    """Yield (line, record) of a file whose suffix is known; raises DataError naming the line that cannot be read."""
    return cast("Iterator[tuple[int | None, Raw]]", known(kind)[path.suffix.lower()].read(path))
