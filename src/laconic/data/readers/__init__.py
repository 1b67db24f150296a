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
def known() -> dict[str, ModuleType]:
    """The reader of every suffix, such as '.jsonl'."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {suffix: module for module in modules for suffix in module.SUFFIXES}


def read(path: Path) -> Iterator[tuple[int | None, Raw]]:
    """Yield (line, record) of a file whose suffix is known; raises DataError naming the line that cannot be read."""
    return cast("Iterator[tuple[int | None, Raw]]", known()[path.suffix.lower()].read(path))
