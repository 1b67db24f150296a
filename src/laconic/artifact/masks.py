"""Turn a plane of zeros and ones into bytes that code shorter: eight bits a byte, or lengths of runs.

Golomb 1966 (run lengths); the bytes themselves are coded by `integers`.

Independent bits cost the same every way. Bits that depend on their neighbours do not: N:M masks have few patterns of
eight bits (2:4 has 36 of 256), triangles and blocks have few runs.
"""

from __future__ import annotations

import numpy as np

from laconic.artifact.damage import DamageError
from laconic.artifact.integers import Plane

LONGEST = 255  # a run byte of 255 says: 255 more of the same, and the run goes on


def pack(plane: Plane) -> Plane:
    """Eight bits a byte, low bit first: (rows, width / 8), or (1, bytes) where rows do not end on bytes."""
    packed = np.packbits(plane.astype(bool), bitorder="little")
    return packed.reshape(packed_shape(plane.shape[0], plane.shape[1]))


def packed_shape(rows: int, width: int) -> tuple[int, int]:
    """Shape of `pack` of a plane (rows, width)."""
    return (rows, width // 8) if width % 8 == 0 else (1, (rows * width + 7) // 8)


def unpack(packed: Plane, shape: tuple[int, int]) -> Plane:
    """The plane that `pack` was given."""
    return np.unpackbits(packed.reshape(-1), count=shape[0] * shape[1], bitorder="little").reshape(shape)


def runs(plane: Plane) -> Plane:
    """Lengths of runs of equal bits, the first run of zeros (perhaps of length 0): (1, bytes)."""
    flat = np.concatenate([[0], plane.reshape(-1)])
    ends = np.append(np.flatnonzero(np.diff(flat)), plane.size)
    lengths = np.diff(ends, prepend=0)
    full = lengths // LONGEST
    out = np.full(int(full.sum()) + len(lengths), LONGEST, np.uint8)
    out[np.cumsum(full + 1) - 1] = lengths % LONGEST
    return out.reshape(1, -1)


def unruns(lengths: Plane, shape: tuple[int, int]) -> Plane:
    """The plane that `runs` was given; DamageError where the lengths do not fill `shape`."""
    steps = lengths.reshape(-1).astype(np.int64)
    if int(steps.sum()) != shape[0] * shape[1]:
        raise DamageError("the runs of a mask do not fill it")
    last = (steps < LONGEST).astype(np.int64)
    before = np.cumsum(last) - last  # how many runs ended before each step
    return np.repeat((before & 1).astype(np.uint8), steps).reshape(shape)
