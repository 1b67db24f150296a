"""Code a plane of bytes by whichever way is shortest: raw, ANS, and for masks bits or runs.

No paper: a choice by measured length.

A coded plane is a JSON header [way, ...] and a payload. Ways: `raw`; `ans` (integers); `predicted`, of tall planes
whose columns tell of one another; `bits` and `runs` (masks),
which hold another coded plane; `holes`, a mask of the commonest symbol and the symbols that are left, which pays where
the places of zeros have a pattern (N:M sparsity under quantization).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from laconic.artifact import integers, masks, predicted
from laconic.artifact.damage import DamageError
from laconic.artifact.integers import Plane

Header = list[Any]
DEEPEST = 2  # a plane in a plane in a plane: symbols of runs of holes
Counts = NDArray[Any]  # (symbols,)
SMALL_GAIN = 0.99  # a plane that shrinks by less than a hundredth stays raw: it decodes for nothing
WORTH = 0.985  # of the shortest other way: prediction takes several times longer to decode


def encode(plane: Plane, *, whole: bool = True) -> tuple[Header, bytes]:
    """Header and payload of a plane (rows, width); `whole` is false for what is part of another coded plane."""
    best: tuple[Header, bytes] = (["raw"], plane.tobytes())
    if plane.size == 0:
        return best
    counts = np.bincount(plane.reshape(-1), minlength=256)
    if _entropy(counts) > 8 * SMALL_GAIN:
        return best
    ways = [_ans(plane)]
    if whole and counts[2:].sum() == 0:
        ways += _mask_ways(plane)
    elif whole and _patterned(plane, counts):
        ways.append(_holes(plane, int(counts.argmax())))
    best = min([*ways, best], key=length)
    if whole and predicted.suits((plane.shape[0], plane.shape[1])):
        head, payload = predicted.encode(plane)
        if len(payload) < WORTH * length(best):
            return ["predicted", head], payload
    return best


def decode(header: Header, payload: bytes, shape: tuple[int, int], depth: int = 0) -> Plane:
    """The plane of `shape` that `encode` was given; DamageError where header, payload and shape disagree."""
    match header if depth <= DEEPEST else None:
        case ["raw"]:
            if len(payload) != shape[0] * shape[1]:
                raise DamageError(f"{len(payload)} bytes for shape {shape}")
            return np.frombuffer(payload, np.uint8).reshape(shape)
        case ["ans", [_, _, _, _, _, _] as head]:
            return integers.decode(head, payload, shape)
        case ["predicted", [_, _, _, _, _] as head]:
            return predicted.decode(head, payload, shape)
        case ["bits", inner]:
            return masks.unpack(decode(inner, payload, masks.packed_shape(*shape), depth + 1), shape)
        case ["runs", int(steps), inner] if 0 < steps <= shape[0] * shape[1] + 1:
            return masks.unruns(decode(inner, payload, (1, steps), depth + 1), shape)
        case ["holes", int(symbol), int(size), inner, rest] if 0 <= symbol < 256 and 0 <= size <= len(payload):
            mask = decode(inner, payload[:size], shape, depth + 1)
            symbols = decode(rest, payload[size:], (1, int((mask == 0).sum())), depth + 1)
            return _unholes(symbol, mask, symbols)
    raise DamageError(f"its header is no coding of shape {shape} known here")


def length(way: tuple[Header, bytes]) -> int:
    """Bytes of a coded plane, its header as text included."""
    return len(way[1]) + len(str(way[0]))


def _entropy(counts: Counts) -> float:
    """Bits per symbol under one table."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _ans(plane: Plane) -> tuple[Header, bytes]:
    head, payload = integers.encode(plane)
    return ["ans", head], payload


def _mask_ways(plane: Plane) -> list[tuple[Header, bytes]]:
    inner, packed = encode(masks.pack(plane), whole=False)
    ways: list[tuple[Header, bytes]] = [(["bits", inner], packed)]
    lengths = masks.runs(plane)
    if lengths.size < plane.size / 4:
        inner, payload = encode(lengths, whole=False)
        ways.append((["runs", lengths.size, inner], payload))
    return ways


def _patterned(plane: Plane, counts: Counts) -> bool:
    """Whether the places of the commonest symbol follow a pattern that one table cannot see."""
    common = int(counts.argmax())
    if counts[common] < plane.size / 5:
        return False
    alone = _entropy(np.bincount(plane.reshape(-1) == common))
    eight = np.bincount(masks.pack((plane == common).view(np.uint8)).reshape(-1), minlength=256)
    return _entropy(eight) / 8 < 0.9 * alone


def _holes(plane: Plane, symbol: int) -> tuple[Header, bytes]:
    mask = (plane == symbol).view(np.uint8)
    inner, places = min(_mask_ways(mask), key=lambda way: len(way[1]))
    rest, symbols = encode(plane[mask == 0].reshape(1, -1), whole=False)
    return ["holes", symbol, len(places), inner, rest], places + symbols


def _unholes(symbol: int, mask: Plane, symbols: Plane) -> Plane:
    plane = np.full(mask.shape, symbol, np.uint8)
    plane[mask == 0] = symbols.reshape(-1)
    return plane
