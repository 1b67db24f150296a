"""The records in which `families.py` says where the parts of an architecture are.

No paper: names taken from transformers 5's modeling files. What follows the hidden size, the vocabulary or the
positions is not listed: `cut.growing` reads it off two empty models.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Heads:
    """An attention's paths below its block: the module that holds the counts, the projections, the head size's name.

    One path as q, k and v means that one matrix holds them, below one another: all of q, then k, then v.
    """

    path: str
    q: str
    k: str
    v: str
    o: str
    size: str
    by_head: bool = False  # GPT-NeoX: one matrix holds q, k and v of the first head, then those of the next


@dataclass(frozen=True)
class Blocks:
    """A list of blocks below the base model, the parts of a block, and the config fields that say their sizes."""

    path: str
    attention: Heads
    inputs: tuple[str, ...]  # up, then gate; those that a block has are taken
    output: str
    cross: Heads | None = None
    inner: str | None = None  # ALBERT: the list holds groups, and the blocks are in this list of each
    fused: bool = False  # Phi-3: the one matrix of `inputs` holds gate and up, below one another
    norms: tuple[str, str | None, str] | None = None  # before attention, cross-attention and feed-forward; else behind
    altered: bool = False  # what attention and feed-forward give is normed (Gemma 2) or scaled (Granite) first
    shared_heads: bool = False  # T5 has one relative bias, Phi-3 one count for all blocks: heads go from all at once
    depth: str = "num_hidden_layers"
    ffn: str = "intermediate_size"
    heads: str = "num_attention_heads"
    kv_heads: str | None = None


@dataclass(frozen=True)
class Family:
    """One architecture; paths are below the base model, other names are config fields."""

    words: tuple[str, ...]  # the first that the model has is its word embedding
    stacks: tuple[Blocks, ...]  # those that the model has are taken
    positions: tuple[str, ...] = ()  # position tables
    offset: int | None = 0  # rows of a position table before the first position; None: padding id + 1
    types: str | None = None  # token type table
    projection: str | None = None  # from the embeddings' width to the hidden size
    hidden: str = "hidden_size"
    embedding: str | None = None  # the embeddings' width, where it has a field of its own
    vocabulary: tuple[str, ...] = ("vocab_size",)
    head_size: str | None = None
    rotary: str | None = None  # the head size's field, where rotary frequencies alone follow it
    final: str | None = None  # the norm after the last block, where all norms are RMS norms and stand first: rotatable
    plus: float = 0.0  # what norms add to their weight: Gemma's multiply by 1 + weight
    pooled: bool = True  # a sequence classification head reads one position
    refused: tuple[str, ...] = ()  # config flags with which a model has parts that this entry does not name
    needed: tuple[str, ...] = ()  # config flags without which parts are missing, or stand elsewhere
