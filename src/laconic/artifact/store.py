"""Named tensors as one entropy-coded safetensors container, and back, bit for bit.

No paper: a container. The coders are in `planes`; safetensors is huggingface.co/docs/safetensors.

The container holds uint8 payloads and one called `#index`: compressed JSON that says how every tensor is coded, with
the sha256 of each payload, closed by its own sha256. Large tensors have a payload of their own name; small ones of the
same storage type and last name (all norms' weights, all biases) share payloads, as `payloads` says. A tensor of
several names is stored once and comes back as one; tensors that are merely equal are stored once and come back apart.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as serialize

from laconic import machine, notation
from laconic.artifact import floats, planes
from laconic.artifact.damage import AGAIN, DamageError
from laconic.artifact.floats import Bytes
from laconic.artifact.payloads import Member, shortest
from laconic.errors import ArtifactError

INDEX = "#index"
SMALL = 1 << 14  # elements; a tensor below it may share a payload
FEWEST_COPIED = 256  # elements; naming an equal tensor costs as much as a smaller one
LARGEST_INDEX = 1 << 28  # bytes of JSON; a model of a million tensors needs a tenth of it
LARGEST_TENSOR = 1 << 40  # bytes decoded
DIGEST = 32  # bytes of a sha256


@dataclass(frozen=True)
class Entry:
    """One stored tensor: where it is and what it looks like."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    stream: int

    @property
    def count(self) -> int:
        """Elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Stream:
    """One payload: the planes of one tensor, or of several small ones end to end."""

    name: str
    storage: str
    planes: list[tuple[planes.Header, int]]  # coding and bytes of each, most significant first
    sha256: str


@dataclass(frozen=True)
class Index:
    """What a container holds; `same` maps further names of a tensor to the stored one, `copies` those of equal ones."""

    entries: list[Entry]
    same: dict[str, str]
    copies: dict[str, str]
    streams: list[Stream]


def encode(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """The container; equal tensors in equal order give equal bytes."""
    entries: list[Entry] = []
    same: dict[str, str] = {}
    copies: dict[str, str] = {}
    streams: list[Stream] = []
    payloads: dict[str, Bytes] = {}
    for (storage, shared), group in _groups(tensors, same, copies).items():
        found = shortest(group)
        for number, payload in enumerate(found):
            name = shared if len(found) == 1 else f"{shared}.{number}"
            held = [(member.name, member.tensor) for member in payload.members]
            entries += [Entry(n, floats.NAMES[t.dtype], tuple(t.shape), len(streams)) for n, t in held]
            coded = b"".join(part for _, part in payload.coded)
            sizes = [(header, len(part)) for header, part in payload.coded]
            streams.append(Stream(name, storage, sizes, hashlib.sha256(coded).hexdigest()))
            payloads[name] = np.frombuffer(coded, np.uint8)
    index = zlib.compress(_written(Index(entries, same, copies, streams)), 9)
    payloads[INDEX] = np.frombuffer(index + hashlib.sha256(index).digest(), np.uint8)
    return serialize(payloads)


def decode(container: bytes, where: str | Path = "weights") -> dict[str, torch.Tensor]:
    """Every tensor by name; names of one tensor give the same object. ArtifactError names `where` and the tensor."""
    payloads, index = _opened(container, where)
    _check_memory(index, where)
    with ThreadPoolExecutor() as pool:
        streams = list(pool.map(lambda number: _stream(index, number, payloads, where), range(len(index.streams))))
    offsets = [0] * len(streams)
    out = {}
    for entry in index.entries:
        start = offsets[entry.stream]
        offsets[entry.stream] += entry.count
        pieces = [plane[start : start + entry.count] for plane in streams[entry.stream]]
        flat = floats.widen(pieces, index.streams[entry.stream].storage, entry.dtype)
        out[entry.name] = flat.reshape(entry.shape)
    out |= {name: out[stored].clone() for name, stored in index.copies.items()}
    return out | {name: out[stored] for name, stored in index.same.items()}


def index_of(container: bytes, where: str | Path = "weights") -> Index:
    """What a container says it holds, nothing decoded."""
    return _opened(container, where)[1]


def weigh(index: Index) -> list[tuple[str, int, int]]:
    """(name, elements, bytes) of each stored tensor; a shared payload's bytes are divided by elements."""
    out = []
    done = [0] * len(index.streams)
    totals = [0] * len(index.streams)
    for entry in index.entries:
        totals[entry.stream] += entry.count
    for entry in index.entries:
        size = sum(size for _, size in index.streams[entry.stream].planes)
        start = done[entry.stream]
        done[entry.stream] += entry.count
        whole = max(totals[entry.stream], 1)
        out.append((entry.name, entry.count, size * done[entry.stream] // whole - size * start // whole))
    return out


def _groups(
    tensors: Mapping[str, torch.Tensor], same: dict[str, str], copies: dict[str, str]
) -> dict[tuple[str, str], list[Member]]:
    """Tensors that may share payloads, by (storage type, name); fills `same` and `copies` with further names."""
    groups: dict[tuple[str, str], list[Member]] = {}
    seen: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        if tensor.dtype not in floats.NAMES or tensor.layout != torch.strided or tensor.is_meta:
            kind = f"{tensor.layout} {tensor.dtype} on {tensor.device}"
            raise ArtifactError(
                f"{name}: {kind} can't be stored; allowed: strided, on a device, {', '.join(floats.DTYPES)}"
            )
        if name.startswith("#"):
            raise ArtifactError(f"{name!r}: names that begin with # belong to the store; rename the tensor")
        key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride(), tensor.is_conj(), tensor.is_neg())
        if tensor.numel() and seen.setdefault(key, name) != name:
            same[name] = seen[key]
            continue
        storage, pieces = floats.narrow(tensor)
        content = (
            tensor.dtype,
            tuple(tensor.shape),
            storage,
            hashlib.sha256(b"".join(p.tobytes() for p in pieces)).digest(),
        )
        if tensor.numel() >= FEWEST_COPIED and seen.setdefault(content, name) != name:
            copies[name] = seen[content]
            continue
        payload = name if tensor.numel() >= SMALL else f"#{storage}.{name.rsplit('.', 1)[-1]}"
        groups.setdefault((storage, payload), []).append(Member(name, tensor, pieces))
    return groups


def _opened(container: bytes, where: str | Path) -> tuple[dict[str, bytes], Index]:
    try:
        payloads = {name: bytes(held["data"]) for name, held in deserialize(container)}  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise ArtifactError(f"{where}: not a whole safetensors file ({error}); {AGAIN}") from error
    index = payloads.pop(INDEX, b"")
    if hashlib.sha256(index[:-DIGEST]).digest() != index[-DIGEST:]:
        raise ArtifactError(f"{where}: the index is missing or damaged; {AGAIN}")
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(index[:-DIGEST], LARGEST_INDEX)
        found = _read(notation.read(text)) if reader.eof else None
    except (zlib.error, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{where}: the index does not read ({error}); {AGAIN}") from error
    if found is None or {s.name for s in found.streams} != set(payloads):
        raise ArtifactError(f"{where}: the index and what is stored differ; {AGAIN}")
    return payloads, found


def _check_memory(index: Index, where: str | Path) -> None:
    """Raise ArtifactError for more than this machine can hold: a few bytes can stand for any number of zeros."""
    sizes = {entry.name: entry.count * floats.size(entry.dtype) for entry in index.entries}
    coded = [sum(header != ["raw"] for header, _ in one.planes) for one in index.streams]  # raw planes are not copied
    needed = sum(sizes.values()) + sum(sizes[stored] for stored in index.copies.values())
    needed += sum(entry.count * coded[entry.stream] for entry in index.entries)
    there = machine.memory()
    if there is not None and needed > there:
        raise ArtifactError(
            f"{where}: unpacks in {needed:,} bytes of memory, and here are {there:,}; open it on a larger machine, and "
            "only where you know who made it"
        )


def _stream(index: Index, number: int, payloads: dict[str, bytes], where: str | Path) -> list[Bytes]:
    """The planes of one payload, each (count,), after its hash and every length agree."""
    stream = index.streams[number]
    payload = payloads[stream.name]
    if hashlib.sha256(payload).hexdigest() != stream.sha256:
        raise ArtifactError(f"{where}: {stream.name} is damaged (its sha256 differs); {AGAIN}")
    held = [entry for entry in index.entries if entry.stream == number]
    shape = floats.rows_and_width(held[0].shape) if len(held) == 1 else (1, sum(e.count for e in held))
    ends = list(accumulate(size for _, size in stream.planes))
    if ends[-1] != len(payload) or len(ends) != floats.size(stream.storage):
        raise ArtifactError(f"{where}: {stream.name} has {len(payload)} bytes and its planes {ends[-1]}; {AGAIN}")
    parts = [(header, payload[end - size : end]) for (header, size), end in zip(stream.planes, ends, strict=True)]
    try:
        return [planes.decode(header, part, shape).reshape(-1) for header, part in parts]
    except DamageError as damage:
        raise ArtifactError(f"{where}: {stream.name} does not decode: {damage}; {AGAIN}") from damage


def _written(index: Index) -> bytes:
    text = {
        "tensors": [[e.name, e.dtype, list(e.shape), e.stream] for e in index.entries],
        "same": index.same,
        "copies": index.copies,
        "streams": [[s.name, s.storage, s.planes, s.sha256] for s in index.streams],
    }
    return json.dumps(text, separators=(",", ":")).encode()


def _read(text: dict[str, Any]) -> Index:
    """The index after every name, type and size in it was checked; ValueError says what is wrong."""
    entries = [Entry(name, dtype, tuple(shape), stream) for name, dtype, shape, stream in text["tensors"]]
    streams = [Stream(name, held, [(h, s) for h, s in coded], digest) for name, held, coded, digest in text["streams"]]
    for stream in streams:
        if stream.storage not in floats.DTYPES or not stream.planes or not all(_whole(s) for _, s in stream.planes):
            raise ValueError(f"{stream.name!r} has an unknown storage type or size")
    for entry in entries:
        if not isinstance(entry.name, str) or not _whole(entry.stream) or entry.stream >= len(streams):
            raise ValueError(f"{entry.name!r} is stored nowhere")
        storages = (*floats.STORAGES.get(entry.dtype, ()), entry.dtype)
        if entry.dtype not in floats.DTYPES or streams[entry.stream].storage not in storages:
            raise ValueError(f"{entry.name!r} has dtype {entry.dtype!r}")
        if not all(_whole(d) for d in entry.shape) or entry.count * floats.size(entry.dtype) > LARGEST_TENSOR:
            raise ValueError(f"{entry.name!r} has shape {entry.shape}")
    names = {e.name for e in entries}
    if len(names) != len(entries) or {e.stream for e in entries} != set(range(len(streams))):
        raise ValueError("a tensor is stored twice or a payload holds none")
    same, copies = dict(text["same"]), dict(text["copies"])
    if not set(copies.values()) <= names or names & set(copies):
        raise ValueError("a copy is of no tensor")
    names |= set(copies)
    if not set(same.values()) <= names or names & set(same):
        raise ValueError("a further name is of no tensor")
    return Index(entries, same, copies, streams)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_TENSOR
