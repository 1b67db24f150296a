"""Find the units of a folder: one file, one class that carries the file's name.

No paper: discovery by file name, so that adding a unit edits no other file.
"""

import importlib
import pkgutil
from difflib import get_close_matches
from types import ModuleType

from laconic.errors import LaconicError


def names(package: ModuleType) -> list[str]:
    """File names of a package's units, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def find(package: ModuleType, name: str, error: type[LaconicError]) -> type:
    """The class of unit `name`; raises `error` naming the nearest known one."""
    known = names(package)
    kind = package.__name__.rsplit(".", 1)[-1]
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise error(f"there is no {name!r} among the {kind}{hint} (known: {', '.join(known)})")
    module = importlib.import_module(f"{package.__name__}.{name}")
    plain = name.replace("_", "")
    for attribute, value in vars(module).items():
        if isinstance(value, type) and value.__module__ == module.__name__ and attribute.lower() == plain:
            return value
    raise error(f"{module.__name__} must hold a class named like its file, {plain!r} in any case")
