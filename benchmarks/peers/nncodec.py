"""NNCodec: bytes and decoding time of planes of whole numbers.

No paper here: it is ISO/IEC 15938-17 by its authors' software. As a module it runs inside its own environment.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import environments

ROOT = Path(__file__).parent.parent.parent


def measure(planes: dict[str, np.ndarray], folder: Path) -> dict[str, Any] | None:
    """{"bytes", "seconds"} summed over planes whose commonest number is 0; None where NNCodec does not install."""
    try:
        python = environments.python("nncodec", folder)
    except environments.NotInstalledError as error:
        print(f"nncodec is left out: {error}", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory() as place:
        np.savez(Path(place) / "planes.npz", **planes)
        command = [str(python), "-m", "benchmarks.peers.nncodec", place]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
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
