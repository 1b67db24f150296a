"""SIGKILL at random moments of `laconic compress`, each followed by the same command: the bytes must not change.

No paper: fault injection. `python -m benchmarks.kill [--kills 10]`
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import laconic
from benchmarks import record

DATA = record.ROOT / "examples" / "requests"
RECIPE = """name: kill
steps:
  - vocabulary: {}
  - blocks: {keep: 0.67, choose: even}
  - neurons: {keep: 0.5}
  - rtn: {bits: 4, where: all}
  - distill: {epochs: 4}
  - half: {}
"""
FILES = ("manifest.json", "config.json", "weights.safetensors", "tokenizer.json.xz")


def main() -> None:
    """One unbroken run, then for each kill a fresh run that is killed once and called again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    base = record.runs() / "kill"
    model = record.folder("LACONIC_MODELS", "all-minilm-l6-v2")
    original = laconic.train(model, "classify", DATA, base / "original", options=laconic.Training(2, 2e-4))
    recipe = base / "kill.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    started = time.monotonic()
    want = digest(finish(start(original, recipe, base / "unbroken"), base / "unbroken"))
    whole = time.monotonic() - started
    rows, rng = [], random.Random(options.seed)
    for number in range(1, options.kills + 1):
        out = base / f"killed-{number}"
        moment = rng.uniform(0.05, 0.95) * whole
        process = start(original, recipe, out)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        taken_up = len(list(steps_of(out).glob("*/step.json")))
        half_written = out.exists() and not (out / "manifest.json").is_file()
        same = digest(finish(start(original, recipe, out), out)) == want
        row = {"name": f"kill {number}", "seconds": round(moment, 1), "steps_done": taken_up, "identical": same}
        rows.append({**row, "half_written": half_written})
        print(row, flush=True)
        shutil.rmtree(steps_of(out))
    header = [["kill", "after, s", "steps done by then", "same bytes", "half-written folder"]]
    table = [
        [r["name"], f"{r['seconds']}", str(r["steps_done"]), str(r["identical"]), str(r["half_written"])] for r in rows
    ]
    remark = f"An unbroken run takes {whole:.0f} s; its artifact is the one that all others must equal, byte for byte."
    record.write("kill", rows, [("SIGKILL and again", remark, header + table)])
    sys.exit(0 if all(r["identical"] and not r["half_written"] for r in rows) else 1)


def steps_of(out: Path) -> Path:
    """A steps folder of its own for every run, so that none takes up another's."""
    return out.with_name(f"{out.name}.steps")


def start(original: Path, recipe: Path, out: Path) -> subprocess.Popen[bytes]:
    """The command, begun."""
    command = [sys.executable, "-m", "laconic", "compress", str(original), "--recipe", str(recipe), "-o", str(out)]
    command += ["--steps", str(steps_of(out)), "--no-report", "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def finish(process: subprocess.Popen[bytes], out: Path) -> Path:
    """Wait for the command to succeed."""
    status = process.wait()
    if status:
        raise SystemExit(f"laconic compress -o {out} ended with status {status}; run it by hand to see why")
    return out


def digest(folder: Path) -> str:
    """sha256 of all files of an artifact."""
    found = sorted(path.name for path in folder.iterdir())
    if found != sorted(FILES):
        raise SystemExit(f"{folder} holds {', '.join(found)} and should hold {', '.join(FILES)}")
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in FILES)).hexdigest()


if __name__ == "__main__":
    main()
