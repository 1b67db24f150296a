"""The same model in the formats people use: bytes of each.

No paper: measurement. zstd is RFC 8878.
"""

from pathlib import Path

import torch
import zstandard
from safetensors.torch import save
from transformers import PreTrainedModel

from benchmarks import peers_onnx


def compare(model: PreTrainedModel, folder: Path) -> dict[str, int]:
    """Bytes of the weights as float32 and float16 safetensors, the latter behind zstd -19, and as ONNX int8."""
    state = {k: v.detach().clone().contiguous() for k, v in model.state_dict().items()}
    full = save(state)
    half = save({k: v.to(torch.float16) if v.is_floating_point() else v for k, v in state.items()})
    return {
        "float32 safetensors": len(full),
        "float16 safetensors": len(half),
        "float16 safetensors, zstd -19": len(zstandard.ZstdCompressor(level=19, threads=-1).compress(half)),
        "ONNX Runtime int8": peers_onnx.export_int8(model, folder).stat().st_size,
    }
