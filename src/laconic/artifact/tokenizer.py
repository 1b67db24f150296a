"""A fast tokenizer as one small file, and back.

No paper: JSON without spaces, a vocabulary as its pieces in order of id, lzma.

Padding and truncation are left out: calling a tokenizer sets them anew, so that what is stored would depend on the
last call.
"""

from __future__ import annotations

import json
import lzma
import tempfile
from pathlib import Path
from typing import Any, cast

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from laconic import notation
from laconic.artifact.damage import AGAIN, Reading
from laconic.artifact.manifest import plain_name
from laconic.errors import ArtifactError

LARGEST = 1 << 28  # bytes unpacked; a vocabulary of a million pieces needs a tenth
LEFT_OUT = frozenset({"auto_map", "name_or_path", "_name_or_path", "is_local", "local_files_only"})  # code and places
FORM = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}  # tuned to text


def encode(tokenizer: PreTrainedTokenizerFast) -> bytes:
    """The tokenizer's files, packed; ArtifactError for one that is not fast."""
    if not tokenizer.is_fast:
        raise ArtifactError(f"{type(tokenizer).__name__} is not a fast tokenizer; convert it to a tokenizer.json first")
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        files = {path.name: path.read_text("utf-8") for path in sorted(Path(folder).iterdir())}
    held: dict[str, Any] = {n: json.loads(text) if n.endswith(".json") else text for n, text in files.items()}
    if "tokenizer.json" not in held:
        raise ArtifactError(f"{type(tokenizer).__name__} saves no tokenizer.json; convert it to a fast tokenizer first")
    held["tokenizer.json"] |= {"padding": None, "truncation": None}
    held["tokenizer_config.json"] = {k: v for k, v in held["tokenizer_config.json"].items() if k not in LEFT_OUT}
    model = held["tokenizer.json"]["model"]
    if isinstance(model["vocab"], dict) and sorted(model["vocab"].values()) == list(range(len(model["vocab"]))):
        model["vocab"] = sorted(model["vocab"], key=model["vocab"].__getitem__)
    raw = json.dumps(held, separators=(",", ":"), ensure_ascii=False).encode()
    form = FORM | {"dict_size": max(4096, len(raw))}
    return lzma.compress(raw, format=lzma.FORMAT_XZ, check=lzma.CHECK_NONE, filters=[form])


def decode(packed: bytes, where: Path) -> PreTrainedTokenizerFast:
    """The tokenizer that `encode` was given; ArtifactError names `where`."""
    reader = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=2 * LARGEST)
    try:
        raw = reader.decompress(packed, LARGEST)
        held = notation.read(raw) if reader.eof else None
    except (lzma.LZMAError, ValueError) as error:
        raise ArtifactError(f"{where}: does not unpack ({error}); {AGAIN}") from error
    if not isinstance(held, dict) or not {"tokenizer.json", "tokenizer_config.json"} <= set(held):
        raise ArtifactError(f"{where}: holds no tokenizer or more than {LARGEST} bytes; {AGAIN}")
    with Reading(
        lambda cause: f"{where}: not a tokenizer that is known here ({cause}); {AGAIN}, or update transformers"
    ):
        return _built(held, where)


def _built(held: dict[str, Any], where: Path) -> PreTrainedTokenizerFast:
    """The tokenizer whose files are held, written out for transformers to read."""
    model = held["tokenizer.json"]["model"]
    if isinstance(model["vocab"], list) and all(isinstance(piece, str) for piece in model["vocab"]):
        model["vocab"] = {piece: number for number, piece in enumerate(model["vocab"])}
    held["tokenizer_config.json"].pop("auto_map", None)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in held.items():
            written = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
            (Path(folder) / plain_name(name, where)).write_text(written, "utf-8")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer.name_or_path = ""
    return cast(PreTrainedTokenizerFast, tokenizer)
