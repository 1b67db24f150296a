"""How fast an artifact's weights decode, on one core: `python -m benchmarks.codec ARTIFACT`.

No paper: measurement. Megabytes are those of the dense float32 weights that come out.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

from benchmarks import record
from laconic import artifact
from laconic.artifact import store

REPEATS = 5


def decode_speed(folder: Path, repeats: int = REPEATS) -> dict[str, float]:
    """Bytes stored, weights held, seconds (median of processor time) and megabytes of float32 a second and core."""
    container = (folder / "weights.safetensors").read_bytes()
    weights = sum(count for _, count, _ in artifact.weigh(folder))
    store.decode(container)
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        store.decode(container)
        seconds.append(time.process_time() - start)
    middle = statistics.median(seconds)
    return {
        "bytes": len(container),
        "weights": weights,
        "seconds": middle,
        "megabytes_per_second": weights * 4e-6 / middle,
    }


def main() -> None:
    """Write docs/results/codec.md for the artifact named on the command line."""
    torch.set_num_threads(1)
    found = decode_speed(Path(sys.argv[1]))
    table = [
        ["", "value"],
        *([name, f"{value:,.0f}" if value > 1000 else f"{value:.4g}"] for name, value in found.items()),
    ]
    record.write("codec", [found], [("Decoding on one core", "Medians of processor time.", table)])


if __name__ == "__main__":
    main()
