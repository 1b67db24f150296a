"""Processes that train one model together, as torchrun starts them: which one this is, who goes first, the whole model.

No paper: Accelerate's PartialState. A process that nobody started beside others is the first of one. What is heavy is
imported where it is needed, so that the command line can ask how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from laconic.errors import LaconicError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PATIENCE = timedelta(days=1)  # that others wait for what the first does alone, such as cutting all the text
CAUSE = 120  # characters of a foreign error that are passed on


def count() -> int:
    """How many processes work together."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def rank() -> int:
    """This one's number, from 0."""
    return int(os.environ.get("RANK") or 0)


def alone(work: str) -> None:
    """Raise LaconicError where several processes were started for work that is not shared."""
    if count() > 1:
        raise LaconicError(f"{count()} processes were started, and {work} works in one; start it alone")


@contextmanager
def first() -> Iterator[None]:
    """The first process goes through the block before the others do; they find what it has written."""
    if rank() > 0:
        wait()
    yield
    if rank() == 0:
        wait()


def wait() -> None:
    """Go on when every process is here; raises LaconicError where they cannot meet, as when one has ended."""
    if count() == 1:
        return
    import torch
    from accelerate import PartialState

    try:
        group = PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)  # the first call joins it
        group.wait_for_everyone()
    except (RuntimeError, ValueError) as error:
        cause = " ".join(str(error).split())[:CAUSE]
        raise LaconicError(
            f"the processes of this run cannot go on together ({cause}); if another has said why it ended, mend that, "
            "and start them all again"
        ) from error


def can_deal_out() -> bool:
    """Whether Accelerate deals a model out to processes here: several of them, each with a GPU."""
    import torch

    return count() > 1 and torch.cuda.is_available()


def whole(model: PreTrainedModel) -> PreTrainedModel:
    """The model; where FSDP dealt its weights out, the first process has a copy with all of them in memory."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.tensor import DTensor

    if not any(isinstance(weight, DTensor) for weight in model.parameters()):
        return model
    held = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank() > 0:
        return model
    made: PreTrainedModel = type(model)(model.config)
    made.load_state_dict(held)
    made.generation_config = model.generation_config
    return made.eval()  # type: ignore[no-untyped-call, no-any-return]
