"""A described model before it has weights: sizes that cannot be, what can't be built, its reach and the room it takes.

No paper: the model on PyTorch's `meta` device, where a tensor has a shape and takes no memory.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from laconic import machine, optimizers, options
from laconic.anatomy import Anatomy
from laconic.errors import RecipeError

SIZE = re.compile(r"^(d|n|num)_|_(size|dim|layers|heads|positions|position_embeddings)$")
MAY_BE_NONE = ("max_window_layers",)  # that read a window and not all before them
FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
BYTES = 4  # of a weight while it is trained


def sizes(model: dict[str, Any], kind: type[PreTrainedConfig], where: str) -> None:
    """Raise RecipeError for a size of a configuration of that kind that is no whole number of at least 1.

    A size is what has a name of one and is a whole number where nothing is given, or left open.
    """
    bare = kind()
    for key, value in model.items():
        usual = getattr(bare, key, None)
        named = SIZE.search(key) and key not in MAY_BE_NONE
        if named and value is not None and not isinstance(usual, bool | float | str | list | dict):
            options.whole(f"{where}: {key}", value, 0 if usual == 0 else 1)


def blank(auto: Any, described: PreTrainedConfig, where: str) -> PreTrainedModel:
    """The model that `auto` makes of a configuration, without weights; RecipeError where that cannot be built."""
    try:
        with torch.device("meta"):
            made: PreTrainedModel = auto.from_config(described)
    except FAULTS as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        named = [f"{key} is {value!r}" for key, value in described.to_dict().items() if repr(value) == str(error)]
        raise RecipeError(
            f"{where}: transformers can't build it ({'; '.join([*named, said])[:200]}); give other sizes or names"
        ) from error
    return made


def reach(made: PreTrainedModel) -> int | None:
    """Tokens of the longest text that a model is made for, by its learned positions or by its configuration."""
    learned = Anatomy(made).positions
    return getattr(made.config, "max_position_embeddings", None) if learned is None else learned


def spans(made: PreTrainedModel, block: int) -> None:
    """Raise RecipeError where a block is longer than what the model is made for."""
    longest = reach(made)
    if longest is not None and longest < block:
        raise RecipeError(
            f"a block is {block} tokens and the model has {longest} positions; give it more, or less block"
        )


def fits(made: PreTrainedModel, optimizer: str, where: str, processes: int = 1) -> None:
    """Raise RecipeError where the machine has less memory than training takes for weights alone.

    `processes` deal a model out among them, each with a GPU.
    """
    copies = 2 + optimizers.KEPT[optimizer]  # the weights, their gradients, and what the optimizer holds of them
    needed = copies * BYTES * sum(weight.numel() for weight in made.parameters())
    device = machine.device()
    there = machine.memory() if device.type == "cpu" else torch.cuda.get_device_properties(device).total_memory
    if there is not None and needed > there * processes:
        raise RecipeError(
            f"{where}: {made.num_parameters():,} weights take {needed:,} bytes to train by {optimizer}, and there are "
            f"{there * processes:,} bytes of memory; give a smaller model"
        )
