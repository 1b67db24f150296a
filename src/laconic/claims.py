"""Whether a step did what its method says: what it makes grew, what was made before is there, all numbers are finite.

No paper: checks.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from laconic import effects, layers
from laconic.contracts import Method
from laconic.errors import EffectError


def broken(model: nn.Module) -> list[str]:
    """Names of tensors that hold numbers which are not finite; of buffers those of our own layers."""
    own = (
        (f"{path}.{name}", b) for path, layer in layers.held(model) for name, b in layer.named_buffers(recurse=False)
    )
    return [name for name, tensor in (*model.named_parameters(), *own) if not bool(tensor.isfinite().all())]


def finite(model: nn.Module, method: Method, step: str) -> None:
    """Raise EffectError where a step left numbers that no later one can mend, before they are kept."""
    if lost := broken(model):
        rate = getattr(method, "learning_rate", None)
        advice = "leave the step out, or ask it for less" if rate is None else f"give a learning_rate below {rate:g}"
        raise EffectError(
            f"{step} left numbers that are not finite in {len(lost)} tensors, such as {lost[0]}; {advice}"
        )


def made(method: Method, before: dict[str, float], after: dict[str, float], step: str) -> None:
    """Raise EffectError where the model has no more than before of what the method says that it makes."""
    for property in sorted(method.makes):
        if not effects.grew(before, after, property):
            raise EffectError(
                f"{step} says it makes the model {property}, but that did not grow (it was "
                f"{before[property]:.6g} and is {after[property]:.6g}); "
                "ask it for more or leave the step out"
            )


def kept(earlier: list[Method], amounts: list[dict[str, float]], step: str) -> None:
    """Raise EffectError where too little is left of what an earlier method made; the last of the amounts are now's."""
    now = amounts[-1]
    for number, (method, (start, made)) in enumerate(zip(earlier, pairwise(amounts[:-1]), strict=True), 1):
        for property in sorted(method.makes):
            if effects.lost(start, made, now, property):
                grown = made[property] - start[property]
                there = max(0.0, effects.left(start, made, now, property))
                raise EffectError(
                    f"{step} says it keeps what step {number} made {property}, but of a growth by {grown:.6g}, "
                    f"{there:.6g} is left; move it before step {number} or leave it out"
                )
