"""Rewrite a tokenizer to a subset of its pieces, such that any text still encodes.

No paper: a subset that holds what a text was cut into, and what spells any other, cuts that text as before
(`wordpiece`, `bpe` and `unigram` say why, each for its own rule).
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Literal, Protocol

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from laconic.errors import AnatomyError, RecipeError
from laconic.subwords.bpe import BPE
from laconic.subwords.unigram import Unigram
from laconic.subwords.wordpiece import WordPiece

Characters = Literal["all", "seen"]
"""Which characters stay spelled: all that the vocabulary holds, or those of the pieces that were counted."""


class Pieces(Protocol):
    """The `model` section of a `tokenizer.json`: what its pieces are, and what each needs."""

    pieces: dict[str, int]  # ids
    unknown: str | None  # the piece for what can't be encoded

    def characters(self, piece: str) -> set[str]:
        """The characters a piece stands for."""
        ...

    def spelling(self, characters: Set[str] | None) -> set[str]:
        """Pieces with which any text of these characters (None: of all) encodes."""
        ...

    def reachable(self, piece: str) -> bool:
        """Whether some text is cut into this piece."""
        ...

    def parts(self, piece: str) -> Iterable[str]:
        """Pieces that must be there for this one to be made, itself among them."""
        ...

    def cut(self, kept: Sequence[str]) -> dict[str, Any]:
        """The section with these pieces only, numbered in this order."""
        ...


KINDS: dict[str, Callable[[dict[str, Any]], Pieces]] = {"WordPiece": WordPiece, "BPE": BPE, "Unigram": Unigram}


def prune(
    tokenizer: PreTrainedTokenizerFast,
    counts: Mapping[int, int],
    *,
    tokens: int | None = None,
    min_count: int = 1,
    extra: float = 0,
    characters: Characters = "all",
    required: Collection[int] = (),
) -> tuple[PreTrainedTokenizerFast, list[int]]:
    """A new tokenizer with fewer pieces, and the original id of each of its own, in order.

    Kept are added and special tokens, `required` ids, what spells `characters`, and then, commonest first, pieces of
    `counts` (id: times) seen `min_count` times or more, then `extra` of the others that a text can hold, in the
    original's order: a number of pieces, or a share below 1. `tokens` is the most pieces there may be. With every
    piece kept the tokenizer given comes back. Raises AnatomyError for a tokenizer that can't spell, RecipeError where
    `tokens` is too few.
    """
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = _kind(data)
    known = _known(data, kind)
    names = {i: piece for piece, i in known.items()}
    used = [names[i] for i in sorted(counts, key=lambda i: (-counts[i], i)) if counts[i] > 0 and i in names]
    seen = {letter for piece in used if piece in kind.pieces for letter in kind.characters(piece)}
    kept = kind.spelling(None if characters == "all" else seen) | _fixed(data, kind)
    kept |= {names[i] for i in required if i in names}
    kept = {part for piece in kept for part in kind.parts(piece)}
    if tokens is not None and len(kept) > tokens:
        raise RecipeError(
            f"vocabulary: {tokens} tokens can't spell any text; give at least {len(kept)}, or characters 'seen'"
        )
    common = [piece for piece in used if counts[known[piece]] >= min_count]
    _add(kept, common, kind, tokens)
    rest = [names[i] for i in sorted(names) if names[i] not in kept and kind.reachable(names[i])]
    _add(kept, rest[: int(extra * len(rest)) if extra < 1 else int(extra)], kind, tokens)
    if len(kept) == len(known):
        return tokenizer, sorted(names)
    order = sorted(kept, key=lambda piece: (piece not in kind.pieces, known[piece]))
    new = {piece: i for i, piece in enumerate(order)}
    return _wrap(_renumbered(data, kind, new), new, tokenizer), [known[piece] for piece in order]


def lost_words(old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast) -> list[str]:
    """Words that `old` reads as one piece and `new` as several, as written in small, with a capital, or in capitals."""
    pieces = {text.strip() for text in old.batch_decode([[i] for i in range(len(old))])}
    plain = {piece for piece in pieces if piece.isalpha() and len(piece) > 1}
    written = sorted({form for piece in plain for form in (piece, piece.capitalize(), piece.upper())})
    before, after = (t(written, add_special_tokens=False)["input_ids"] if written else [] for t in (old, new))
    return [word for word, b, a in zip(written, before, after, strict=True) if len(b) == 1 < len(a)]


def ids_in(old: PreTrainedTokenizerFast, new: PreTrainedTokenizerFast) -> list[int]:
    """The id in `old` of each piece of `new`; AnatomyError for a piece that it lacks."""
    before, after = old.get_vocab(), new.get_vocab()
    lacking = sorted(after.keys() - before.keys())
    if lacking:
        raise AnatomyError(f"the tokenizers differ ({lacking[0]!r} is in one only); one must be cut from the other")
    return [before[piece] for piece in sorted(after, key=lambda piece: after[piece])]


def _kind(data: dict[str, Any]) -> Pieces:
    name = data["model"].get("type")
    if name not in KINDS:
        raise AnatomyError(
            f"a {name} tokenizer can't be cut: it can't spell what it loses (those that can: {', '.join(KINDS)}); "
            "leave vocabulary out"
        )
    return KINDS[name](data)


def _known(data: dict[str, Any], kind: Pieces) -> dict[str, int]:
    """Ids of all pieces, added tokens among them."""
    return {**{token["content"]: token["id"] for token in data["added_tokens"]}, **kind.pieces}


def _fixed(data: dict[str, Any], kind: Pieces) -> set[str]:
    """Pieces that the tokenizer itself names."""
    fixed = {token["content"] for token in data["added_tokens"]}
    fixed |= {piece for step in _processors(data) for piece, _ in _named(step)}
    fixed |= {data["padding"]["pad_token"]} if data["padding"] else set()
    return (fixed | {kind.unknown or ""}) & _known(data, kind).keys()


def _add(kept: set[str], pieces: Iterable[str], kind: Pieces, tokens: int | None) -> None:
    """Add pieces with their parts, passing over what would make more than `tokens`."""
    for piece in pieces:
        more = set(kind.parts(piece)) - kept
        if tokens is None or len(kept) + len(more) <= tokens:
            kept |= more


def _processors(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps that put special tokens around a text."""
    step = data["post_processor"] or {}
    yield from step.get("processors", [step])


def _named(step: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Tokens and ids that such a step names: BERT's and RoBERTa's as cls and sep, a template's as special tokens."""
    yield from (tuple(step[key]) for key in ("cls", "sep") if key in step)
    for special in step.get("special_tokens", {}).values():
        yield from zip(special["tokens"], special["ids"], strict=True)


def _renumbered(data: dict[str, Any], kind: Pieces, new: dict[str, int]) -> dict[str, Any]:
    """The whole `tokenizer.json` with the pieces and ids of `new`."""
    data["model"] = kind.cut([piece for piece in new if piece in kind.pieces])
    for token in data["added_tokens"]:
        token["id"] = new[token["content"]]
    if data["padding"]:
        data["padding"]["pad_id"] = new.get(data["padding"]["pad_token"], 0)
    for step in _processors(data):
        for key in ("cls", "sep"):
            if key in step:
                step[key] = [step[key][0], new[step[key][0]]]
        for special in step.get("special_tokens", {}).values():
            special["ids"] = [new[piece] for piece in special["tokens"]]
    return data


def _wrap(data: dict[str, Any], new: dict[str, int], old: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The tokenizer that `data` describes, with the settings that transformers keeps beside it."""
    backend = Tokenizer.from_str(json.dumps(data, ensure_ascii=False))
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        model_max_length=old.model_max_length,
        padding_side=old.padding_side,
        truncation_side=old.truncation_side,
        model_input_names=list(old.model_input_names),
        clean_up_tokenization_spaces=old.clean_up_tokenization_spaces,
        chat_template=old.chat_template,
        extra_special_tokens=list(old.extra_special_tokens),
        **old.special_tokens_map,
    )
    wrong = [piece for piece, i in new.items() if backend.token_to_id(piece) != i]
    if wrong or len(tokenizer) != len(new):
        named = ", ".join(wrong[:3]) or "its pieces"
        raise AnatomyError(f"the cut tokenizer numbers {named} otherwise than asked; leave vocabulary out")
    return tokenizer
