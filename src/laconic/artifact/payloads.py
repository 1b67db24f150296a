"""Which small tensors share a payload, and so their tables: all, those of like codes, or none, by measured length.

No paper: a choice among few partitions, each coded. A table that codes of other widths share fits none of them, and a
matrix alone has tables that follow its rows and columns; a payload of its own costs its names and its hash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from laconic.artifact import floats, planes
from laconic.artifact.floats import Bytes

COST = 90  # bytes of a payload beside its planes: names, offsets, a sha256, less what headers deflate by


@dataclass(frozen=True)
class Member:
    """A tensor by its name, as planes of bytes, each (count,)."""

    name: str
    tensor: torch.Tensor
    planes: list[Bytes]


@dataclass(frozen=True)
class Payload:
    """Tensors end to end, and each of their planes coded, most significant first."""

    members: Sequence[Member]
    coded: list[tuple[planes.Header, bytes]]

    @property
    def bytes(self) -> int:
        """Of all it adds to a container, about."""
        return COST + sum(planes.length(way) for way in self.coded)


def joined(members: Sequence[Member]) -> Payload:
    """One payload; a tensor that is alone keeps its shape, so that tables can follow rows and columns."""
    shape = floats.rows_and_width(tuple(members[0].tensor.shape)) if len(members) == 1 else (1, -1)
    whole = [np.concatenate(pieces) for pieces in zip(*(m.planes for m in members), strict=True)]
    return Payload(members, [planes.encode(plane.reshape(shape)) for plane in whole])


def shortest(members: Sequence[Member]) -> list[Payload]:
    """Tensors of one storage type in as many payloads as is shortest: never longer than all joined, or each alone."""
    whole = joined(members)
    if len(members) == 1:
        return [whole]
    kinds: dict[tuple[int, ...], list[Member]] = {}
    for member in members:
        kinds.setdefault(_kind(member), []).append(member)
    parts: list[Payload] = []
    for some in kinds.values():
        together = whole if len(kinds) == 1 else joined(some)
        alone = [together] if len(some) == 1 else [joined([member]) for member in some]
        parts += min([together], alone, key=_bytes)
    return min([whole], parts, key=_bytes)


def _kind(member: Member) -> tuple[int, ...]:
    """What tensors under one table have in common: a matrix or not, and of codes the bits and the commonest code."""
    kind = (min(member.tensor.dim(), 2),)
    if len(member.planes) > 1 or not member.planes[0].size:
        return kind
    codes = member.planes[0]
    return (*kind, int(codes.max()).bit_length(), int(np.bincount(codes).argmax()))


def _bytes(payloads: Iterable[Payload]) -> int:
    return sum(payload.bytes for payload in payloads)
