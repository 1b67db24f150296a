"""Keep the pieces that the training text uses and those that spell any other text; cut the rest, and their rows.

Abdaoui et al. 2020, arXiv:2010.05609 (Load what you need); Ushio et al. 2023, arXiv:2305.15020 (vocabulary trimming).
Differs from the papers: whatever the tokenizer needs stays, so that no text becomes unknown that was not, and training
text is cut into the same pieces as before, with the same outputs of the model.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, get_args

from transformers import PreTrainedConfig

from laconic import options, subwords
from laconic.calibration.encoded import encoded
from laconic.contracts import Sketch, Work
from laconic.errors import RecipeError
from laconic.subwords import Characters

LISTS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")  # settings of generation that hold ids


@dataclass(frozen=True)
class Vocabulary:
    """At most `tokens` pieces (all that are used, without it), each seen `min_count` times or more in training.

    `extra` more in the original's order, where many vocabularies put the common first: a number, or a share below 1.
    `characters` "all" keeps every character spelled that was; "seen" only those of training, the rest becomes bytes
    where the tokenizer has them and unknown where not.
    """

    tokens: int | None = None
    min_count: int = 1
    extra: float = 0
    characters: Characters = "all"

    needs: ClassVar[frozenset[str]] = frozenset({"calibration"})
    makes: ClassVar[frozenset[str]] = frozenset({"small_vocabulary"})
    keeps: ClassVar[frozenset[str]] = frozenset({"narrow", "shallow", "tied", "small_vocabulary"})
    touches: ClassVar[frozenset[str]] = frozenset({"words", "positions"})  # which can count from the padding id

    def check(self) -> None:
        """Raise RecipeError when a count is negative or the characters are not a choice of `Characters`."""
        if self.tokens is not None:
            options.whole("tokens", self.tokens)
        options.whole("min_count", self.min_count)
        if self.extra < 0 or (self.extra >= 1 and self.extra % 1):
            raise RecipeError(
                f"extra is {self.extra}; give a whole number of pieces, or a share below 1 of those not used"
            )
        options.choice("characters", self.characters, get_args(Characters))

    def forecast(self, sketch: Sketch) -> Sketch:
        """With the used pieces and the extra ones; what spells other text is not foreseen."""
        kept = sketch.vocabulary
        if sketch.used_tokens is not None:
            rest = kept - sketch.used_tokens
            kept = sketch.used_tokens + min(rest, int(self.extra * rest if self.extra < 1 else self.extra))
        return replace(sketch, vocabulary=min(kept, self.tokens or kept))

    def apply(self, work: Work) -> None:
        """Cut tokenizer, embeddings and head, and renumber the ids in the model's configuration."""
        old, settings = work.tokenizer, _settings(work.model)
        texts = [*work.data.train, *work.data.unlabelled]
        counts = Counter(i for ids in encoded(work, texts, old) for i in ids)
        tokenizer, kept = subwords.prune(
            old,
            counts,
            tokens=self.tokens,
            min_count=self.min_count,
            extra=self.extra,
            characters=self.characters,
            required={i for where in settings for i in _ids(where)},
        )
        if len(kept) == len(old):
            work.idle = f"all {len(kept):,} pieces are used or asked for"
            return
        work.anatomy.keep_vocabulary(kept)
        new = {i: place for place, i in enumerate(kept)}
        for where in settings:
            renumber(where, new)
        work.tokenizer = tokenizer
        before, after = (sum(map(len, encoded(work, work.data.validation, t))) for t in (old, tokenizer))
        longer = f"; validation text takes {after / before - 1:.1%} more" if before else ""
        work.log(f"vocabulary: {len(kept):,} of {len(old):,} pieces are kept{longer}")


def _settings(model: Any) -> list[Any]:
    """Every configuration of a model: its own, those inside it, and that of generation."""
    found = [model.config]
    for config in found:
        found += [inner for inner in vars(config).values() if isinstance(inner, PreTrainedConfig)]
    return found + ([model.generation_config] if model.can_generate() else [])


def _fields(settings: Any) -> Iterator[tuple[str, Any]]:
    for name, value in vars(settings).items():
        if name.endswith(("_token_id", "_token_ids")) or name in LISTS:
            yield name, value


def _ids(settings: Any) -> set[int]:
    """Ids of pieces that a configuration names."""
    found: set[int] = set()
    for _, value in _fields(settings):
        _each(value, found.add)
    return found


def renumber(settings: Any, new: dict[int, int]) -> None:
    """Give a configuration the new ids, in place; an id that never was a piece becomes None."""
    for name, value in list(_fields(settings)):
        setattr(settings, name, _each(value, new.get))


def _each(value: Any, change: Callable[[int], int | None]) -> Any:
    """Change every id in a number or nested list; negative numbers are marks, not ids."""
    if isinstance(value, list | tuple):
        return [_each(item, change) for item in value]
    return change(value) if isinstance(value, int) and value >= 0 else value
