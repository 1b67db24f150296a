"""Texts under `laconic zip` beside gzip, bzip2, xz and zstd, with and without the model's own bytes.

No paper: measurement. `python -m benchmarks.zip`. Every archive is opened again and compared with the text.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard

from benchmarks import record
from laconic import artifact, tasks
from laconic import layers as kinds
from laconic.contracts import Splits, Work
from laconic.lossless import archive, bits, causal
from laconic.methods.half import Half
from laconic.methods.rtn import RTN

MODELS = ("stories260k", "tinystories-656k")
TEXTS = {"tinystories": "validation", "tiny_shakespeare": "validation", "wikitext2": "test"}
SIZE = 250_000  # bytes of a text, from its beginning
CONTEXT = 256
GENERAL: dict[str, Callable[[bytes], bytes]] = {
    "gzip -9": lambda content: gzip.compress(content, 9, mtime=0),
    "bzip2 -9": lambda content: bz2.compress(content, 9),
    "xz -9e": lambda content: lzma.compress(content, preset=9 | lzma.PRESET_EXTREME),
    "zstd -19": lambda content: zstandard.ZstdCompressor(level=19).compress(content),
}


def main() -> None:
    """Every text with every tool; write the page."""
    rows = []
    folders = [made(name) for name in MODELS]
    for text in TEXTS:
        content = beginning(text)
        for tool, compress in GENERAL.items():
            rows.append(row(text, content, tool, len(compress(content)), 0))
        for folder in folders:
            rows.append(ours(text, content, folder))
            print(rows[-1], flush=True)
    header = [
        "text",
        "bytes",
        "tool",
        "compressed",
        "bits a byte",
        "with the model",
        "of it `laconic bits`",
        "bytes a second",
    ]
    table = [header]
    for one in rows:
        cells = [one["dataset"], f"{one['text_bytes']:,}", one["tool"], f"{one['bytes']:,}"]
        cells += [f"{one['bits_per_byte']:.3f}", f"{one['bytes_with_model']:,}"]
        said, speed = one.get("bits_says"), one.get("bytes_per_second")
        table.append([*cells, f"{said:.3f}" if said else "", f"{speed:,.0f}" if speed else ""])
    remark = (
        f"The first {SIZE:,} bytes of each split, documents parted by an empty line. Both models were trained on "
        "stories, none on Shakespeare or Wikipedia; they are rounded to 8 bits and read windows of "
        f"{CONTEXT} tokens. Each archive was opened again and gave the same bytes. Speed is that of compressing, on "
        "one core, roughly."
    )
    record.write("zip", rows, [("Texts as bits", remark, table)])


def beginning(name: str) -> bytes:
    """The first bytes of a data set's texts, up to a whole character."""
    with (record.folder("LACONIC_DATA", name) / f"{TEXTS[name]}.jsonl").open(encoding="utf-8") as file:
        whole = "\n\n".join(json.loads(line)["text"] for line in file).encode()
    return whole[:SIZE].decode(errors="ignore").encode()


def made(name: str) -> Path:
    """An artifact of the model at 8 bits."""
    opened = causal.read(record.folder("LACONIC_MODELS", name), CONTEXT)
    out = record.runs() / "zip" / name
    work = Work(opened.model, opened.tokenizer, opened.task, Splits([], [], "0" * 64), None, 0, out, False)
    for method in (RTN(8, where="all", group=64), Half()):
        method.apply(work)
    kinds.freeze(work.model)
    artifact.save(
        out, work.model, work.tokenizer, task=tasks.describe(work.task), recipe=None, provenance={}, measures={},
        base_config=work.model.config.to_dict(),
    )  # fmt: skip
    return out


def ours(text: str, content: bytes, folder: Path) -> dict[str, Any]:
    """The row of a text with a model, after its archive was opened again."""
    opened = causal.read(folder)
    weighed = bits.weigh(opened, archive.cut(content))
    started = time.perf_counter()
    packed = archive.pack(opened, content)
    seconds = time.perf_counter() - started
    if archive.unpack(packed, folder, text) != content:
        raise AssertionError(f"{folder} does not give {text} back")
    found = row(text, content, f"laconic, {folder.name}", len(packed), opened.folder_bytes or 0)
    return {**found, "bits_says": weighed.per_byte, "bytes_per_second": len(content) / seconds}


def row(text: str, content: bytes, tool: str, size: int, model: int) -> dict[str, Any]:
    """What every tool is told by."""
    held = {"dataset": text, "tool": tool, "text_bytes": len(content), "bytes": size, "model_bytes": model}
    return {**held, "bits_per_byte": 8 * size / len(content), "bytes_with_model": size + model}


if __name__ == "__main__":
    main()
