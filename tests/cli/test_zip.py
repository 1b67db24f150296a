"""`laconic bits`, `zip` and `unzip`: a file there and back, what they print, and what they refuse."""

import json
import shutil
import sys

import pytest

from laconic import cli
from tests.lossless.small import causal
from tests.subwords.built import TEXT


@pytest.fixture
def command(capsys, monkeypatch):
    """(exit status, stdout, stderr) of a command."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["laconic", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return call


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("m")
    causal("gpt").model.save_pretrained(folder)
    causal("gpt").tokenizer.save_pretrained(folder)
    return folder


def test_a_file_there_and_back(command, model, tmp_path):
    content = "\n".join(TEXT).encode() + b"\xff\x00"
    (tmp_path / "a.txt").write_bytes(content)
    status, out, _ = command("zip", model, tmp_path / "a.txt", "-o", tmp_path / "a.lcz", "--json", "-q")
    assert status == 0
    assert json.loads(out)["packed_bytes"] == (tmp_path / "a.lcz").stat().st_size
    status, _, err = command("unzip", model, tmp_path / "a.lcz", "-o", tmp_path / "b.txt", "-q")
    assert status == 0
    assert "as they were" in " ".join(err.split())
    assert (tmp_path / "b.txt").read_bytes() == content


def test_what_the_model_would_make_longer_is_stored_and_says_so(command, model, tmp_path):
    for name, content in (("short", b"one"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        status, out, err = command("zip", model, tmp_path / name, "-o", tmp_path / "z", "--json")
        assert status == 0
        assert json.loads(out)["stored"] is True
        assert json.loads(out)["bits_per_byte"] == (8 * (tmp_path / "z").stat().st_size / 3 if content else None)
        assert "stored as it is, which is less than the model would make of it" in " ".join(err.split())
        assert command("unzip", "no-model", tmp_path / "z", "-o", tmp_path / "back")[0] == 0
        assert (tmp_path / "back").read_bytes() == content


def test_zip_takes_what_bits_says(command, model, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXT * 4))
    weighed = json.loads(command("bits", model, tmp_path / "a.txt", "--json", "-q", "--context", 16)[1])
    zipped = json.loads(
        command("zip", model, tmp_path / "a.txt", "-o", tmp_path / "z", "--json", "-q", "--context", 16)[1]
    )
    assert weighed["context"] == 16
    assert zipped["packed_bytes"] < weighed["bytes"]
    assert zipped["stored"] is False
    assert 0 < 8 * zipped["packed_bytes"] - weighed["bits"] < 8 * 500  # header and checksum


def test_the_same_file_twice_is_the_same_archive(command, model, tmp_path):
    (tmp_path / "a.txt").write_text(TEXT[0])
    for name in "xy":
        command("zip", model, tmp_path / "a.txt", "-o", tmp_path / name, "-q")
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_a_model_that_reads_less_than_the_one_that_wrote_is_another_model(command, model, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXT))
    command("zip", model, tmp_path / "a.txt", "-o", tmp_path / "a.lcz", "-q", "--context", 48)
    shorter = shutil.copytree(model, tmp_path / "shorter")
    held = json.loads((shorter / "config.json").read_text())
    (shorter / "config.json").write_text(json.dumps({**held, "max_position_embeddings": 32}))
    status, _, err = command("unzip", shorter, tmp_path / "a.lcz", "-o", tmp_path / "b.txt", "-q")
    assert status == 1
    assert f"a.lcz was written with another model than {shorter}; give that one" in err


@pytest.mark.parametrize(
    "given", [("none.txt",), ("a.txt", "--split", "nope"), ("a.txt", "--context", "-3"), ("a.txt", "--overlap", "1")]
)
def test_what_cannot_be_weighed_is_refused_before_the_model_is_read(command, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text(TEXT[0])
    status, _, err = command("bits", "no-model", *given, "-q")
    assert status == 1
    assert "no-model" not in err


def test_damage_leaves_nothing_and_says_so(command, model, tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(TEXT))
    command("zip", model, tmp_path / "a.txt", "-o", tmp_path / "a.lcz", "-q")
    whole = (tmp_path / "a.lcz").read_bytes()
    (tmp_path / "a.lcz").write_bytes(whole[:-9])
    status, out, err = command("unzip", model, tmp_path / "a.lcz", "-o", tmp_path / "b.txt", "-q")
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("laconic: ")
    assert "damaged (its sha256 differs); copy the file again" in err
    assert not (tmp_path / "b.txt").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("zip", "M", "none.txt", "-o", "z"), "there is no file"),
        (("zip", "M", "a.txt", "-o", "."), "is a folder"),
        (("zip", "M", "a.txt", "-o", "no/z"), "since there is no folder 'no'; make it first"),
        (("zip", "M", "a.txt", "-o", "a.txt"), "is the file that is read"),
        (("zip", "nowhere", "a.txt", "-o", "z"), "nowhere"),
        (("zip", "M", "a.txt", "-o", "z", "--context", "0"), "context"),
        (("zip", "M", "a.txt", "-o", "z", "--overlap", "1.5"), "overlap"),
        (("unzip", "M", "a.txt", "-o", "z"), "was not written by laconic zip"),
        (("bits", "M", "empty.txt"), "there is no text in it"),
        (("bits", "M", "none.txt"), "none.txt"),
        (("bits", "M", "a.txt", "--split", "test"), "split is 'test', and a.txt is a file"),
    ],
)
def test_what_cannot_be_is_one_line(command, model, tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text(TEXT[0])
    (tmp_path / "empty.txt").touch()
    status, out, err = command(*(str(model) if part == "M" else part for part in given))
    assert (status, out) == (1, "")
    assert err.splitlines()[-1].startswith("laconic: ")
    assert said in err
    assert not (tmp_path / "z").exists()
