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
import transformers
from safetensors.torch import load_file, save_file

DENSE, RESULT, OWN = "dense.safetensors", "result.json", "own"
BLOCKS = {"layers", "layer"}  # what the list of blocks is called
WIDE = (  # of a feed-forward: the matrix that neurons are known by, what else has a row for each, what has a column
    ("mlp.gate_proj.weight", ("mlp.up_proj.weight",), "mlp.down_proj.weight"),
    ("intermediate.dense.weight", ("intermediate.dense.bias",), "output.dense.weight"),
)
WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")  # files of a folder that are weights


@dataclass
class Job:
    """A model folder, calibration samples, what is asked for, and where it goes.

    An example is a text as Laconic has it; its sample, what the model reads of it, by name; its answer, the `labels`
    and, where there are several, their `slots` among the model's outputs.
    """

    folder: Path
    examples: list[dict[str, Any]]
    samples: list[dict[str, list[int]]]
    answers: list[dict[str, list[int]]]
    setting: dict[str, Any]
    out: Path
    state: dict[str, Any]  # what `compress` hands on to `leave`

    @property
    def method(self) -> str:
        """The tool's method by the name that Laconic has for it."""
        return str(self.setting["method"])

    @property
    def tokens(self) -> list[list[int]]:
        """Token ids of every sample."""
        return [sample["input_ids"] for sample in self.samples]

    def batch(self, i: int) -> dict[str, torch.Tensor]:
        """What the model reads of sample `i`, a batch of one."""
        return {name: torch.tensor([row]) for name, row in self.samples[i].items()}


Compress = Callable[[Any, Job], Any]
Leave = Callable[[Any, Job], tuple[dict[str, torch.Tensor], int]]


def run(opened: Callable[[Path], Any], compress: Compress, leave: Leave) -> None:
    """Open the model, compress it under the clock, and leave dense weights and figures.

    `compress` gives the model to go on with; `leave` its dense weights by their names in the checkpoint, and the bytes
    of weights that the tool's own format has.
    """
    folder, calibration, setting, out = sys.argv[1:5]
    held = json.loads(Path(calibration).read_text())
    job = Job(Path(folder), **held, setting=json.loads(setting), out=Path(out), state={})
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


def opened(folder: Path) -> Any:
    """The model in float32, of the class that its config names."""
    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    return getattr(transformers, name).from_pretrained(str(folder), dtype=torch.float32).eval()


def peak() -> int:
    """Most memory this program has held; `getrusage` would count that of the process that started it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


@torch.no_grad()
def logits(model: Any, job: Job) -> torch.Tensor:
    """What the model says of the first calibration sample."""
    return model(**job.batch(0)).logits.float()


def disagreement(said: torch.Tensor, dense: dict[str, torch.Tensor], model: Any, job: Job) -> float:
    """How far the dense weights, in the stock model, are from what the tool's own model said, relative to its size."""
    model.load_state_dict({name: t.float() for name, t in dense.items()}, strict=False)
    return float((logits(model, job) - said).norm() / said.norm())


def widened(dense: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Feed-forwards in the width they had, with zeros for the neurons that went: they compute the same.

    A neuron is known by its row of the first matrix, which no tool here changes.
    """
    found = dict(dense)
    for first, others, last in WIDE:
        for known in [name for name in dense if name.endswith(first) and dense[name].shape != before[name].shape]:
            rows = (dense[known].unsqueeze(1) == before[known]).all(-1).int().argmax(1)  # (kept,)
            block = known.removesuffix(first)
            for name in (known, *(block + other for other in others), block + last):
                place = found[name] = torch.zeros_like(before[name])
                down = name == block + last
                (place.T if down else place)[rows] = dense[name].T if down else dense[name]
    return found


def linears(model: Any) -> list[tuple[str, Any]]:
    """(path, linear) of the blocks of a decoder or an encoder: what every tool here compresses."""
    found = [(path, module) for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    return [(path, module) for path, module in found if BLOCKS.intersection(path.split("."))]


def others(model: Any) -> list[str]:
    """Paths of the linears that no tool here compresses: heads, and what stands between them and the blocks."""
    chosen = {path for path, _ in linears(model)}
    return [p for p, m in model.named_modules() if isinstance(m, torch.nn.Linear) and p not in chosen]


def weigh(folder: Path) -> int:
    """Bytes of the weight files in a folder that a tool saved."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in WEIGHTS)
