"""Run every tool at every setting, evaluate what each leaves, write the page: `python -m benchmarks.peers`.

No paper: measurement. A figure that is there already for the same code, tool and inputs is not taken again; `--only`,
`--model`, `--setting` and `--method` take some, and the page keeps the rows of the others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks import record
from benchmarks.peers import environments, frame, inputs, page
from benchmarks.peers.evaluate import Judge
from benchmarks.peers.settings import FAMILIES, MADE, SETTINGS, Setting

NAME = "peers"
HERE = Path(__file__).parent
FIGURES = "figures.json"
FIGURES_OF = ("loss_increase", "bytes", "seconds", "peak_bytes")  # of every row, None where there are none
WEIGHTS = "model.safetensors"
LIMIT = 3600  # seconds that a tool may take
APART = 1e-3  # of the logits of a tool's own model, by which those of the dense weights it left may differ
Row = dict[str, Any]


def main() -> None:
    """The chosen settings anew, the others as the page has them."""
    given = arguments()
    rows = {id_of(row): row for row in earlier()}
    asked = [s for s in SETTINGS if not given.setting or {s.family, s.name}.intersection(given.setting)]
    chosen = [(s, model) for s in asked for model in s.models if not given.model or model in given.model]
    if given.kept:
        gone = [model for model in MADE if not inputs.is_there(model)]
        chosen = [(setting, model) for setting, model in chosen if model not in gone]
    for model in MADE.keys() & {model for _, model in chosen}:
        inputs.train(model, given.precision)
    for setting, model in chosen:
        rows |= {id_of(row): row for row in measured(setting, model, given)}
    order = [
        (m, s.name, s.grid, t, n) for s in SETTINGS for m in s.models for t, names in s.tools.items() for n in names
    ]
    found = [rows[key] for key in order if key in rows]
    record.write(NAME, found, page.sections(found, [key for key in order if key not in rows]))


def arguments() -> argparse.Namespace:
    """What the command line says."""
    tools = sorted({tool for setting in SETTINGS for tool in setting.tools})
    models = sorted({model for setting in SETTINGS for model in setting.models})
    methods = sorted({name for setting in SETTINGS for names in setting.tools.values() for name in names})
    settings = [*FAMILIES, *dict.fromkeys(setting.name for setting in SETTINGS)]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="All, or some of:")
    parser.add_argument("--only", nargs="+", choices=tools, metavar="TOOL", help=", ".join(tools))
    parser.add_argument("--model", nargs="+", choices=models, metavar="NAME", help=", ".join(models))
    parser.add_argument(
        "--setting", nargs="+", choices=settings, metavar="NAME", help="; ".join(settings).replace("%", "%%")
    )
    parser.add_argument("--method", nargs="+", choices=methods, metavar="NAME", help=", ".join(methods))
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="of training what is not there; else its benchmark's"
    )
    parser.add_argument("--kept", action="store_true", help="run nothing: the page of what has been measured")
    return parser.parse_args()


def measured(setting: Setting, model: str, given: argparse.Namespace) -> Iterator[Row]:
    """A row for each tool and method of a setting."""
    place = record.runs() / NAME
    place.mkdir(parents=True, exist_ok=True)
    folder = inputs.model(model, place / "models")
    samples = inputs.calibration(setting, model, folder, place)
    for tool, names in setting.tools.items():
        for method in names:
            if (given.only and tool not in given.only) or (given.method and method not in given.method):
                continue
            slug = re.sub(r"\W+", "-", f"{setting.name} {setting.grid}".replace(":", "of")).strip("-")
            out = place / model / slug / f"{tool}-{method}"
            row = {"model": model, "setting": setting.name, "family": setting.family, "grid": setting.grid}
            row |= {"tool": tool, "method": method}
            options = {**setting.options, "method": method}
            key = json.dumps([options, digest(tool), hashed(folder / WEIGHTS), hashed(samples)])
            figures = held(key, out)
            if figures is None and not given.kept:
                figures = one(tool, setting, options, folder, samples, out, key)
            if figures is not None:
                print(json.dumps(row | figures), flush=True)
                yield row | figures


def held(key: str, out: Path) -> dict[str, Any] | None:
    """The figures of an earlier call, if its inputs were the same."""
    kept = out / FIGURES
    if kept.is_file() and (found := json.loads(kept.read_text()))["key"] == key:
        return dict(found["figures"])
    return None


def one(
    tool: str, setting: Setting, options: dict[str, Any], folder: Path, samples: Path, out: Path, key: str
) -> dict[str, Any]:
    """The figures of one run, or why there are none."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    figures = run(tool, options, folder, samples, out)
    if "failure" not in figures and setting.inputs != "random":
        unit = "token" if setting.inputs == "text" else "example"
        try:
            figures |= scored(judged(folder), out / frame.DENSE, options.get("activations"), unit)
        except ValueError as error:
            figures = {**dict.fromkeys(FIGURES_OF), "failure": str(error)}
    figures |= record.origin()
    if "failure" not in figures:  # which is tried again another time
        (out / FIGURES).write_text(json.dumps({"key": key, "figures": figures}))
    for big in (out / frame.DENSE, out / frame.OWN):
        shutil.rmtree(big, ignore_errors=True)
        big.unlink(missing_ok=True)
    return figures


def scored(judge: Judge, dense: Path, activations: int | None, unit: str) -> dict[str, Any]:
    """What the judge finds of dense weights, and how much more their loss is than that of the float model."""
    found: dict[str, Any] = judge.score(dense, activations)
    nats = found.pop("nats")
    return {f"nats_per_{unit}": nats, **found, "loss_increase": nats - judge.float["nats"]}


def run(tool: str, options: dict[str, Any], folder: Path, samples: Path, out: Path) -> dict[str, Any]:
    """Run a tool's script in a process of its own; ours in our environment."""
    nothing = dict.fromkeys(FIGURES_OF)
    try:
        python = Path(sys.executable)
        if tool != "laconic":
            python = environments.python(tool, record.runs().resolve() / NAME / "environments")
    except environments.NotInstalledError as error:
        return {**nothing, "failure": f"does not install: {error}"}
    command = [str(python), "-m", f"benchmarks.peers.{tool}"]
    command += [str(folder.resolve()), str(samples.resolve()), json.dumps(options), str(out.resolve())]
    path = os.pathsep.join([str(record.ROOT / "src"), str(record.ROOT)]) if tool == "laconic" else str(record.ROOT)
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    quiet |= environments.VARIABLES.get(tool, {})
    try:
        done = subprocess.run(
            command, cwd=record.ROOT, env=os.environ | quiet, capture_output=True, text=True, check=False, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return {**nothing, "failure": f"took more than {LIMIT} seconds"}
    (out / "log.txt").write_text(done.stdout + done.stderr)
    if done.returncode:
        return {**nothing, "failure": environments.last(done.stderr)}
    found = json.loads((out / frame.RESULT).read_text())
    if found.get("disagreement", 0.0) > APART:
        return {**nothing, "failure": f"its dense weights are not its model's: off by {found['disagreement']:.1e}"}
    return {"loss_increase": None, **found}


def digest(tool: str) -> str:
    """Of all that a tool's figures hang on beside the options: script, judge, and packages or our source."""
    files = [HERE / f"{tool}.py", HERE / "frame.py", HERE / "evaluate.py", HERE / "inputs.py"]
    files += sorted((record.ROOT / "src").rglob("*.py")) if tool == "laconic" else []
    found = hashlib.sha256(b"".join(path.read_bytes() for path in files))
    found.update(json.dumps(environments.PACKAGES.get(tool)).encode())
    return found.hexdigest()


def hashed(path: Path) -> str:
    """A file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def judged(folder: Path) -> Judge:
    """One judge for each model."""
    return Judge(folder)


def earlier() -> list[Row]:
    """Rows of the page as it is."""
    path = record.RESULTS / f"{NAME}.json"
    return list(json.loads(path.read_text())["rows"]) if path.is_file() else []


def id_of(row: Row) -> tuple[str, ...]:
    """What a row is of."""
    return row["model"], row["setting"], row["grid"], row["tool"], row["method"]


if __name__ == "__main__":
    main()
