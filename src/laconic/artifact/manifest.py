"""The manifest: what an artifact is, how to rebuild it, and the hash of every file that takes part.

No paper: a record. It is JSON without times, paths or machine names, so that equal runs give equal bytes, and it closes
with its own sha256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from laconic import notation
from laconic.artifact.damage import AGAIN
from laconic.errors import ArtifactError

SCHEMA = 2
MANIFEST, CONFIG, WEIGHTS, TOKENIZER = "manifest.json", "config.json", "weights.safetensors", "tokenizer.json.xz"
REPORTS = (  # what measuring writes beside them, on test and on validation; replaced with the artifact
    "report.json", "report.html", "report-validation.json", "report-validation.html",
)  # fmt: skip
OPENING = b'{"laconic":'  # how a manifest begins: what makes a folder ours
LARGEST_MANIFEST = 1 << 26  # bytes
ATTENTIONS = ("eager", "sdpa")  # implementations in transformers itself; others would be fetched from a hub


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself. All values are JSON."""

    attention: str  # of ATTENTIONS: how the measured model computed attention
    task: dict[str, Any]
    shape: dict[str, Any]  # Anatomy.shape()
    layers: dict[str, list[Any]]  # path: [kind, spec]
    recipe: dict[str, Any] | None
    provenance: dict[str, Any]
    measures: dict[str, Any]
    files: dict[str, dict[str, Any]]  # name: {"bytes": n, "sha256": hex}

    def record(self) -> dict[str, Any]:
        """All of it as JSON, the schema version first."""
        return {"laconic": SCHEMA} | asdict(self)

    def encode(self) -> bytes:
        """JSON on one line, closed by the sha256 of all before it."""
        try:
            text = json.dumps(self.record(), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"a manifest takes JSON values only: {error}; give numbers, text, lists") from error
        return _closed(text.encode())


def read(folder: Path | str) -> Manifest:
    """The manifest of an artifact folder, after every check that needs no other file."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{folder}: there is no {MANIFEST}; name a folder that `laconic compress` wrote")
    if path.stat().st_size > LARGEST_MANIFEST:
        raise ArtifactError(f"{path}: {path.stat().st_size} bytes; a manifest has at most {LARGEST_MANIFEST}")
    raw = path.read_bytes()
    try:
        text = notation.read(raw)
    except ValueError as error:
        raise ArtifactError(f"{path}: damaged, it is not JSON ({error}); {AGAIN}") from error
    if not isinstance(text, dict) or "laconic" not in text:
        raise ArtifactError(f"{path}: not a manifest of Laconic; name a folder that `laconic compress` wrote")
    if text["laconic"] != SCHEMA:
        raise ArtifactError(f"{path}: schema version {text['laconic']!r}; this Laconic reads {SCHEMA}: update Laconic")
    if _closed(raw[: raw.rfind(b',"sha256":"')] + b"}") != raw:
        raise ArtifactError(f"{path}: damaged or changed by hand (its sha256 differs); {AGAIN}")
    return _checked(path, {key: value for key, value in text.items() if key not in ("laconic", "sha256")})


def is_artifact(folder: Path | str) -> bool:
    """Whether a folder calls itself an artifact; nothing is verified."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(OPENING)) == OPENING


def is_damaged(folder: Path | str) -> bool:
    """Whether a folder has an artifact's files and a manifest that does not begin as one."""
    there = all((Path(folder) / name).is_file() for name in (MANIFEST, WEIGHTS))
    return there and not is_artifact(folder)


def describe(contents: Mapping[str, bytes]) -> dict[str, dict[str, Any]]:
    """Size and sha256 of each file."""
    return {name: {"bytes": len(held), "sha256": hashlib.sha256(held).hexdigest()} for name, held in contents.items()}


def contents(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Every listed file, read once, its size checked before and its sha256 after."""
    out = {}
    for name, said in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path}: missing; {AGAIN}")
        if path.stat().st_size != said["bytes"]:
            raise ArtifactError(f"{path}: {path.stat().st_size} bytes and not {said['bytes']}; {AGAIN}")
        out[name] = path.read_bytes()
        if hashlib.sha256(out[name]).hexdigest() != said["sha256"]:
            raise ArtifactError(f"{path}: damaged (its sha256 differs from the manifest's); {AGAIN}")
    return out


def plain_name(name: str, where: Path) -> str:
    """The name, when it is one of a file directly in its folder; ArtifactError when it leads elsewhere."""
    if not name or name.startswith(".") or any(c in name for c in "/\\:\0"):
        raise ArtifactError(f"{where}: {name!r} is not a plain file name; this artifact is not safe to open")
    return name


def _closed(text: bytes) -> bytes:
    return text[:-1] + b',"sha256":"' + hashlib.sha256(text).hexdigest().encode() + b'"}'


def _checked(path: Path, text: dict[str, Any]) -> Manifest:
    objects = ("task", "shape", "layers", "provenance", "measures", "files")
    wrong = set(text) ^ {*objects, "attention", "recipe"} or {n for n in objects if not isinstance(text[n], dict)}
    if wrong:
        raise ArtifactError(f"{path}: {', '.join(sorted(wrong))}: missing, unknown or of the wrong type; {AGAIN}")
    manifest = Manifest(**text)
    if manifest.attention not in ATTENTIONS:
        raise ArtifactError(f"{path}: attention {manifest.attention!r}; allowed: {', '.join(ATTENTIONS)}")
    for name, said in manifest.files.items():
        plain_name(name, path)
        if not (isinstance(said, dict) and isinstance(said.get("bytes"), int) and isinstance(said.get("sha256"), str)):
            raise ArtifactError(f"{path}: {name} has no size or sha256; {AGAIN}")
    for where, layer in manifest.layers.items():
        if not all(part.isidentifier() or part.isdecimal() for part in where.split(".")):
            raise ArtifactError(f"{path}: {where!r} is not a path of a layer; this artifact is not safe to open")
        match layer:
            case [str(kind), dict()] if kind.isidentifier():
                continue
        raise ArtifactError(f"{path}: layer {where} is not [kind, spec]; {AGAIN}")
    return manifest
