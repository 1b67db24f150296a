"""Keep some words of the vocabulary: rows of embeddings and of language-model heads, with their biases.

Abdaoui et al. 2020, arXiv:2010.05609 (load what a language needs).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from transformers import PreTrainedModel

from laconic.anatomy import positions
from laconic.anatomy.cut import growing, keep
from laconic.anatomy.names import Family
from laconic.anatomy.sizes import configs
from laconic.errors import AnatomyError


def padding(model: PreTrainedModel, words: str) -> int | None:
    """The id the model itself takes for padding: of the module that looks words up, else of the config."""
    holder = model.get_submodule(words.rpartition(".")[0])
    for module in (holder, model.get_submodule(words)):
        if vars(module).get("padding_idx") is not None:
            return int(vars(module)["padding_idx"])
    return cast("int | None", model.config.pad_token_id)


def select(model: PreTrainedModel, family: Family, words: str, rows: int, ids: Sequence[int]) -> None:
    """Token ids[i] becomes token i, in place; the padding id moves with its row.

    Raises AnatomyError for an id that isn't there or is named twice, and where the encoder's and the decoder's
    vocabularies are two.
    """
    outside = sorted(i for i in ids if not 0 <= i < rows)
    if outside or not ids or len(set(ids)) < len(ids):
        what = f"no id {outside[0]}" if outside else "no use for an empty list" if not ids else "each id once"
        raise AnatomyError(f"{words} has {rows} rows, 0 to {rows - 1}, and {what}; keep different ids among those")
    old = padding(model, words)
    new = ids.index(old) if old in ids else None
    if new is None and old is not None and family.offset is None:
        raise AnatomyError(f"{words} counts positions from the padding id {old}; keep it among the ids")
    cut(model, family, ids)
    move_padding(model, family, words, new)


def cut(model: PreTrainedModel, family: Family, ids: Sequence[int]) -> None:
    """Keep the rows and let the padding stand where it is."""
    if not getattr(model.config, "share_encoder_decoder_embeddings", True):
        raise AnatomyError("encoder and decoder have vocabularies of their own; only a shared vocabulary can be cut")

    def widen(config: Any, more: int) -> None:
        for field in family.vocabulary:
            setattr(config, field, int(getattr(config, field)) + more)

    keep(model, growing(model, family, widen, buffers=True), ids)
    for config in configs(model):
        for field in family.vocabulary:
            setattr(config, field, len(ids))


def move_padding(model: PreTrainedModel, family: Family, words: str, new: int | None) -> None:
    """Let every module take another id for padding; where positions count from it, their rows move along."""
    old = padding(model, words)
    if old == new:
        return
    if family.offset is None and old is not None and new is not None:
        positions.shift(model, family, old, new)
    for module in model.modules():
        if vars(module).get("padding_idx") is not None:
            module.padding_idx = cast(Any, new)
