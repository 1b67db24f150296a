"""ONNX Runtime: dynamic int8 of the matrix products, per channel.

No paper: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html. The row is of its rounded
weights; it rounds what enters a product as well, which costs beside.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from benchmarks.peers import frame

SMALL = "int8.onnx"
NEAR = 0.05  # that a matrix in 8 bits is off, at most


class Logits(torch.nn.Module):
    """The model as the exporter wants it: tensors in, logits out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(batch, tokens) to (batch, tokens, vocabulary), or of a classifier to (batch, labels)."""
        return self.model(input_ids=ids).logits


def compress(model: Any, job: frame.Job) -> Any:
    """Export, then `quantize_dynamic` of the products in the blocks; the model computes with what it made of them."""
    with tempfile.TemporaryDirectory() as place:
        plain = Path(place) / "model.onnx"
        model.config.use_cache = False
        torch.onnx.export(Logits(model), (torch.tensor(job.tokens[:1]),), str(plain), dynamo=True)
        graph = onnx.load(plain).graph
        weights = {t.name: t.dims for t in graph.initializer}
        products = [n for n in graph.node if n.op_type in ("MatMul", "Gemm") and n.input[1] in weights]
        inside = {frozenset(module.weight.shape) for _, module in frame.linears(model)}
        # a pooler has the shape of a block's linear, but reads one token a text, which makes it a Gemm
        head = [n.name for n in products if n.op_type == "Gemm" or frozenset(weights[n.input[1]]) not in inside]
        head += [f"{name}_MatMul" for name in head]  # as a Gemm is called by the time
        quantize_dynamic(
            plain, job.out / SMALL, per_channel=True, weight_type=QuantType.QInt8, nodes_to_exclude=head,
            op_types_to_quantize=["MatMul", "Gemm"], extra_options={"WeightSymmetric": job.setting["symmetric"]},
        )  # fmt: skip
    put(model, {t.name: numpy_helper.to_array(t) for t in onnx.load(job.out / SMALL).graph.initializer})
    return model


@torch.no_grad()
def put(model: Any, stored: dict[str, np.ndarray]) -> None:
    """Its integers times their scales; an integer matrix is known by the weight that it is nearest to."""
    free = {path: module.weight for path, module in frame.linears(model)}
    for name in [n.removesuffix("_quantized") for n in stored if n.endswith("_quantized")]:
        zero = stored[f"{name}_zero_point"].astype(np.float32)
        whole = stored[f"{name}_quantized"].astype(np.float32) - zero
        found = torch.from_numpy(whole * stored[f"{name}_scale"]).T  # (out, in)
        off = {p: float((w - found).norm() / w.norm()) for p, w in free.items() if w.shape == found.shape}
        nearest = min(off, key=lambda path: off[path])
        if off[nearest] > NEAR:
            raise SystemExit(f"{name} is no rounded weight of the model: {off[nearest]:.0%} off {nearest}")
        free.pop(nearest).copy_(found)
    if free:
        raise SystemExit(f"not rounded: {sorted(free)[:3]}")


def leave(model: Any, job: frame.Job) -> tuple[dict[str, torch.Tensor], int]:
    """Its weights, and its file."""
    return dict(model.named_parameters()), (job.out / SMALL).stat().st_size


if __name__ == "__main__":
    frame.run(frame.opened, compress, leave)
