"""The command line: what works, and one line and a non-zero exit for what cannot."""

import errno
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from transformers.utils import logging

import laconic
from laconic import artifact, cli
from laconic.cli import console
from laconic.errors import MENDS
from laconic.measures import size
from laconic.recipe import Recipe
from tests import road
from tests.artifact.signing import rewritten


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


@pytest.mark.parametrize("end", ["", "\n"])
def test_predict_gives_a_json_line_for_each_line(laconic_command, base, tmp_path, end):
    texts = tmp_path / "texts.txt"
    texts.write_text(f"ab ba\n \ncd dc{end}")
    status, out, err = laconic_command("predict", base / "out", texts)
    assert status == 0
    first, blank, last = map(json.loads, out.splitlines())
    assert (first["tokens"], blank, last["tokens"]) == (["ab", "ba"], None, ["cd", "dc"])
    assert "engine: " in err


def test_texts_of_which_a_part_is_not_read_are_counted(laconic_command, base, tmp_path):
    words, endless = "1 of 2 texts do not fit in the 32 tokens that the model reads", "j" * 40  # letter by letter
    status, out, err = laconic_command("predict", base / "out", f"{'ab ' * 40}{endless}")
    assert status == 0
    assert words.replace("2", "1", 1) in err
    assert len(json.loads(out)["tags"]) == 41
    assert json.loads(out)["tags"][40] == "O"
    (tmp_path / "test.jsonl").write_text(
        "".join(json.dumps({"tokens": ["ab"] * 40 + [word], "tags": ["O"] * 41}) + "\n" for word in ("ab", endless))
    )
    (tmp_path / "train.jsonl").write_text('{"tokens": ["ab"], "tags": ["O"]}\n' * 20)
    status, _, err = laconic_command("evaluate", base / "out", "--data", tmp_path)
    assert status == 0
    assert words in err


def test_bytes_that_are_no_text_are_one_line(laconic_command, base):
    status, out, err = laconic_command("predict", base / "out", b"caf\xe9 ab".decode(errors="surrogateescape"))
    assert (status, out) == (1, "")
    assert err == "laconic: the text is not UTF-8; pipe it in as UTF-8, or from a file\n"


def test_the_version_is_said(laconic_command):
    assert laconic_command("--version") == (0, f"{laconic.__version__}\n", "")


def test_predict_reads_records(laconic_command, base, tmp_path):
    (tmp_path / "asked.jsonl").write_text('{"text": "ab ba"}\n{"tokens": ["cd", "dc"], "tags": ["O", "B-NEVER"]}\n')
    status, out, _ = laconic_command("predict", base / "out", tmp_path / "asked.jsonl")
    assert status == 0
    assert [json.loads(line)["tokens"] for line in out.splitlines()] == [["ab", "ba"], ["cd", "dc"]]


def test_a_dash_is_stdin(laconic_command, base, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"ab ba\n")))
    status, out, _ = laconic_command("predict", base / "out", "-")
    assert status == 0
    assert [json.loads(line)["tokens"] for line in out.splitlines()] == [["ab", "ba"]]


@pytest.mark.parametrize("text", ["ab " * 2000, "ab\0ba"])
def test_a_text_that_can_be_no_path_is_answered(laconic_command, base, text):
    status, out, err = laconic_command("predict", base / "out", text)
    assert status == 0, err
    assert json.loads(out)["tags"]


def test_stdin_is_cut_into_lines_at_line_ends_only(laconic_command, base, monkeypatch):
    given = io.TextIOWrapper(io.BytesIO("ab\u2028ba\x0bab\r\ncd\n".encode()))
    monkeypatch.setattr(sys, "stdin", given)
    status, out, _ = laconic_command("predict", base / "out")
    assert status == 0
    assert [json.loads(line)["tokens"] for line in out.splitlines()] == [["ab", "ba", "ab"], ["cd"]]


def test_threads_below_one_do_not_parse(laconic_command, base):
    status, out, err = laconic_command("predict", base / "out", "ab", "--threads", "-3")
    assert (status, out) == (2, "")
    assert "--threads" in err


@pytest.mark.parametrize("folder", ["run", "out"])
def test_evaluate_deals_splits_as_training_did(laconic_command, base, tmp_path, monkeypatch, folder):
    held, seeds = copy(base / folder, tmp_path / folder), []
    if folder == "out":
        rewritten(held, provenance={"seed": 7})
    else:
        record = json.loads((held / "laconic.json").read_text())
        (held / "laconic.json").write_text(json.dumps({**record, "seed": 7}))
    read = laconic.data.read_split

    def watched(source, task, split, seed=0):
        seeds.append(seed)
        return read(source, task, split, seed=seed)

    monkeypatch.setattr("laconic.data.read_split", watched)
    status, _, err = laconic_command("evaluate", held, "--data", base / "data", "--split", "validation")
    assert status == 0, err
    assert seeds == [7]


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


def test_a_plan_without_a_step_shows_the_numbers_that_set_takes(laconic_command, base, tmp_path):
    given = ("compress", base / "run", "--recipe", base / "road.yaml", "-o", tmp_path / "x", "--dry-run")
    rows = json.loads(laconic_command(*given, "--json")[1])
    out = laconic_command(*given, "--json", "--set", "2=null")[1]
    assert json.loads(out)[2]["number"] == rows[3]["number"] == 3
    assert json.loads(out)[2]["step"] == rows[3]["step"]
    shown = laconic_command(*given, "--set", "2=null")[2]
    assert f"3 {rows[3]['step']}" in shown
    assert f"2 {rows[3]['step']}" not in shown


def test_evaluate_against_writes_the_report_and_report_shows_it_again(laconic_command, base):
    status, out, err = laconic_command("evaluate", base / "out", "--against", base / "run", "--json")
    assert status == 0, err
    rows = json.loads(out)["rows"]
    assert rows[0]["name"] == "original"
    assert rows[-1]["size"]["bytes"] < rows[0]["size"]["bytes"] / 3
    assert rows[-1]["latency"]["p50_seconds"] > 0
    assert rows[0]["agreement"] is None
    assert rows[-1]["engine"] == "torch" or 0.9 < rows[-1]["agreement"] <= 1
    for place in (base / "no" / "x.html", base / "data"):
        status, _, err = laconic_command("report", base / "out", "-o", place)
        assert status != 0
        assert f"laconic: {place}: can't be written" in err
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
    assert found["size"]["bytes"] == size.folder_bytes(base / "out")


@pytest.mark.parametrize("folder", ["run", "out"])
def test_inspect_shows_every_path_and_its_bytes_in_80_columns(laconic_command, base, monkeypatch, folder):
    monkeypatch.setattr(console.people, "width", 80)
    status, _, err = laconic_command("inspect", base / folder)
    assert status == 0
    assert "\u2026" not in err
    first = "".join(line[1:].split("  ")[0].strip() for line in err.splitlines())
    assert "bert.encoder.layer.0.attention.self.query" in first
    rows = [line.split() for line in err.splitlines() if " attention " in line]
    assert all(row[-6] == "attention" and int(row[-2].replace(",", "")) > 0 for row in rows), "bytes"


def test_numbers_stay_whole_in_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setattr(console.people, "width", 40)
    console.table("t", ["layer", "bytes", "what"], [["a.long.path.of.a.layer", "1,234,567,890", "some words " * 4]])
    err = capsys.readouterr().err
    assert "1,234,567,890" in err
    assert all(name in err for name in ("a.long", "layer", "some"))
    assert max(map(len, err.splitlines())) <= 40


@pytest.mark.parametrize("label", ["[/inst]", "[oos]", ":smile:"])
def test_what_is_of_the_user_is_printed_as_it_stands(laconic_command, tmp_path, label):
    rows = [{"text": f"t {i}", "label": (label, "b")[i % 2]} for i in range(60)]
    source = tmp_path / f"{label.strip('[/]')}[b].jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"text": "t 1", "label": label}]))
    status, _, err = laconic_command("prepare", source, "--task", "classify")
    assert status == 0, err
    assert f"'{label}'" in err
    assert source.name in err


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
COMPRESS_OUT = ["compress", "{base}/out", "-o", "{tmp}/x", "--recipe"]
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
    "escape": (["predict", "{tmp}/escape", "ab"], "not a plain file name"),
    "compress again": ([*COMPRESS_OUT, "{base}/road.yaml"], "give the run folder, or --data"),
    "against itself": (["evaluate", "{base}/out", "--against", "{base}/out"], "compare"),
    "damaged manifest": (["inspect", "{tmp}/cleared"], "manifest.json: damaged"),
    "tag in test": (
        ["compress", "{base}/run", "-o", "{tmp}/x", "--recipe", "{base}/road.yaml", "--data", "{tmp}/tags"], "'B-NEW'",
    ),
    "no test": (
        ["compress", "{base}/run", "-o", "{tmp}/x", "--recipe", "{base}/road.yaml", "--data", "{tmp}/halves"],
        "no test split",
    ),
    "no model": ([*TRAIN, "--data", "{base}/data", "nomodel"], "there is no model folder 'nomodel'"),
    "no file": (["predict", "{base}/out", "{tmp}/texts.txt"], "there is no file"),
    "a folder": (["predict", "{base}/out", "{tmp}"], "there is no file"),
    "other task": (["evaluate", "{tmp}/other", "--against", "{base}/run"], "different tasks"),
    "no artifact": (["evaluate", "{base}/run", "--against", "{base}/run"], "there is no manifest.json"),
    "bytes": (["predict", "{base}/out", "{tmp}/latin.txt"], "line 2: byte 0xE9 is not UTF-8"),
    "neither": (["predict", "{tmp}", "ab"], "neither an artifact"),
    "engine": (["predict", "{base}/out", "ab", "--engine", "onnx"], "onnxruntime"),
    "task": ([*TRAIN, "--task", "nerr", "--data", "{base}/data", "{base}/encoder"], "did you mean 'ner'"),
    "no records": (["predict", "{base}/out", "{tmp}/empty.jsonl"], "there is no text to answer"),
    "report": (["report", "{base}/run"], "there is no report; give an artifact that was measured"),
}  # fmt: skip


@pytest.fixture
def faults(base, tmp_path):
    (tmp_path / "column.jsonl").write_text('{"text": "a", "lable": "b"}\n')
    (tmp_path / "empty.jsonl").write_text("")
    tags = tmp_path / "tags"
    tags.mkdir()
    (tags / "test.jsonl").write_text('{"tokens": ["ab"], "tags": ["B-NEW"]}\n')
    (tags / "train.jsonl").write_text('{"tokens": ["ab"], "tags": ["O"]}\n' * 20)
    halves = tmp_path / "halves"
    halves.mkdir()
    for name in ("train", "validation"):
        (halves / f"{name}.jsonl").write_text('{"tokens": ["ab"], "tags": ["O"]}\n' * 20)
    bare, pickled = copy(base / "encoder", tmp_path / "bare"), copy(base / "encoder", tmp_path / "pickled")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink()
    (pickled / "model.safetensors").unlink()
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    middle = len((base / "out" / "weights.safetensors").read_bytes()) // 2
    flipped, short = copy(base / "out", tmp_path / "flipped"), copy(base / "out", tmp_path / "short")
    spoil(flipped, "weights.safetensors", lambda b: b[:middle] + bytes([b[middle] ^ 1]) + b[middle + 1 :])
    spoil(short, "weights.safetensors", lambda b: b[:middle])
    files = artifact.read_manifest(base / "out").files
    renamed = {f"../{name}" if name == "weights.safetensors" else name: said for name, said in files.items()}
    rewritten(copy(base / "out", tmp_path / "escape"), files=renamed)
    rewritten(copy(base / "out", tmp_path / "other"), task={"name": "classify", "labels": ["a", "b"]})
    spoil(copy(base / "out", tmp_path / "cleared"), "manifest.json", lambda _: b"")
    (tmp_path / "latin.txt").write_bytes("ab\ncaf\u00e9\n".encode("latin-1"))
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


@pytest.mark.parametrize(("number", "words"), [(errno.EACCES, "right to use it"), (errno.ENOSPC, "make room")])
def test_each_state_of_the_machine_has_its_own_mend(laconic_command, base, monkeypatch, number, words):
    def failing(*_, **__):
        raise OSError(number, os.strerror(number), "there")

    monkeypatch.setattr("laconic.trained.read", failing)
    status, _, err = laconic_command("predict", base / "out", "ab")
    assert status == 1
    assert err == f"laconic: there: {os.strerror(number)}; {MENDS[number]}\n"
    assert words in err


def test_interrupted_is_said_so(laconic_command, base, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("laconic.predict.load", interrupted)
    status, _, err = laconic_command("predict", base / "out", "ab")
    assert status == 130
    assert err == "laconic: interrupted\n"


def test_what_takes_up_its_work_says_so_when_interrupted(laconic_command, base, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("laconic.run.compress", interrupted)
    status, _, err = laconic_command("compress", base / "run", "--recipe", "tiny", "-o", tmp_path / "x", "--no-report")
    assert status == 130
    assert err == "laconic: interrupted; the same command goes on from where it was\n"


def test_a_split_is_one_that_can_be_measured(laconic_command, base):
    status, out, err = laconic_command("evaluate", base / "out", "--data", base / "data", "--split", "train")
    assert (status, out) == (1, "")
    assert err.startswith("laconic: split")
    assert "validation" in err


def test_a_seed_below_zero_is_refused(laconic_command, base):
    status, _, err = laconic_command("prepare", base / "data", "--task", "ner", "--seed", "-1")
    assert status == 1
    assert err.startswith("laconic: seed is -1")


def test_the_command_of_a_report_can_be_typed_again(laconic_command, base, tmp_path):
    spaced = copy(base / "out", tmp_path / "an artifact")
    status, _, _ = laconic_command("evaluate", spaced, "--against", base / "run", "--json")
    (command,) = json.loads((spaced / "report.json").read_text())["commands"]
    assert status == 0
    assert shlex.split(command) == ["laconic", "evaluate", str(spaced), "--against", str(base / "run"), "--json"]


def test_a_full_disk_is_one_line_and_leaves_nothing(laconic_command, base, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "weights.safetensors")

    monkeypatch.setattr("os.fsync", full)
    arguments = ("compress", base / "run", "--recipe", base / "road.yaml", "-o", tmp_path / "x", "--no-report", "-q")
    status, _, err = laconic_command(*arguments, "--steps", tmp_path / "steps")
    assert status == 1
    assert "space" in err.lower()
    assert not (tmp_path / "x").exists()


def test_a_quiet_command_hides_the_bars_of_transformers_and_gives_them_back(laconic_command, base, monkeypatch):
    def look(self):
        seen.append((logging.is_progress_bar_enabled(), logging.get_verbosity()))
        return real(self)

    seen, real, level = [], Recipe.check, logging.get_verbosity()
    monkeypatch.setattr(Recipe, "check", look)
    given = ("compress", base / "run", "--recipe", base / "road.yaml", "-o", base / "never", "--dry-run")
    for quiet in ((), ("-q",)):
        assert laconic_command(*given, *quiet)[0] == 0
        assert logging.is_progress_bar_enabled()
        assert logging.get_verbosity() == level != logging.ERROR
    assert set(seen) == {(True, level), (False, logging.ERROR)}  # a report of the weights that are read is a warning


def test_answers_have_a_bar_on_a_terminal_and_none_when_quiet(laconic_command, base, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    for given in (("predict", base / "out", "ab ba"), ("evaluate", base / "run")):
        assert "answering" in laconic_command(*given)[2]
        assert "answering" not in laconic_command(*given, "-q")[2]


def test_help_needs_no_torch():
    code = "import sys; import laconic.cli; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
