"""A file as the bits that a causal model needs to write it down, and back, byte for byte.

Delétang et al. 2024, arXiv:2309.10668; range coding after Martin 1979, by `constriction`, which turns each step's
probabilities into whole numbers of 24 bits. The file is cut into parts that are coded side by side (`lockstep`), each
in windows as the task `lm` has them; what their tokens leave out stands behind (`subwords.exact`).

A file: MAGIC, length of the header (4 bytes), header (JSON, deflated), coded words, edits, SHA-256 of all before it.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import constriction
import numpy as np
import torch
from numpy.typing import NDArray

from laconic import answers, machine, notation
from laconic.artifact import place
from laconic.errors import ArtifactError, DataError
from laconic.lossless import causal as models
from laconic.lossless.causal import Causal
from laconic.lossless.lockstep import walk
from laconic.subwords import exact

MAGIC = b"\x89LCZ\x01"  # the last byte is the format's version
DIGEST = 32
LANES, PART = 64, 16384  # most parts of a file; bytes of one at least, since each begins without context
SLACK = 512  # bytes after an even cut in which a line's end is looked for
PACKAGES = ("torch", "transformers", "tokenizers", "constriction", "numpy")
AGAIN = "copy the file again"
PRECISION = 24  # bits of the whole numbers that the coder makes of probabilities
HEADER = 1 << 24  # bytes a header may have

Header = dict[str, Any]
Log = Callable[[str], None]


def cut(content: bytes) -> list[bytes]:
    """The parts of a file that are coded side by side, at ends of lines where there are any; of nothing, none."""
    number = min(LANES, max(1, len(content) // PART)) if content else 0
    places = [0]
    for i in range(1, number):
        even = i * len(content) // number
        end = content.find(b"\n", even, even + SLACK)
        if end < 0:
            end = even - 1
            while even - end < 4 and content[end + 1] & 0xC0 == 0x80:  # within a character of UTF-8
                end -= 1
        places.append(end + 1)
    return [content[a:b] for a, b in zip(places, [*places[1:], len(content)], strict=True)] if number else []


def pack(causal: Causal, content: bytes, *, progress: bool = False) -> bytes:
    """The archive of a file's bytes; one that a model would make longer is stored as it is."""
    parts = cut(content)
    ids, rest = causal.spell(parts)
    coder = constriction.stream.queue.RangeEncoder()
    family = constriction.stream.model.Categorical(perfect=False)

    def put(shares: NDArray[np.float64], lanes: NDArray[np.int64], at: int) -> NDArray[np.int64]:
        said = np.array([ids[lane][at] for lane in lanes], np.int32)
        coder.encode(said, family, shares)
        return said.astype(np.int64)

    walk(causal, [len(one) for one in ids], put, "coding", progress)
    words = coder.get_compressed().astype("<u4").tobytes()
    header: Header = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    coded = {
        "model": causal.digest(), "context": causal.context, "overlap": causal.task.overlap,
        "tokens": [len(one) for one in ids], "words": len(words), "with": fingerprint(),
    }  # fmt: skip
    whole = _closed({**header, **coded}, words + rest)
    plain = _closed(header, content)
    return whole if len(whole) < len(plain) else plain


def unpack(archive: bytes, source: str | Path, name: str, *, progress: bool = False, log: Log = print) -> bytes:
    """The bytes that were packed with the model `source`; ArtifactError for damage, or where that model is another."""
    header, body = opened(archive, name)
    try:
        content = body if "model" not in header else _decoded(header, body, source, name, progress, log)
        whole = len(content) == header["size"] and hashlib.sha256(content).hexdigest() == header["sha256"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{name}: its header is damaged ({error}); {AGAIN}") from error
    if not whole:
        raise _strange(name, header)
    return content


def opened(archive: bytes, name: str) -> tuple[Header, bytes]:
    """Header and what follows it, after every check that needs no model."""
    if archive[: len(MAGIC) - 1] != MAGIC[:-1]:
        raise ArtifactError(f"{name} was not written by laconic zip; give a file that was")
    if archive[: len(MAGIC)] != MAGIC:
        version = archive[len(MAGIC) - 1 : len(MAGIC)].hex() or "missing"
        raise ArtifactError(
            f"{name}: format {version} is not that of this version, {MAGIC[-1]:02x}; use the laconic that wrote it"
        )
    if hashlib.sha256(archive[:-DIGEST]).digest() != archive[-DIGEST:]:
        raise ArtifactError(f"{name}: damaged (its sha256 differs); {AGAIN}")
    start = len(MAGIC) + 4
    length = int.from_bytes(archive[len(MAGIC) : start], "little")
    try:
        header = notation.read(zlib.decompressobj().decompress(archive[start : start + length], HEADER))
    except (zlib.error, ValueError) as error:
        raise ArtifactError(f"{name}: its header is damaged ({error}); {AGAIN}") from error
    if not isinstance(header, dict):
        raise ArtifactError(f"{name}: its header is damaged; {AGAIN}")
    return header, archive[start + length : -DIGEST]


def is_stored(archive: bytes) -> bool:
    """Whether an archive holds the bytes as they were, for which no model is needed."""
    return "model" not in opened(archive, "the archive")[0]


def fingerprint() -> dict[str, str]:
    """What the last bits of a probability depend on besides the model."""
    kernels = torch.backends.cpu.get_cpu_capability()
    return {**machine.versions(PACKAGES), "machine": f"{platform.machine()} {kernels}", "cpu": machine.processor()}


def write(path: Path, content: bytes) -> None:
    """Put a file in its place whole."""
    place.write_file(path, content)


def content_of(path: Path, out: Path) -> bytes:
    """The bytes of a file; DataError where there is none, or where `out` cannot be written beside it."""
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}; give one")
    if out.is_dir():
        raise DataError(f"{out} is a folder; give the name of a file")
    if not out.absolute().parent.is_dir():
        raise DataError(f"{out} can't be written, since there is no folder {str(out.parent)!r}; make it first")
    if out.exists() and out.samefile(path):
        raise DataError(f"{out} is the file that is read; give another name")
    return path.read_bytes()


def _closed(header: Header, body: bytes) -> bytes:
    said = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
    whole = MAGIC + len(said).to_bytes(4, "little") + said + body
    return whole + hashlib.sha256(whole).digest()


def _decoded(header: Header, body: bytes, source: str | Path, name: str, progress: bool, log: Log) -> bytes:
    here = fingerprint()
    other = [f"{key} {said}, here {here.get(key)}" for key, said in header["with"].items() if here.get(key) != said]
    if other:
        log(f"{name} was written with {'; '.join(other)}: what comes out is checked, and may be refused")
    causal = models.opened(source, header["context"])
    if causal.digest() != header["model"]:  # before its windows, which another model need not have room for
        raise ArtifactError(f"{name} was written with another model than {source}; give that one")
    causal = models.within(causal, header["context"], header["overlap"])
    words, rest = np.frombuffer(body[: header["words"]], "<u4"), body[header["words"] :]
    counts = [int(count) for count in header["tokens"]]
    room = min(16 * header["size"] + 64, _most(len(words), answers.width(causal.model)))
    if any(not 0 <= count <= room for count in counts) or len(counts) > LANES:
        raise ArtifactError(f"{name}: its header is damaged (tokens {counts}); {AGAIN}")
    coder = constriction.stream.queue.RangeDecoder(words.astype(np.uint32))
    family = constriction.stream.model.Categorical(perfect=False)

    def take(shares: NDArray[np.float64], _lanes: NDArray[np.int64], _at: int) -> NDArray[np.int64]:
        said: NDArray[np.int32] = coder.decode(family, shares)
        return said.astype(np.int64)

    try:
        ids = walk(causal, counts, take, "decoding", progress)
        return exact.unspell(causal.tokenizer, ids, rest)
    except AssertionError as error:  # of constriction: no symbol is left
        raise _strange(name, header) from error


def _most(words: int, vocabulary: int) -> int:
    """Tokens that coded words can hold: another token than the likeliest always keeps one part in 2 ** PRECISION."""
    least = -math.log2(1 - max(vocabulary - 1, 1) / 2**PRECISION)  # bits of the likeliest token
    return int(32 * (words + 2) / least)


def _strange(name: str, header: Header) -> ArtifactError:
    used = ", ".join(f"{key} {value}" for key, value in header.get("with", {}).items()) or "nothing special"
    return ArtifactError(
        f"{name}: what came out is not what went in, since this machine computes other numbers than the one that wrote "
        f"it; use the same kind of machine and versions: {used}"
    )
