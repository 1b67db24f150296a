"""How many bits a model and the data take together: the description length of the answers.

Rissanen 1978, Modeling by shortest data description; Hinton and van Camp 1993 for counting a network's weights in it.
Differs from the papers: the bits of the model are those of its folder on disk, tokenizer and manifest included, and
the data are the answers, given the texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from laconic.contracts import Example, Feature
from laconic.errors import DataError


class Coding(Protocol):
    """What of a task this measure asks."""

    def bits(self, outputs: Sequence[Any], features: Sequence[Feature], examples: Sequence[Example]) -> float:
        """Bits to write down the examples' answers with these outputs."""
        ...

    def answers(self, example: Example) -> int:
        """How many answers an example has."""
        ...

    def unit(self, example: Example) -> str:
        """What is counted of it."""
        ...


@dataclass(frozen=True)
class Bits:
    """Bits of the answers under the model, of the model, and of both."""

    answers: int  # how many answers were written down: labels, words' tags, or bytes of text
    bits_per_answer: float  # cross-entropy
    data_bits: float
    model_bits: int
    description_length_bits: float
    unit: str  # what was counted, as the task calls it; "answer" where examples differ in it


def take(
    task: Coding,
    outputs: Sequence[Any],
    features: Sequence[Feature],
    examples: Sequence[Example],
    *,
    model_bytes: int,
) -> Bits:
    """Weigh `outputs`, one per feature as the task keeps them, and a model folder of `model_bytes` bytes."""
    answers = sum(map(task.answers, examples))
    if not answers:
        raise DataError("there are no answers to write down; give at least one example with its answer")
    data_bits = float(task.bits(outputs, features, examples))
    model_bits = 8 * model_bytes
    units = {task.unit(example) for example in examples}
    unit = units.pop() if len(units) == 1 else "answer"
    return Bits(answers, data_bits / answers, data_bits, model_bits, model_bits + data_bits, unit)
