"""`laconic train`: its options reach training, and a disk that is really full is one line."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from laconic import cli


def limited(base, out, limit):
    """The command in a process whose files may hold `limit` bytes: a write beyond fails as on a full disk."""
    code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); import laconic.cli as c; "
    arguments = ["train", str(base / "encoder"), "--task", "ner", "--data", str(base / "data"), "-o", str(out), "-q"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        [sys.executable, "-c", code + "c.main()", *arguments, "--epochs", "1"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.5, 1.5])  # room for neither, and for the weights without their optimizer
def test_a_full_disk_is_one_line(base, tmp_path, share):
    size = (base / "encoder" / "model.safetensors").stat().st_size
    ended = limited(base, tmp_path / "run", int(share * size))
    said = [line for line in ended.stderr.splitlines() if line.startswith("laconic: ")]
    assert ended.returncode == 1
    assert len(said) == 1, ended.stderr
    assert "can't be written" in said[0]
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()


def test_options_reach_training(base, tmp_path):
    arguments = ["train", base / "encoder", "--task", "ner", "--data", base / "data", "-o", tmp_path / "run", "-q"]
    options = {"weight_decay": 0.5, "warmup": 0.25, "clip": 2.5, "accumulate": 2, "epochs": 1.0, "batch": 4}
    given = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    ended = CliRunner().invoke(cli.app, [str(word) for word in (*arguments, *given, "--no-casing")])
    assert ended.exit_code == 0, ended.output
    held = json.loads((tmp_path / "run" / "laconic.json").read_text())
    assert {name: held["training"][name] for name in options} == options
    assert held["task"]["casing"] is False
    assert held["options"] == {"casing": False}


def test_teachers_texts_and_precision_reach_training(base, tmp_path):
    def run(out, *more):
        given = ("train", base / "encoder", "--task", "ner", "--data", base / "data", "-o", out, "-q", "--epochs", 1)
        return CliRunner().invoke(cli.app, [str(word) for word in (*given, *more)])

    (tmp_path / "texts.jsonl").write_text('{"text": "ab ac"}\n')
    assert run(tmp_path / "teacher", "--precision", "bfloat16").exit_code == 0
    texts = ("--unlabelled", tmp_path / "texts.jsonl")
    ended = run(tmp_path / "run", "--teacher", tmp_path / "teacher", *texts)
    assert ended.exit_code == 0, ended.output
    held = json.loads((tmp_path / "run" / "laconic.json").read_text())
    assert held["teachers"] == [str(tmp_path / "teacher")]
    assert held["unlabelled"] == str(tmp_path / "texts.jsonl")
    assert json.loads((tmp_path / "teacher" / "laconic.json").read_text())["training"]["precision"] == "bfloat16"
    refused = run(tmp_path / "other", *texts)
    assert refused.exit_code == 1
    assert "give a teacher as well" in refused.output
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("labels=[a]", "labels can't be set among the options of a task"),
        ("name=qa", "name can't be set among the options of a task"),
        ("casing=2024-13-45", "--set 'casing=2024-13-45' is not YAML"),
        ("casing=3", "casing is 3; in the task 'ner' it takes true or false"),
    ],
)
def test_a_setting_that_is_none_of_the_task_is_one_line(base, tmp_path, setting, words):
    arguments = ("train", base / "encoder", "--task", "ner", "--data", base / "data", "-o", tmp_path / "run")
    ended = CliRunner().invoke(cli.app, [str(word) for word in (*arguments, "--set", setting)])
    assert ended.exit_code == 1, ended.output
    assert ended.stderr.startswith(f"laconic: {words}")
    assert len(ended.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
