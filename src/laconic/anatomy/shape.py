"""A model's dimensions as JSON, and a stock model brought to them.

No paper: what a Hugging Face config can't say (heads of single blocks, a hidden size that heads do not divide).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from laconic.anatomy import blocks, heads, neurons, vocabulary
from laconic.anatomy.parts import Attention, Stack
from laconic.anatomy.read import at
from laconic.anatomy.sizes import configs
from laconic.errors import AnatomyError

if TYPE_CHECKING:
    from laconic.anatomy import Anatomy

TOKENS = "_token_id"  # config fields that name a token end so
ENDS = "eos_token_id"  # the only one of them that can name several tokens
PARTS = {"family", "hidden", "vocabulary", "padding", "tokens", "positions", "token_types", "stacks"}
TYPES = 1024  # token types: more than any task tells apart, and few enough to make room for
SCALING = 1e6  # far above any attention's


def describe(anatomy: Anatomy) -> dict[str, Any]:
    """Every dimension that surgery can change, as JSON."""
    config = anatomy.model.config
    tokens = {name: value for name, value in config.to_dict().items() if name.endswith(TOKENS)}
    return {
        "family": anatomy.family,
        "hidden": anatomy.hidden,
        "vocabulary": anatomy.vocabulary,
        "padding": anatomy.padding,
        "tokens": tokens,
        "positions": anatomy.positions,
        "token_types": anatomy.token_types,
        "stacks": [_stack(anatomy, stack) for stack in anatomy.stacks],
    }


def reshape(anatomy: Anatomy, shape: dict[str, Any]) -> None:
    """Cut an empty stock model to a described shape, in place; which entries go does not matter, for they are empty.

    Raises AnatomyError for a shape of another family, one that is larger than the model, incomplete or damaged.
    """
    if lacking := PARTS - set(shape):
        raise AnatomyError(f"the shape says nothing of {', '.join(sorted(lacking))}; it is damaged, so compress again")
    if shape["family"] != anatomy.family:
        raise AnatomyError(
            f"the shape is of a {shape['family']!r} model and not of {anatomy.family!r}; load the right base"
        )
    if not isinstance(shape["stacks"], list) or len(shape["stacks"]) != len(anatomy.stacks):
        raise AnatomyError(
            f"the shape must list {len(anatomy.stacks)} stacks of blocks; it is damaged, so compress again"
        )
    _check_tokens(anatomy, shape)
    for stack, wanted in zip(anatomy.stacks, shape["stacks"], strict=True):
        _check_stack(stack, wanted)
    _reshape_tables(anatomy, shape)
    gone = _surplus(anatomy.hidden, shape["hidden"], "hidden dimensions")
    if gone:
        anatomy.remove_hidden(gone)
    for i, wanted in enumerate(shape["stacks"]):
        _reshape_stack(anatomy, i, wanted)
    anatomy.refresh()


def _check_tokens(anatomy: Anatomy, shape: dict[str, Any]) -> None:
    words, padding = _count(shape["vocabulary"], "words"), shape["padding"]
    free = padding is None and anatomy.entry.offset is not None  # no position counts from it
    known = padding == anatomy.padding or free or (_whole(padding) and 0 <= padding < words)
    _expect(known, "padding", padding, f"one of {words} words")
    _expect(isinstance(shape["tokens"], dict), "tokens", shape["tokens"], "an object")
    for name, value in shape["tokens"].items():
        several = value if isinstance(value, list) and name == ENDS else [value]
        _expect(value is None or all(map(_whole, several)), name, value, "a word's number")
    if shape["token_types"] is not None:
        types = _count(shape["token_types"], "token types")
        _expect(types <= max(TYPES, anatomy.token_types or 0), "token_types", types, f"at most {TYPES}")


def _check_stack(stack: Stack, wanted: Any) -> None:
    """Types of what a stack's description holds; its sizes are checked where blocks, neurons and heads are cut."""
    rows = wanted.get("blocks") if isinstance(wanted, dict) else None
    _expect(isinstance(rows, list) and "depth" in wanted, stack.path, wanted, "an object with depth and blocks")
    _expect(isinstance(wanted.get("types"), list | None), "types", wanted.get("types"), "a list")
    needed = {"heads", "ffn", "scaling"} | (
        {"cross_heads"} if any(b.cross is not None for b in stack.blocks) else set()
    )
    for row in wanted["blocks"]:
        _expect(
            isinstance(row, dict) and needed <= set(row), "a block", row, f"an object with {', '.join(sorted(needed))}"
        )
        scaling = row["scaling"]
        number = isinstance(scaling, int | float) and not isinstance(scaling, bool)
        fits = scaling is None or (number and abs(scaling) < SCALING)  # GPT-Neo scales nothing
        _expect(fits, "scaling", scaling, f"a number below {SCALING:g}")


def _reshape_tables(anatomy: Anatomy, shape: dict[str, Any]) -> None:
    model, family = anatomy.model, anatomy.entry
    if _surplus(anatomy.vocabulary, shape["vocabulary"], "words"):
        vocabulary.cut(model, family, range(shape["vocabulary"]))
    vocabulary.move_padding(model, family, anatomy.word_embedding, shape["padding"])
    for config in configs(model):
        for name, value in shape["tokens"].items():
            if name.endswith(TOKENS):
                setattr(config, name, value)
    anatomy.refresh()
    if shape["positions"] != anatomy.positions:
        _surplus(anatomy.positions or 0, shape["positions"], "positions")
        anatomy.trim_positions(shape["positions"])
    if shape["token_types"] != anatomy.token_types:
        anatomy.widen_token_types(_count(shape["token_types"], "token types"))


def _reshape_stack(anatomy: Anatomy, i: int, wanted: dict[str, Any]) -> None:
    stack, entry = anatomy.stacks[i], anatomy.stack_entry(anatomy.stacks[i])
    surplus = _surplus(stack.depth, wanted["depth"], f"blocks in {stack.path}")
    if surplus:
        kept = _kept(anatomy, stack, wanted)
        blocks.remove(anatomy.model, stack, entry, sorted(set(range(stack.depth)) - set(kept)))
        anatomy.refresh()
    stack = anatomy.stacks[i]
    if len(wanted["blocks"]) != len(stack.blocks):
        raise AnatomyError(f"the shape must describe {len(stack.blocks)} blocks of {stack.path}; it is damaged")
    for block, described in zip(stack.blocks, wanted["blocks"], strict=True):
        gone = _surplus(block.ffn.size, described["ffn"], f"neurons in {block.path}")
        if gone:
            neurons.remove(anatomy.model, block.ffn, gone)
        _reshape_heads(anatomy, block.attention, described["heads"], described["scaling"])
        if block.cross is not None:
            _reshape_heads(anatomy, block.cross, described["cross_heads"], described["scaling"])


def _reshape_heads(anatomy: Anatomy, attention: Attention, wanted: int, scaling: float | None) -> None:
    gone = _surplus(attention.heads, wanted, f"heads in {attention.path}")
    if gone:
        heads.remove(anatomy.model, attention, gone)
    if scaling is not None:
        module: Any = at(anatomy.model, attention.path)
        module.scaling = float(scaling)


def _kept(anatomy: Anatomy, stack: Stack, wanted: dict[str, Any]) -> list[int]:
    """Which stock blocks can stand for those that are left: the first of the right type (full or sliding attention)."""
    types = blocks.kinds(anatomy.model.config, stack.depth)
    if types is None or wanted.get("types") is None:
        return list(range(wanted["depth"]))
    kept: list[int] = []
    for kind in wanted["types"]:
        after = kept[-1] + 1 if kept else 0
        found = next((k for k in range(after, stack.depth) if types[k] == kind), None)
        if found is None:
            raise AnatomyError(
                f"{stack.path} has no blocks of types {wanted['types']} in this order; load the right base"
            )
        kept.append(found)
    return kept


def _stack(anatomy: Anatomy, stack: Stack) -> dict[str, Any]:
    described = []
    for block in stack.blocks:
        scaling = getattr(anatomy.model.get_submodule(block.attention.path), "scaling", None)
        row = {"heads": block.attention.heads, "ffn": block.ffn.size, "scaling": scaling}
        described.append(row if block.cross is None else {**row, "cross_heads": block.cross.heads})
    types = blocks.kinds(anatomy.model.config, stack.depth)
    return {"depth": stack.depth, "blocks": described, **({"types": types} if types else {})}


def _surplus(now: int, wanted: Any, what: str) -> list[int]:
    """The last entries, those above what is wanted."""
    if _count(wanted, what) > now:
        raise AnatomyError(f"the shape has {wanted} {what}, but the model only {now}; load the base it was cut from")
    return list(range(wanted, now))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _expect(holds: bool, what: str, value: Any, wanted: str) -> None:
    if not holds:
        raise AnatomyError(f"the shape says {what} is {str(value)[:40]}; it must be {wanted}, so it is damaged")


def _count(value: Any, what: str) -> int:
    if not _whole(value) or value < 1:
        raise AnatomyError(f"the shape says {value!r} {what}; it must be a whole number from 1, so it is damaged")
    return int(value)
