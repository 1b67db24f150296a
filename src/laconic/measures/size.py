"""How large a model is: bytes of its folder, parameters, multiplications, and where in the model they are.

No paper: counting. A mask or a quantized grid held as float32 has the size of float32 here, because files are weighed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from laconic import artifact
from laconic import layers as kinds
from laconic.anatomy import Anatomy
from laconic.contracts import LayerKind
from laconic.errors import ArtifactError

PARTS = ("embeddings", "attention", "ffn", "head", "other")
MULTIPLY = ("attention", "ffn", "head")  # an embedding is looked up
TOKENS = 128  # length of the text whose multiplications are counted


@dataclass(frozen=True)
class Layer:
    """One layer of a model; `other` holds norms and whatever else has parameters."""

    path: str
    part: str  # of PARTS
    kind: str  # layer kind, or "stock" for the model's own modules
    parameters: int
    nonzero: int
    macs: int  # multiplications for one token
    held_bits: int  # in memory, before entropy coding
    stored_bytes: int | None  # in the folder's weights, where they were weighed


@dataclass(frozen=True)
class Size:
    """A model and its folder as a whole."""

    bytes: int  # every file of the model that is read: weights, tokenizer, manifest
    parameters: int
    nonzero: int
    macs: int  # multiplications for one text of `tokens` tokens
    tokens: int
    bits_per_parameter: float  # 8 x bytes / parameters
    parts: dict[str, int]  # bytes of each of PARTS in the weights; empty where they were not weighed


def take(
    folder: Path, model: PreTrainedModel, stored: Mapping[str, int] | None = None, *, tokens: int = TOKENS
) -> Size:
    """Weigh a folder and the model in it; `stored` is the bytes of each tensor (`artifact.weigh`), where known.

    A folder of an ordinary checkpoint tells it by itself.
    """
    stored = checkpoint(folder) if stored is None else stored
    rows = layers(model, stored or None)
    total = folder_bytes(folder)
    parameters = sum(row.parameters for row in rows)
    parts = {p: sum(row.stored_bytes or 0 for row in rows if row.part == p) for p in PARTS}
    return Size(
        bytes=total,
        parameters=parameters,
        nonzero=sum(row.nonzero for row in rows),
        macs=Anatomy(model).macs(tokens),
        tokens=tokens,
        bits_per_parameter=8 * total / max(parameters, 1),
        parts=parts if stored else {},
    )


def folder_bytes(folder: Path) -> int:
    """Bytes of an artifact's own files, or of those of an ordinary checkpoint that are read.

    Raises ArtifactError when it is no folder.
    """
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder; give the folder of a model")
    if artifact.is_artifact(folder):
        listed = artifact.read_manifest(folder).files.values()
        return (folder / artifact.MANIFEST).stat().st_size + sum(int(said["bytes"]) for said in listed)
    return sum(file.stat().st_size for file in artifact.read_files(folder))


def strangers(folder: Path) -> list[Path]:
    """Files in or below an ordinary checkpoint's folder that are not read: weights of other tools, pictures."""
    return sorted({file for file in folder.rglob("*") if file.is_file()} - set(artifact.read_files(folder)))


def checkpoint(folder: Path) -> dict[str, int]:
    """Bytes of each tensor of an ordinary checkpoint's safetensors; empty where there are none."""
    amounts: dict[str, int] = {}
    for file in artifact.weight_files(folder):
        if not file.is_file():
            continue
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if length > file.stat().st_size:
                raise ArtifactError(f"{file} is cut short; copy or save the model again")
            header = json.loads(handle.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                amounts[name] = end - begin
    return amounts


def layers(model: PreTrainedModel, stored: Mapping[str, int] | None = None) -> list[Layer]:
    """Every layer that holds parameters or multiplies, in the model's order; weights two layers share count once.

    `stored` is the bytes of each stored tensor by name; what lies outside every layer follows at the end.
    """
    anatomy = Anatomy(model)
    part_of = {path: part for part in PARTS[:-1] for path, _ in anatomy.linears(part)}
    part_of |= {path: part for part in PARTS[:-1] for path, _ in anatomy.whole(part)}
    ours = dict(kinds.held(model))
    whole = {path: layer for path, layer in ours.items() if kinds.parts(layer)}
    part_of |= {path: part_of[owner] for path in whole if (owner := _owner(path, part_of)) is not None}  # in another
    held = {path: layer for path, layer in ours.items() if path not in whole}
    modules = dict(model.named_modules())
    counts = dict.fromkeys(part_of, (0, 0, 0))  # path -> parameters, non-zero, bits
    counts |= {path: (0, 0, cast(LayerKind, module).bits()) for path, module in whole.items()}
    counts |= {path: _held(module) for path, module in held.items()}
    for name, parameter in model.named_parameters():
        path = name.rpartition(".")[0]
        if _owner(path, held) is None:
            amount, nonzero = parameter.numel(), int(parameter.count_nonzero())
            added = (amount, nonzero, amount * 8 * parameter.element_size())
            before = counts.get(path, (0, 0, 0))
            counts[path] = (before[0] + added[0], before[1] + added[1], before[2] + added[2])
    weighed = None if stored is None else _by_layer(stored, counts)
    rows = [
        Layer(
            path,
            part_of.get(path, "other"),
            _kind(path, ours),
            *counts[path][:2],
            macs=_macs(modules[path]) if part_of.get(path) in MULTIPLY else 0,
            held_bits=counts[path][2],
            stored_bytes=None if weighed is None else weighed.pop(path, 0),
        )
        for path in modules
        if path in counts
    ]
    return rows + [Layer(name, "other", "stored", 0, 0, 0, 0, amount) for name, amount in (weighed or {}).items()]


def _kind(path: str, ours: Mapping[str, nn.Module]) -> str:
    """The kind of the layer at a path, or of the composite that it is a part of."""
    owner = _owner(path, ours)
    return "stock" if owner is None else cast(LayerKind, ours[owner]).kind


def _macs(module: nn.Module) -> int:
    """Multiply-accumulates of a token, but for those of a composite's parts, which have rows of their own."""
    return int(getattr(module, "products", 0)) if kinds.parts(module) else kinds.take(module).weight.numel()


def _held(module: nn.Module) -> tuple[int, int, int]:
    own = (module.bias,) if kinds.is_shared(module) else (module.weight, module.bias)
    tensors = [t for t in own if isinstance(t, Tensor)]
    nonzero = sum(int(t.count_nonzero()) for t in tensors)
    return sum(t.numel() for t in tensors), nonzero, cast(LayerKind, module).bits()


def _owner(path: str, known: Mapping[str, object]) -> str | None:
    """The nearest of `known` at or above a dotted path."""
    while path not in known:
        if not path:
            return None
        path = path.rpartition(".")[0]
    return path


def _by_layer(stored: Mapping[str, int], known: Mapping[str, object]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for name, amount in stored.items():
        owner = _owner(name, known)
        owner = name if owner is None else owner
        totals[owner] = totals.get(owner, 0) + amount
    return totals
