"""Tensors of any dtype as planes of bytes, exactly, in the narrowest storage type that holds them.

Hershcovitch et al. 2024, arXiv:2411.05239 (exponents are what compresses in floats; mantissas stay raw).

A float whose every value is one of a narrower float is held as that. The sign is moved behind the mantissa, so that
the first plane is exponent alone; planes go to `planes`, which leaves those that do not shrink raw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

_OTHERS = ["complex64", "complex128", "float8_e4m3fn", "float8_e5m2"]
_WHOLE = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
SIGNED = frozenset({"float16", "bfloat16", "float32", "float64"})
DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in [*_WHOLE, *sorted(SIGNED), *_OTHERS]}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
STORAGES = {  # what a dtype can be held as, narrowest first
    "float32": ("float16", "bfloat16"),
    "float64": ("float16", "bfloat16", "float32"),
}
Bytes = NDArray[np.uint8]
Words = NDArray[Any]  # (count,) bits of each element


def size(name: str) -> int:
    """Bytes of one element."""
    return DTYPES[name].itemsize


def narrow(tensor: torch.Tensor) -> tuple[str, list[Bytes]]:
    """Storage type, and its planes from the most significant byte down, each (count,)."""
    name = NAMES[tensor.dtype]
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    flat = plain.clone(memory_format=torch.contiguous_format).reshape(-1)  # one element may keep a stride otherwise
    raw = flat.view(torch.uint8).numpy()
    for storage in STORAGES.get(name, ()):
        bits = _narrowed(raw.view(_float(name)), storage)
        if bits is not None:
            return storage, _split(bits.view(np.uint8), storage)
    return name, _split(raw, name)


def widen(planes: list[Bytes], storage: str, name: str) -> torch.Tensor:
    """The flat tensor of dtype `name` whose planes of `storage` these are: (count,)."""
    together = np.ascontiguousarray(np.stack(planes[::-1], axis=1))  # (count, bytes)
    if storage in SIGNED:
        words: Words = together.view(_unsigned(size(storage))).reshape(-1)
        words = (words >> 1) | (words << (8 * size(storage) - 1))
        together = _widened(words, storage, name).view(np.uint8)
    return torch.from_numpy(together.reshape(-1)).view(DTYPES[name])


def rows_and_width(shape: tuple[int, ...]) -> tuple[int, int]:
    """A tensor's shape as a plane's: the last dimension is the width, 1-d tensors are one row."""
    if len(shape) < 2:
        return 1, shape[0] if shape else 1
    return int(np.prod(shape[:-1], dtype=np.int64)), shape[-1]


def _unsigned(count: int) -> np.dtype[Any]:
    return np.dtype(f"<u{count}")


def _float(name: str) -> np.dtype[Any]:
    return np.dtype(f"<f{size(name)}")


def _narrowed(values: NDArray[Any], storage: str) -> Words | None:
    """Bits of the values as `storage`, or None where one of them is not exactly there; NaNs never narrow."""
    if not values.size or np.isnan(values).any():
        return None
    with np.errstate(over="ignore", under="ignore"):
        if storage == "bfloat16":
            single = values.astype("<f4")
            bits = single.view("<u4")
            kept = (bits >> 16 << 16).view("<f4")
            held = (bits >> 16).astype("<u2")
        else:
            kept = values.astype(_float(storage))
            held = kept.view(_unsigned(size(storage)))
        back = kept.astype(values.dtype)
    same = np.array_equal(back.view(_unsigned(values.itemsize)), values.view(_unsigned(values.itemsize)))
    return held if same else None


def _widened(bits: Words, storage: str, name: str) -> NDArray[Any]:
    if storage == name:
        return bits
    if storage == "bfloat16":
        return (bits.astype("<u4") << 16).view("<f4").astype(_float(name))
    return bits.view(_float(storage)).astype(_float(name))


def _split(raw: Bytes, storage: str) -> list[Bytes]:
    """Planes from the most significant byte down; a float's sign goes to the end."""
    if storage in SIGNED:
        words: Words = raw.view(_unsigned(size(storage)))
        raw = ((words << 1) | (words >> (8 * size(storage) - 1))).view(np.uint8)
    pieces = raw.reshape(-1, size(storage))  # (count, bytes), least significant first
    return [np.ascontiguousarray(plane) for plane in pieces.T[::-1]]
