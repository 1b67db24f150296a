"""NNCodec in an environment of its own: bytes and decoding time of planes of whole numbers.

No paper here: it is ISO/IEC 15938-17 by its authors' software. As a script it runs inside that environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = "nncodec==2.1.3"


def measure(planes: dict[str, np.ndarray], folder: Path) -> dict[str, Any] | None:
    """{"bytes", "seconds"} summed over planes whose commonest number is 0; None where NNCodec does not install."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]
    if subprocess.run(command, check=False).returncode:
        return None
    with tempfile.TemporaryDirectory() as place:
        np.savez(Path(place) / "planes.npz", **planes)
        done = subprocess.run([str(python), __file__, place], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _inside(place: Path) -> None:
    from nncodec import tensor

    size, seconds = 0, 0.0
    for plane in np.load(place / "planes.npz").values():
        whole = plane.astype(np.int32)
        stream = tensor.encode(whole, {"use_dq": False, "results": str(place)})
        start = time.process_time()
        back = tensor.decode(stream)
        seconds += time.process_time() - start
        if not np.array_equal(np.asarray(back), whole):
            raise SystemExit("NNCodec gave other numbers back")
        size += len(stream)
    print(json.dumps({"bytes": size, "seconds": seconds}))


if __name__ == "__main__":
    _inside(Path(sys.argv[1]))
