"""Save a compressed model as a folder and open it again, bit for bit.

No paper: a folder describes the result. Opening it is: the stock model from its config on the meta device, cut to the
shape, the listed layers laid in, every tensor read strictly. What was one tensor is one again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerFast

from laconic import layers, notation
from laconic.anatomy import Anatomy
from laconic.artifact import floats, original, place, store
from laconic.artifact import manifest as manifests
from laconic.artifact import tokenizer as tokenizers
from laconic.artifact.damage import AGAIN, Reading
from laconic.artifact.manifest import CONFIG, TOKENIZER, WEIGHTS, Manifest
from laconic.contracts import LayerKind
from laconic.errors import ArtifactError

VERSION = transformers.__version__
LEFT_OUT = {"_name_or_path", "auto_map", "attn_implementation", "_attn_implementation", "quantization_config"}
"""Keys of a config that name paths of this machine, code, or kernels to fetch."""
LARGER, SPARE = 16, 1024  # stock tensors to a stored one, where blocks were removed; and for models of one block
MAKING = frozenset({torch.empty, torch.zeros, torch.ones, torch.full, torch.tensor, torch.randn})


@dataclass(frozen=True)
class Opened:
    """An artifact in memory: model in eval mode, tokenizer, manifest."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    manifest: Manifest


def save(
    folder: Path | str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    task: dict[str, Any],
    recipe: dict[str, Any] | None,
    provenance: dict[str, Any],
    measures: dict[str, Any],
    base_config: dict[str, Any],
) -> Manifest:
    """Write the artifact in one move; layers may be in training.

    `base_config` is the config of the stock model before any cut (`config.to_dict()`, with its labels). Equal arguments
    give byte-identical folders, so no time or path belongs in them. The folder may be absent, empty or an artifact;
    anything else is an ArtifactError, and so is a full disk, which leaves what was there.
    """
    place.check_target(Path(folder))
    config = {key: value for key, value in base_config.items() if key not in LEFT_OUT}
    config["architectures"] = [type(model).__name__]
    files = {
        CONFIG: json.dumps(config, indent=1, sort_keys=True).encode(),
        WEIGHTS: store.encode(_tensors(model)),
        TOKENIZER: tokenizers.encode(tokenizer),
    }
    manifest = Manifest(
        attention=model.config._attn_implementation,
        task=task,
        shape=Anatomy(model).shape(),
        layers={path: [layer.kind, layer.spec()] for path, layer in _held(model)},
        recipe=recipe,
        provenance=provenance,
        measures=measures,
        files=manifests.describe(files),
    )
    if manifest.attention not in manifests.ATTENTIONS:
        allowed = " or ".join(manifests.ATTENTIONS)
        raise ArtifactError(f"the model's attn_implementation is {manifest.attention!r}; load it with {allowed}")
    place.write(Path(folder), {manifests.MANIFEST: manifest.encode()} | files)
    return manifest


def load(folder: Path | str) -> Opened:
    """The artifact, after every hash; ArtifactError names the file that is missing, damaged or unsafe."""
    folder = Path(folder)
    manifest, files = _verified(folder)
    weights = files[WEIGHTS]
    index = store.index_of(weights, folder / WEIGHTS)
    most = LARGER * len({**dict.fromkeys(e.name for e in index.entries), **index.copies, **index.same}) + SPARE
    model = _empty(folder, manifest, files[CONFIG], most)
    _compare(model, index, folder / WEIGHTS)
    _fill(model, store.decode(weights, folder / WEIGHTS))
    return Opened(model.train(False), tokenizers.decode(files[TOKENIZER], folder / TOKENIZER), manifest)


def weigh(folder: Path | str) -> list[tuple[str, int, int]]:
    """(path, parameters, stored bytes) of each stored tensor; tied tensors once."""
    folder = Path(folder)
    _, files = _verified(folder)
    return store.weigh(store.index_of(files[WEIGHTS], folder / WEIGHTS))


def _verified(folder: Path) -> tuple[Manifest, dict[str, bytes]]:
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: there is no such folder; name a folder that `laconic compress` wrote")
    original.refuse_pickles(folder)
    manifest = manifests.read(folder)
    if missing := {CONFIG, WEIGHTS, TOKENIZER} - set(manifest.files):
        raise ArtifactError(f"{folder / manifests.MANIFEST}: does not list {', '.join(sorted(missing))}; {AGAIN}")
    return manifest, manifests.contents(folder, manifest)


class _Bounded(TorchFunctionMode):
    """Ends the making of a model that asks for more tensors than the stored ones can be what is left of."""

    def __init__(self, most: int, where: Path) -> None:
        super().__init__()
        self.left, self.where = most, where

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.left -= function in MAKING
        if self.left < 0:
            raise _too_large(self.where)
        return function(*args, **(kwargs or {}))


def _too_large(where: Path) -> ArtifactError:
    return ArtifactError(f"{where}: its model is far larger than the weights that are stored; {AGAIN}")


def _deepest(config: dict[str, Any]) -> int:
    """The most layers that a config speaks of, in its parts too: it lists some of their properties layer by layer."""
    said = (value for key, value in config.items() if "layer" in key and isinstance(value, int))
    return max([0, *said, *(_deepest(part) for part in config.values() if isinstance(part, dict))])


def _empty(folder: Path, manifest: Manifest, raw: bytes, most: int) -> PreTrainedModel:
    """The model on the meta device: stock, of at most so many tensors, cut to shape, our layers in it."""
    where = folder / CONFIG
    try:
        config: dict[str, Any] = notation.read(raw)
        name = str((config.get("architectures") or [None])[0])
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ArtifactError(f"{where}: not a config ({error}); {AGAIN}") from error
    made = getattr(transformers, name, None)
    if not (name.isidentifier() and isinstance(made, type) and issubclass(made, PreTrainedModel)):
        raise ArtifactError(f"{where}: transformers {VERSION} has no model {name!r}; use the version that made it")
    if _deepest(config) > most:
        raise _too_large(where)
    left_out = LEFT_OUT | {"model_type", "num_labels"}  # id2label counts them, at the length that is written
    known = {key: value for key, value in config.items() if key not in left_out}
    with Reading(lambda cause: f"{where}: not a config that transformers {VERSION} reads ({cause}); {AGAIN}"):
        stock = AutoConfig.for_model(config["model_type"], **known)
        stock._attn_implementation = manifest.attention  # of its parts too, whatever they say
        with _Bounded(most, where), torch.device("meta"):
            model: PreTrainedModel = made(stock)
    with torch.device("meta"):
        Anatomy(model).reshape(manifest.shape)
        listed = sorted(manifest.layers.items(), key=lambda item: bool(item[1][1].get("source")))  # sources come first
        for path, (kind, spec) in listed:
            layers.swap(model, path, layers.build(kind, spec))
        layers.bind(model)
    return model


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter and buffer at every path it has, also the buffers that `state_dict` leaves out."""
    return dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))


def _compare(model: nn.Module, index: store.Index, where: Path) -> None:
    """Refuse weights whose names, shapes or types are not the model's, before anything is decoded."""
    entries = {entry.name: entry for entry in index.entries}
    entries |= {name: entries[stored] for name, stored in index.copies.items()}
    entries |= {name: entries[stored] for name, stored in index.same.items()}
    tensors = _tensors(model)
    if wrong := sorted(set(entries) ^ set(tensors)):
        side = "which the model does not have" if wrong[0] in entries else "not among the weights"
        raise ArtifactError(f"{where}: {wrong[0]}: {side} ({len(wrong)} such); use the versions that made it")
    for name, tensor in tensors.items():
        entry = entries[name]
        dtype = floats.DTYPES[entry.dtype]
        kind = dtype == tensor.dtype or (dtype.is_floating_point and tensor.dtype.is_floating_point)
        if entry.shape != tuple(tensor.shape) or not kind:
            wanted = f"{tensor.dtype} {tuple(tensor.shape)}"
            raise ArtifactError(f"{where}: {name} is {entry.dtype} {entry.shape} and not {wanted}; {AGAIN}")


def _fill(model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put the tensors in, one Parameter for each stored tensor, so that ties are as they were saved."""
    parameters: dict[int, nn.Parameter] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        for name, empty in module._parameters.items():
            if empty is not None:
                tensor = tensors[prefix + name]
                parameters.setdefault(id(tensor), nn.Parameter(tensor, requires_grad=empty.requires_grad))
                module._parameters[name] = parameters[id(tensor)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = tensors[prefix + name]


def _held(model: nn.Module) -> list[tuple[str, LayerKind]]:
    return [(path, cast(LayerKind, layer)) for path, layer in layers.held(model)]
