"""llm-compressor: round to nearest, GPTQ, AWQ, SmoothQuant, SparseGPT and Wanda.

No paper: https://github.com/vllm-project/llm-compressor as its documentation uses it, on the linears of the blocks. Its
AWQ pins memory, which PyTorch refuses where there is no accelerator; there it does without.
"""

from __future__ import annotations

from typing import Any

import torch
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.lifecycle.forward import fake_quantize
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
from llmcompressor.pipelines.cache import IntermediatesCache

from benchmarks.peers import frame

PRUNING = {"sparsegpt": SparseGPTModifier, "wanda": WandaPruningModifier}


def scheme(setting: dict[str, Any]) -> QuantizationScheme:
    """Weights, and with `activations` inputs of each token, on a grid of whole numbers."""
    group = setting.get("group", "channel")
    wide = {"strategy": "channel"} if group == "channel" else {"strategy": "group", "group_size": group}
    weights = QuantizationArgs(num_bits=setting["bits"], symmetric=setting["symmetric"], **wide)
    inputs = None
    if "activations" in setting:
        inputs = QuantizationArgs(num_bits=setting["activations"], symmetric=True, strategy="token", dynamic=True)
    return QuantizationScheme(targets=["Linear"], weights=weights, input_activations=inputs)


def recipe(setting: dict[str, Any], ignore: list[str]) -> list[Any]:
    """The modifiers of a setting, of all linears but those to `ignore`."""
    method = setting["method"]
    if method in PRUNING:
        pattern = setting.get("scope", "0:0")
        return [PRUNING[method](sparsity=setting["sparsity"], mask_structure=pattern, ignore=ignore)]
    rounding = {"ignore": ignore, "config_groups": {"group_0": scheme(setting)}}
    before = {"awq": [AWQModifier()], "smoothquant": [SmoothQuantModifier(smoothing_strength=0.5, ignore=ignore)]}
    solver = GPTQModifier if method in ("gptq", "smoothquant") else QuantizationModifier
    return [*before.get(method, []), solver(**rounding)]


def compress(model: Any, job: frame.Job) -> Any:
    """`oneshot` on the calibration tokens."""
    if not torch.accelerator.is_available():
        IntermediatesCache.pin_memory = lambda *_, **__: None
    data = Dataset.from_list([{"attention_mask": [1] * len(s["input_ids"]), **s} for s in job.samples])
    length = max(map(len, job.tokens))
    oneshot(
        model=model, dataset=data, recipe=recipe(job.setting, frame.others(model)), max_seq_length=length,
        num_calibration_samples=len(job.tokens), shuffle_calibration_samples=False,
    )  # fmt: skip
    return model


@torch.no_grad()
def leave(model: Any, job: frame.Job) -> tuple[dict[str, torch.Tensor], int]:
    """Weights rounded as its layers round them when they run."""
    dense = {name: t.clone() for name, t in model.state_dict().items()}
    for path, module in frame.linears(model):
        given = getattr(module, "quantization_scheme", None)
        if given is not None:
            order = getattr(module, "weight_g_idx", None)
            dense[f"{path}.weight"] = fake_quantize(
                module.weight, module.weight_scale, getattr(module, "weight_zero_point", None), given.weights, order
            )
    model.save_pretrained(job.out / frame.OWN, save_compressed=True)
    return {n: t for n, t in dense.items() if n.endswith((".weight", ".bias"))}, frame.weigh(job.out / frame.OWN)


if __name__ == "__main__":
    frame.run(frame.opened, compress, leave)
