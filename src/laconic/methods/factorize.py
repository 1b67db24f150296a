"""Replace the word embedding by a narrow table and a projection to the hidden size.

Lan et al. 2020, arXiv:1909.11942 (ALBERT's factorized embedding); Chen et al. 2018, arXiv:1806.06950 (GroupReduce: rows
weighed by how often their words come). The factors are those of least squared error, not trained from the start.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from laconic import layers, options
from laconic.calibration.encoded import encoded
from laconic.contracts import Sketch, Work
from laconic.layers.lowrank import LowRank
from laconic.maths import factor


@dataclass(frozen=True)
class Factorize:
    """Table and projection hold the fraction `keep` of the table's parameters, or have `rank`; a tied head follows.

    `weighted`: the error of a word's row counts as often as training has it, and once more.
    """

    keep: float = 0.5
    rank: int | None = None
    weighted: bool = True

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"low_rank"})
    keeps: ClassVar[frozenset[str]] = frozenset(
        {"narrow", "shallow", "tied", "small_vocabulary", "low_rank", "grouped"}
    )
    touches: ClassVar[frozenset[str]] = frozenset({"words"})

    def check(self) -> None:
        """Raise RecipeError for a fraction or rank that cannot work."""
        options.rank(self)

    def forecast(self, sketch: Sketch) -> Sketch:
        """Fewer numbers for each word, written as fewer bits of each number."""
        share = self.keep if self.rank is None else min(1.0, self.rank / sketch.hidden)
        words = sketch.vocabulary / max(sketch.vocabulary + sketch.positions, 1)
        return replace(sketch, embedding_bits=sketch.embedding_bits * (1 - words + words * share))

    @torch.no_grad()
    def apply(self, work: Work) -> None:
        """Split the table in place; whatever shares it reads the factors."""
        path = work.anatomy.word_embedding
        module = work.model.get_submodule(path)
        table = layers.take(module).weight  # (rows, width)
        rank = LowRank.smaller(table.shape, self.keep, self.rank)
        if rank is None or (isinstance(module, LowRank) and module.rank <= rank):
            return
        weights = torch.ones(len(table), dtype=torch.float64, device=table.device)  # (rows,)
        if self.weighted:
            for token, count in Counter(
                i for ids in encoded(work, work.data.train, work.tokenizer) for i in ids
            ).items():
                weights[token] += count
        root = weights.sqrt()[:, None]
        left, right = factor.truncate(table.double() * root, rank)
        layers.swap(work.model, path, LowRank.of(module, left / root, right))
