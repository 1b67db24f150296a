"""Laconic: make language models say the same with less.

No paper: the public names, imported when first asked for, so that `laconic --help` need not wait for PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from laconic.finetune import train
    from laconic.predict import load
    from laconic.prove import compare
    from laconic.recipe import Recipe
    from laconic.run import compress
    from laconic.training import Training

__version__ = "0.1.0"
__all__ = ["Recipe", "Training", "compare", "compress", "load", "train"]

HOMES = {
    "Recipe": "recipe",
    "Training": "training",
    "compare": "prove",
    "compress": "run",
    "load": "predict",
    "train": "finetune",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'laconic' has no attribute {name!r}")
    return getattr(importlib.import_module(f"laconic.{HOMES[name]}"), name)
