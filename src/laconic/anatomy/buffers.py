"""Give a model that was built on the meta device memory, and its unsaved buffers their values.

No paper: transformers computes these once, when a model is built, and does not save them.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import nn

from laconic.anatomy.positions import resize
from laconic.errors import AnatomyError

ROTARY = "inv_freq"  # ends the names of frequencies; Su et al. 2021, arXiv:2104.09864


def materialise(model: nn.Module, device: str | torch.device = "cpu") -> None:
    """Memory for every tensor, ties kept, unsaved buffers filled; the weights are still to be loaded."""
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append((module, name))
    shared = [places for places in owners.values() if len(places) > 1]
    model.to_empty(device=device)
    for (first, its_name), *others in shared:
        for module, name in others:
            module._parameters[name] = first._parameters[its_name]
    fill(model)


def fill(model: nn.Module) -> None:
    """Compute every buffer that `state_dict` leaves out; raises AnatomyError for one that is not known."""
    for path, module in model.named_modules():
        for name in sorted(module._non_persistent_buffers_set):
            buffer = module._buffers.get(name)
            if buffer is None:
                continue
            if name.endswith(ROTARY):
                _rotary(module, name, buffer.device)
            elif name == "embed_scale":  # Gemma
                buffer.fill_(float(cast(Any, module).scalar_embed_scale))
            elif name in ("position_ids", "token_type_ids", "bias"):
                resize(module, name, buffer.shape[-1])
            else:
                raise AnatomyError(
                    f"{path}.{name} is not saved and not known; add how it is computed to anatomy/buffers.py"
                )


def _rotary(module: nn.Module, name: str, device: torch.device) -> None:
    with torch.device("cpu" if device.type == "meta" else device):
        config: Any = copy.copy(module.config)
        if hasattr(module, "layer_types"):  # Gemma 3 has frequencies for each type that blocks had when it was built
            config.layer_types = module.layer_types
        fresh = cast(Any, type(module))(config=config)
    setattr(module, name, getattr(fresh, name).to(device))
