"""The strongest ONNX Runtime baseline that people make of an encoder: fused graph, dynamic int8 per channel.

No paper: TorchScript export, `onnxruntime.transformers.optimizer`, then `onnxruntime.quantization.quantize_dynamic`.
"""

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from onnx import TensorProto
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions
from transformers import PreTrainedModel

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class _Logits(torch.nn.Module):
    """The model as the exporter wants it: tensors in, logits out."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        answer = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return answer.logits


def export_float(model: PreTrainedModel, folder: str | Path) -> Path:
    """Export `model` (BERT-like, with a head), fuse it, and return the path of the float32 ONNX file in `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plain, fused = folder / "plain.onnx", folder / "fused.onnx"
    kept = model.config._attn_implementation
    model.config._attn_implementation = "eager"
    ids = torch.ones(2, 8, dtype=torch.int64)
    per_token = "TokenClassification" in type(model).__name__
    axes = {name: {0: "batch", 1: "tokens"} for name in (*INPUTS, *(["logits"] if per_token else []))}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _Logits(model.eval()),
                (ids, ids.clone(), torch.zeros_like(ids)),
                str(plain),
                dynamo=False,
                input_names=list(INPUTS),
                output_names=["logits"],
                opset_version=17,
                dynamic_axes=axes,
            )
    finally:
        model.config._attn_implementation = kept
    logging.getLogger("onnxruntime.transformers").setLevel(logging.ERROR)
    options = FusionOptions("bert")
    fast = optimizer.optimize_model(
        str(plain),
        model_type="bert",
        num_heads=model.config.num_attention_heads,
        hidden_size=model.config.hidden_size,
        opt_level=1,
        optimization_options=options,
    )
    fast.save_model_to_file(str(fused))
    return fused


def export_int8(model: PreTrainedModel, folder: str | Path) -> Path:
    """As `export_float`, with per-channel int8 weights and dynamic uint8 activations: the path of `int8.onnx`."""
    fused = export_float(model, folder)
    small = Path(folder) / "int8.onnx"
    quantize_dynamic(
        str(fused),
        str(small),
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
    return small


class Session:
    """An exported file in ONNX Runtime, as its documentation opens one."""

    def __init__(self, path: Path, threads: int) -> None:
        options = SessionOptions()
        options.intra_op_num_threads = threads
        self.session = InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Logits of one padded batch."""
        types = batch.get("token_type_ids", np.zeros_like(batch["input_ids"]))
        answer: np.ndarray = self.session.run(None, {**{k: batch[k] for k in INPUTS[:2]}, INPUTS[2]: types})[0]
        return answer
