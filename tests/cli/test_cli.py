"""The command line: what works, and one line and a non-zero exit for what cannot."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import laconic
from laconic import cli
from tests import road


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    options = laconic.Training(epochs=2, learning_rate=3e-3, batch=4)
    data = road.dataset(folder / "data")
    laconic.train(
        road.checkpoint(folder / "encoder"), "ner", data, folder / "run", options=options, log=str, progress=False
    )
    recipe = road.recipe(folder / "road.yaml")
    laconic.compress(folder / "run", recipe, folder / "out", steps=folder / "steps", progress=False, log=str)
    return folder


def call(capsys, monkeypatch, *arguments):
    """(exit status, stdout, stderr) of a command."""
    monkeypatch.setattr(sys, "argv", ["laconic", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


@pytest.fixture
def laconic_command(capsys, monkeypatch):
    return lambda *arguments: call(capsys, monkeypatch, *arguments)


def test_predict_gives_json_lines(laconic_command, base, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("ab ba\n\ncd dc\n")
    status, out, err = laconic_command("predict", base / "out", texts)
    assert status == 0
    assert [json.loads(line)["tokens"] for line in out.splitlines()] == [["ab", "ba"], ["cd", "dc"]]
    assert "engine: " in err


def test_dry_run_prints_a_plan_and_writes_nothing(laconic_command, base, tmp_path):
    status, out, _ = laconic_command(
        "compress", base / "run", "--recipe", base / "road.yaml", "-o", tmp_path / "x", "--dry-run", "--json",
        "--set", "4.bits=8",
    )  # fmt: skip
    plan = json.loads(out)
    assert status == 0
    assert [row["step"] for row in plan][:3] == ["original", "vocabulary", "blocks"]
    assert plan[4]["options"] == {"bits": 8, "where": "all"}
    assert not (tmp_path / "x").exists()


def test_evaluate_against_writes_the_report_and_report_shows_it_again(laconic_command, base):
    status, out, err = laconic_command("evaluate", base / "out", "--against", base / "run", "--json")
    assert status == 0, err
    rows = json.loads(out)["rows"]
    assert rows[0]["name"] == "original"
    assert rows[-1]["size"]["bytes"] < rows[0]["size"]["bytes"] / 3
    assert rows[-1]["latency"]["p50_seconds"] > 0
    (base / "out" / "report.html").unlink()
    status, _, err = laconic_command("report", base / "out")
    assert status == 0, err
    assert (base / "out" / "report.html").read_text().startswith("<!doctype html>")
    assert laconic.load(base / "out", engine="torch").predict(["ab"])


def test_inspect_adds_up(laconic_command, base):
    status, out, _ = laconic_command("inspect", base / "out", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["size"]["parameters"] == sum(layer["parameters"] for layer in found["layers"])


def test_methods_are_shown(laconic_command):
    status, out, _ = laconic_command("methods", "gptq", "--json")
    assert status == 0
    assert "arXiv:2210.17323" in json.loads(out)[0]["about"]


def spoil(folder: Path, name: str, change) -> None:
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


def copy(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


TRAIN = ["train", "--task", "ner", "-o", "{tmp}/x"]
COMPRESS = ["compress", "{base}/run", "-o", "{tmp}/x", "--recipe"]
BAD = {
    "ratio": ([*COMPRESS, "{base}/road.yaml", "--set", "3.keep=1.5"], "keep is 1.5"),
    "recipe": ([*COMPRESS, "blanced"], "did you mean 'balanced'"),
    "column": (["prepare", "{tmp}/column.jsonl", "--task", "classify"], "label"),
    "empty": (["prepare", "{tmp}/empty.jsonl", "--task", "classify"], "empty.jsonl"),
    "nothing": (["prepare", "{tmp}/nothing.jsonl", "--task", "ner"], "nothing.jsonl"),
    "tag": (["evaluate", "{base}/out", "--data", "{tmp}/tags"], "'B-NEW'"),
    "tokenizer": ([*TRAIN, "--data", "{base}/data", "{tmp}/bare"], "tokenizer"),
    "pickle": ([*TRAIN, "--data", "{base}/data", "{tmp}/pickled"], "pytorch_model.bin"),
    "flip": (["predict", "{tmp}/flipped", "ab"], "weights.safetensors"),
    "truncated": (["predict", "{tmp}/short", "ab"], "weights.safetensors"),
    "escape": (["predict", "{tmp}/escape", "ab"], "manifest.json"),
    "neither": (["predict", "{tmp}", "ab"], "neither an artifact"),
    "engine": (["predict", "{base}/out", "ab", "--engine", "onnx"], "onnxruntime"),
    "task": ([*TRAIN, "--task", "nerr", "--data", "{base}/data", "{base}/encoder"], "did you mean 'ner'"),
    "report": (["report", "{base}/run"], "report.json"),
}  # fmt: skip


@pytest.fixture
def faults(base, tmp_path):
    (tmp_path / "column.jsonl").write_text('{"text": "a", "lable": "b"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    tags = tmp_path / "tags"
    tags.mkdir()
    (tags / "test.jsonl").write_text('{"tokens": ["ab"], "tags": ["B-NEW"]}\n')
    (tags / "train.jsonl").write_text('{"tokens": ["ab"], "tags": ["O"]}\n' * 20)
    bare, pickled = copy(base / "encoder", tmp_path / "bare"), copy(base / "encoder", tmp_path / "pickled")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
    (pickled / "model.safetensors").unlink()
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    middle = len((base / "out" / "weights.safetensors").read_bytes()) // 2
    flipped, short = copy(base / "out", tmp_path / "flipped"), copy(base / "out", tmp_path / "short")
    spoil(flipped, "weights.safetensors", lambda b: b[:middle] + bytes([b[middle] ^ 1]) + b[middle + 1 :])
    spoil(short, "weights.safetensors", lambda b: b[:middle])
    escape = copy(base / "out", tmp_path / "escape")
    spoil(escape, "manifest.json", lambda b: b.replace(b"weights.safetensors", b"../weights.safetensor"))
    return tmp_path


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_one_line_and_a_non_zero_exit(laconic_command, base, faults, fault):
    arguments, words = BAD[fault]
    status, out, err = laconic_command(*(a.format(base=base, tmp=faults) for a in arguments))
    lines = [line for line in err.splitlines() if line.startswith("laconic: ")]
    assert status not in (0, None)
    assert len(lines) == 1, err
    assert words in lines[0]
    assert "Traceback" not in err
    assert out == ""
    assert not (faults / "x").exists()


def test_interrupted_is_said_so(laconic_command, base, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("laconic.predict.load", interrupted)
    status, _, err = laconic_command("predict", base / "out", "ab")
    assert status == 130
    assert err.startswith("laconic: interrupted")


def test_a_full_disk_is_one_line_and_leaves_nothing(laconic_command, base, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "weights.safetensors")

    monkeypatch.setattr("os.fsync", full)
    arguments = ("compress", base / "run", "--recipe", base / "road.yaml", "-o", tmp_path / "x", "--no-report", "-q")
    status, _, err = laconic_command(*arguments, "--steps", tmp_path / "steps")
    assert status == 1
    assert "space" in err.lower()
    assert not (tmp_path / "x").exists()


def test_help_needs_no_torch():
    code = "import sys; import laconic.cli; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
