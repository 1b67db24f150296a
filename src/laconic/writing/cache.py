"""Keys and values of what a model has read, rounded to 8 or 4 bits while it writes: a cache that grows more slowly.

Liu et al. 2024, arXiv:2402.02750 (KIVI): keys share a grid along a channel, since some channels are large throughout,
and values along a token; the last tokens stay floats until they fill a group. A group is rounded once, when it is full.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from transformers import Cache, EncoderDecoderCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from laconic.errors import EngineError
from laconic.maths import grid

BITS = (8, 4)
GROUP = 32  # tokens of a channel, or channels of a token, that share a grid


def check(bits: int) -> None:
    """Raise EngineError for a width that no cache has."""
    if bits not in BITS:
        raise EngineError(
            f"cache_bits is {bits!r}; a cache has {' or '.join(map(str, BITS))} bits, or floats without it"
        )


def empty(model: PreTrainedModel, bits: int) -> Cache:
    """A cache for one batch; an encoder-decoder's is rounded on both sides."""
    one, two = (Cache(layer_class_to_replicate=cast(Any, partial(Rounded, bits))) for _ in range(2))
    return EncoderDecoderCache(one, two) if model.config.is_encoder_decoder else one


def size(cache: Cache) -> int:
    """Bytes of all keys and values that a cache holds."""
    sides = [cache]
    if isinstance(cache, EncoderDecoderCache):
        sides = [cache.self_attention_cache, cache.cross_attention_cache]
    return sum(_bytes(layer) for side in sides for layer in side.layers)


@dataclass(frozen=True)
class Packed:
    """States (batch, heads, tokens, width) on a grid; the first dimension of every tensor is the batch."""

    codes: torch.Tensor  # uint8, (batch, bytes); two codes a byte at 4 bits
    scale: torch.Tensor  # float16, (batch, groups)
    zero: torch.Tensor  # float32, (batch, groups): a number between codes
    shape: tuple[int, int, int]  # heads, tokens, width
    bits: int
    keys: bool

    @classmethod
    def of(cls, states: torch.Tensor, bits: int, *, keys: bool) -> Packed:
        """Min-max grids, along a channel for keys and along a token for values."""
        batch, heads, tokens, width = states.shape
        rows = _rows(states, keys)
        group = _group(width, keys)
        parts = grid.split(rows, group)  # (rows, groups, n)
        low, high = parts.amin(-1), parts.amax(-1)
        scale = grid.upward((high - low) / (2**bits - 1))
        zero = -low / scale
        codes = grid.codes(rows, scale, zero, bits, group).reshape(batch, -1)
        if bits == 4:
            codes = codes[:, ::2] | codes[:, 1::2] << 4
        flat = (codes, scale.half().reshape(batch, -1), zero.reshape(batch, -1))
        return cls(*flat, (heads, tokens, width), bits, keys)

    def states(self, kind: torch.dtype) -> torch.Tensor:
        """The rounded states, (batch, heads, tokens, width)."""
        heads, tokens, width = self.shape
        codes = self.codes
        if self.bits == 4:
            codes = torch.stack([codes & 15, codes >> 4], -1).flatten(1)
        along = tokens if self.keys else width
        rows = codes.reshape(-1, along)
        scale, zero = (x.float().reshape(len(rows), -1) for x in (self.scale, self.zero))
        values = grid.values(rows, scale, zero, self.bits, _group(width, self.keys)).to(kind)
        inner = (width, tokens) if self.keys else (tokens, width)
        values = values.reshape(len(self.codes), heads, *inner)
        return values.transpose(-1, -2) if self.keys else values

    def chosen(self, rows: torch.Tensor) -> Packed:
        """These rows of the batch."""
        return replace(self, codes=self.codes[rows], scale=self.scale[rows], zero=self.zero[rows])

    def bytes(self) -> int:
        """Of codes and grids."""
        return sum(x.numel() * x.element_size() for x in (self.codes, self.scale, self.zero))


class Rounded(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's cache: full groups of tokens are packed, the last tokens are floats in `keys` and `values`."""

    is_croppable = False

    def __init__(self, bits: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bits = bits
        self.packed: list[tuple[Packed, Packed]] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add (batch, heads, new, width) states; all keys and values, those that come in now as they are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        recent = [torch.cat([x, new], -2) for x, new in zip(self._recent(), (key_states, value_states), strict=True)]
        whole = [torch.cat([*(pair[i].states(x.dtype) for pair in self.packed), x], -2) for i, x in enumerate(recent)]
        full = recent[0].shape[-2] // GROUP * GROUP
        if full:
            first, second = (x[..., :full, :] for x in recent)
            self.packed.append((Packed.of(first, self.bits, keys=True), Packed.of(second, self.bits, keys=False)))
            recent = [x[..., full:, :].clone() for x in recent]
        self.keys, self.values = recent
        return whole[0], whole[1]

    def _recent(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values that are floats."""
        return cast(torch.Tensor, self.keys), cast(torch.Tensor, self.values)

    def get_seq_length(self) -> int:
        """Tokens that are held."""
        return sum(keys.shape[1] for keys, _ in self.packed) + super().get_seq_length()

    def reset(self) -> None:
        """Hold nothing."""
        super().reset()
        self.packed = []

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """The rows of the batch that beams go on from."""
        self.batch_select_indices(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Every row so many times."""
        rows = len(self.packed[0][0].codes) if self.packed else len(self._recent()[0])
        self.batch_select_indices(torch.arange(rows).repeat_interleave(repeats))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """These rows of the batch."""
        self.packed = [(keys.chosen(indices), values.chosen(indices)) for keys, values in self.packed]
        if self.is_initialized and self._recent()[0].numel():
            self.keys, self.values = (x[indices] for x in self._recent())


def _rows(states: torch.Tensor, keys: bool) -> torch.Tensor:
    """Rows whose neighbours share a grid: tokens of a channel, or channels of a token."""
    states = states.float()
    return (states.transpose(-1, -2) if keys else states).reshape(-1, states.shape[-2 if keys else -1])


def _group(width: int, keys: bool) -> grid.Group:
    return GROUP if keys or width % GROUP == 0 else "channel"


def _bytes(layer: Any) -> int:
    recent = [x for x in (layer.keys, layer.values) if x is not None]
    held: int = sum(one.bytes() for pair in getattr(layer, "packed", []) for one in pair)
    return held + sum(int(x.numel() * x.element_size()) for x in recent)
