"""Text as one long file of token ids on disk, written as it streams by, read by mapping it.

No paper: packing. Documents follow one another, parted by the tokenizer's own marks, so that no token is padding. Text,
ids and their file are never in memory as a whole: of plain text a long document is cut at ends of lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerFast

from laconic import artifact
from laconic.data import readers, records, sources
from laconic.data.sources import Rows
from laconic.errors import DataError

KIND = "lm"
READ = "pretrain"  # for which a long document of plain text is read in pieces
TOGETHER = 512  # documents split into tokens at once
AT_ONCE = 1 << 23  # characters, or few more, that are split at once at most
HELD = 100  # of so many documents one is held for validation, where the source has no such split

MARKS = 3  # tokens around a document: its beginning, its end, and a space that it begins with

Texts = Callable[[], Iterator[str]]  # read from the beginning each time it is called
Ids = np.memmap[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Counts:
    """What a file of tokens holds; `sha256` is that of its ids as 32-bit numbers."""

    documents: int
    tokens: int
    bytes: int  # of UTF-8, without what parts documents
    sha256: str


def splits(source: str | Path) -> dict[str, Texts]:
    """Texts to learn from and to judge by. A folder without files named for splits is read whole, all below it.

    Raises DataError where there is no text.
    """
    path = Path(source)
    found: dict[str, Rows] = {"train": lambda: _below(path)} if is_whole(path) else sources.find(path, READ)
    if "train" not in found:
        raise DataError(f"{source}: no train split; give a file called train, such as train.txt")
    train = found["train"]
    if "validation" in found:
        return {"train": lambda: _texts(train()), "validation": lambda: _texts(found["validation"]())}
    return {"train": lambda: _dealt(train, held=False), "validation": lambda: _dealt(train, held=True)}


def is_whole(path: Path) -> bool:
    """Whether a source is a folder without files named for splits, which is read whole; folders may have any name."""
    if not path.is_dir() or sources.is_saved(path):
        return False
    return not any(p.is_file() and sources.split_of(p) for p in path.iterdir())


def digest(source: str | Path) -> str | None:
    """sha256 over the names and contents of a file, or of those files of a folder that are read; None of a hub id."""
    path = Path(source)
    if not path.exists():
        return None
    found = hashlib.sha256()
    for each in _files(path):
        with each.open("rb") as file:
            found.update(f"{each.relative_to(path)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()


def _files(path: Path) -> list[Path]:
    """The files of text, or of a saved data set, in a folder."""
    if not path.is_dir():
        return [path]
    if is_whole(path):
        return _texts_below(path)
    named = (p for p in path.iterdir() if p.is_file() and sources.split_of(p))
    return sorted(named if not sources.is_saved(path) else (p for p in path.rglob("*") if p.is_file()))


def _texts_below(folder: Path) -> list[Path]:
    known = readers.known(READ)
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in known and p.is_file())


def _below(folder: Path) -> Iterator[tuple[str, records.Raw]]:
    for path in _texts_below(folder):
        for number, (_, raw) in enumerate(readers.read(path, READ), 1):
            yield f"{path}, record {number}", raw


def _texts(rows: Iterable[tuple[str, records.Raw]]) -> Iterator[str]:
    for where, raw in rows:
        text = records.example(raw, KIND, where)["text"]
        if text:
            yield text


def _dealt(rows: Rows, *, held: bool) -> Iterator[str]:
    return (text for i, text in enumerate(_texts(rows())) if (i % HELD == 1) == held)


def filling(texts: dict[str, Texts], block: int) -> None:
    """Raise DataError for text that fills no block however it is cut, before a tokenizer is trained on it.

    No token is less than a byte; around each document there are MARKS at most.
    """
    for name, read in texts.items():
        if next(read(), None) is None:
            raise DataError(f"there is no {name} text; give more documents, parted by blank lines, or a {name} file")
    for name, read in texts.items():
        most, said = 0, 0
        for text in read():
            most, said = most + len(text.encode()) + MARKS, said + len(text.encode())
            if most >= block:
                break
        if most < block:
            raise DataError(f"{said} bytes of {name} text do not fill one block of {block}; give more, or less block")


def write(texts: Texts, tokenizer: PreTrainedTokenizerFast, path: Path, before: list[int], after: list[int]) -> Counts:
    """Write the ids of all texts, each between `before` and `after`; a file that is whole is taken up."""
    about = path.with_suffix(".json")
    if about.exists():
        return Counts(**json.loads(about.read_text(encoding="utf-8")))
    kind, digest = _kind(tokenizer), hashlib.sha256()
    documents = tokens = size = 0
    with path.open("wb") as file:
        for some in _together(texts()):
            split = tokenizer(some, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
            ids = np.array([i for one in split for i in (*before, *one, *after)], dtype=np.uint32)
            digest.update(ids.tobytes())
            file.write(ids.astype(kind).tobytes())
            documents, tokens = documents + len(some), tokens + len(ids)
            size += sum(len(text.encode()) for text in some)
    counts = Counts(documents, tokens, size, digest.hexdigest())
    artifact.write_file(about, json.dumps(asdict(counts)).encode())
    return counts


def _together(texts: Iterator[str]) -> Iterator[list[str]]:
    """At most TOGETHER of them, and no more than make AT_ONCE characters."""
    some: list[str] = []
    size = 0
    for text in texts:
        some.append(text)
        size += len(text)
        if len(some) >= TOGETHER or size >= AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some


def ids(path: Path, tokenizer: PreTrainedTokenizerFast) -> Ids:
    """The ids in a file that `write` wrote, mapped: (tokens,)."""
    return np.memmap(path, _kind(tokenizer), "r")


def _kind(tokenizer: PreTrainedTokenizerFast) -> Any:
    return np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
