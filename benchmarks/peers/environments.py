"""One environment for each tool, since they want different versions of the same packages.

No paper: venv and pip. What is installed is written down when it is whole, so that a second call goes on from there.
PyTorch comes first, in a fixed version, and no tool may replace it: another would bring gigabytes and other kernels.
"""

from __future__ import annotations

import json
import subprocess
import venv
from pathlib import Path

TORCH = "torch==2.13.0"
PACKAGES: dict[str, tuple[str, ...]] = {
    "llmcompressor": (TORCH, "llmcompressor==0.14.0.1"),
    "hqq": (TORCH, "hqq==0.2.8.post1", "transformers==5.23.0", "accelerate==1.15.0"),
    "autoround": (TORCH, "auto-round==0.16.1", "transformers==5.23.0"),
    "torchao": (TORCH, "torchao==0.18.0", "transformers==5.23.0"),
    "nncf": (TORCH, "nncf==3.4.0", "openvino==2026.4.1", "transformers==5.23.0"),
    "gptqmodel": (TORCH, "gptqmodel==7.6.0"),
    "torchpruning": (TORCH, "torch-pruning==1.6.1", "transformers==5.23.0"),
    "onnxruntime": (TORCH, "onnxruntime==1.32.0", "onnx==1.23.2", "onnxscript==0.7.2", "transformers==5.23.0"),
    "nncodec": ("nncodec==2.1.3",),
}
VARIABLES = {"gptqmodel": {"GPTQMODEL_CPU_WORKERS": "2"}}
"""What a tool's process must find set: this one asks for two workers of a pool that has one for two cores."""
READY = "ready.json"


class NotInstalledError(Exception):
    """A tool does not install here; the message is the last thing that its installer said."""


def python(tool: str, folder: Path) -> Path:
    """The interpreter of a tool's environment in `folder`, made at need; raises NotInstalledError."""
    place = folder / tool
    found = place / "bin" / "python"
    wanted = json.dumps(PACKAGES[tool])
    if (place / READY).is_file() and (place / READY).read_text() == wanted:
        return found
    if not found.exists():
        venv.create(place, with_pip=True)
    for packages in PACKAGES[tool][:1], PACKAGES[tool]:
        command = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotInstalledError(last(done.stderr))
    (place / READY).write_text(wanted)
    return found


def last(text: str) -> str:
    """The line that says what went wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["no message"])[-1][:300]
