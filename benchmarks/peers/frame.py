"""What the script of every tool shares: its arguments, the clock, the peak of memory, and what it leaves behind.

No paper: bookkeeping. It runs in the peers' environments: PyTorch, transformers, safetensors and nothing of ours.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

DENSE, RESULT, OWN = "dense.safetensors", "result.json", "own"
WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")  # files of a folder that are weights


@dataclass
class Job:
    """A model folder, calibration samples as token ids (all equally long), what is asked for, and where it goes."""

    folder: Path
    tokens: list[list[int]]
    setting: dict[str, Any]
    out: Path
    state: dict[str, Any]  # what `compress` hands on to `leave`

    @property
    def method(self) -> str:
        """The tool's method by the name that Laconic has for it."""
        return str(self.setting["method"])


Compress = Callable[[Any, Job], Any]
Leave = Callable[[Any, Job], tuple[dict[str, torch.Tensor], int]]


def run(opened: Callable[[Path], Any], compress: Compress, leave: Leave) -> None:
    """Open the model, compress it under the clock, and leave dense weights and figures.

    `compress` gives the model to go on with; `leave` its dense weights by their names in the checkpoint, and the bytes
    of weights that the tool's own format has.
    """
    folder, tokens, setting, out = sys.argv[1:5]
    job = Job(Path(folder), json.loads(Path(tokens).read_text()), json.loads(setting), Path(out), {})
    torch.set_num_threads(int(job.setting.get("threads", 1)))
    torch.manual_seed(0)
    model = opened(job.folder)
    before, wall, spent = peak(), time.perf_counter(), time.process_time()
    model = compress(model, job)
    found: dict[str, Any] = {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - spent,
        "peak_bytes": peak(),
        "loaded_bytes": before,
    }
    said = logits(model, job)
    dense, found["bytes"] = leave(model, job)
    dense = widened(dense, load_file(job.folder / "model.safetensors"))
    save_file({name: t.detach().float().contiguous().clone() for name, t in dense.items()}, job.out / DENSE)
    if "activations" not in job.setting:
        found["disagreement"] = disagreement(said, dense, opened(job.folder), job)
    (job.out / RESULT).write_text(json.dumps(found))


def causal(folder: Path) -> Any:
    """A decoder in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()


def peak() -> int:
    """Most memory this program has held; `getrusage` would count that of the process that started it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


@torch.no_grad()
def logits(model: Any, job: Job) -> torch.Tensor:
    """What the model says of the first calibration sample."""
    return model(input_ids=torch.tensor(job.tokens[:1])).logits.float()


def disagreement(said: torch.Tensor, dense: dict[str, torch.Tensor], model: Any, job: Job) -> float:
    """How far the dense weights, in the stock model, are from what the tool's own model said, relative to its size."""
    model.load_state_dict({name: t.float() for name, t in dense.items()}, strict=False)
    return float((logits(model, job) - said).norm() / said.norm())


def widened(dense: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Feed-forwards in the width they had, with zeros for the neurons that went: they compute the same.

    A neuron is known by its row of the gate, which no tool here changes.
    """
    found = dict(dense)
    for gate in [name for name in dense if name.endswith("gate_proj.weight")]:
        if dense[gate].shape != before[gate].shape:
            rows = (dense[gate].unsqueeze(1) == before[gate]).all(-1).int().argmax(1)  # (kept,)
            for part in ("gate", "up", "down"):
                name = gate.replace("gate_proj", f"{part}_proj")
                place = found[name] = torch.zeros_like(before[name])
                (place.T if part == "down" else place)[rows] = dense[name].T if part == "down" else dense[name]
    return found


def linears(model: Any) -> list[tuple[str, Any]]:
    """(path, linear) of the blocks of a decoder: what every tool here compresses."""
    return [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in f".{n}"]


def weigh(folder: Path) -> int:
    """Bytes of the weight files in a folder that a tool saved."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in WEIGHTS)
