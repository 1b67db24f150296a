"""What runs a model, one engine a file, and which of them this machine has.

No paper: an engine's speed is measured, see `docs/results/`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import cast

from laconic import engines, units
from laconic.contracts import Engine
from laconic.errors import EngineError

PACKAGES = {"onnxruntime": ("onnxruntime", "onnx"), "torch": ("torch",)}  # what each needs; the fastest first


def available() -> list[str]:
    """Names of the engines whose packages are installed, the fastest first."""
    return [name for name in PACKAGES if not missing(name)]


def missing(name: str) -> list[str]:
    """The packages that engine `name` needs and this machine lacks."""
    return [package for package in PACKAGES.get(name, ()) if find_spec(package) is None]


def choose(name: str = "auto") -> type[Engine]:
    """The class of an engine, or of the fastest that is installed; raises EngineError for one unknown or missing."""
    if name == "auto":
        name = available()[0]
    if lacking := missing(name):
        raise EngineError(f"the {name} engine needs {' and '.join(lacking)}; install them: pip install 'laconic[onnx]'")
    return cast("type[Engine]", units.find(engines, name, EngineError))
