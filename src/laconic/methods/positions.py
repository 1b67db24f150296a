"""Cut the table of learned positions to the length of the task's texts.

No paper: rows that no example reaches hold nothing the task uses.
"""

import copy
from dataclasses import dataclass, replace
from typing import ClassVar

from laconic import options
from laconic.contracts import Sketch, Work
from laconic.data.batching import lengths

STEP = 32  # the longest training example is rounded up to a multiple of this, as room for longer ones


@dataclass(frozen=True)
class Positions:
    """Room for `tokens` pieces; without it, for the longest training example, rounded up to a multiple of 32.

    A model without such a table (of relative or rotated positions) passes as it is, unless `tokens` are asked for.
    """

    tokens: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset()
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"narrow", "shallow", "tied", "small_vocabulary", "low_rank", "grouped"}
    )
    touches: ClassVar[frozenset[str]] = frozenset({"positions"})

    def check(self) -> None:
        """Raise RecipeError when there is room for fewer than 2 pieces."""
        if self.tokens is not None:
            options.whole("tokens", self.tokens, least=2)

    def forecast(self, sketch: Sketch) -> Sketch:
        """With the rows asked for, where a number is given."""
        return replace(sketch, positions=min(sketch.positions, self.tokens or sketch.positions))

    def apply(self, work: Work) -> None:
        """Cut the table; the tokenizer truncates texts to it. AnatomyError for `tokens` where there is no table."""
        now = work.anatomy.positions
        if now is None and self.tokens is None:
            work.log("positions: the model has no table of them")
            return
        features = work.task.encode(work.data.train, work.tokenizer, answers=False)
        longest = max(lengths(features), default=STEP)
        tokens = self.tokens or min(-(-longest // STEP) * STEP, now or longest)
        work.anatomy.trim_positions(tokens)
        work.tokenizer = copy.deepcopy(work.tokenizer)  # the teacher may hold the same one
        work.tokenizer.model_max_length = tokens
        work.log(f"positions: room for {tokens} of {now} tokens is kept; the longest training example has {longest}")
