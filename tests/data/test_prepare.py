import json
import os

import pytest

from laconic import data
from laconic.data import prepare as preparing
from laconic.data.prepare import prepare
from laconic.errors import DataError
from tests.flushing import is_last, watched

TEXTS = [{"text": f"text {i} “é”\u2028", "label": "ab"[i % 2]} for i in range(60)]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(e) + "\n" for e in TEXTS))
    return path


def test_a_prepared_folder_reads_as_the_source_does(tmp_path, source):
    assert not [f for f in prepare(source, "classify", tmp_path / "out", seed=5) if f.level == "error"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "data.json",
        "labels.json",
        "test.jsonl",
        "train.jsonl",
        "validation.jsonl",
    ]
    straight, prepared = data.read_splits(source, "classify", 5), data.read_splits(tmp_path / "out", "classify", 99)
    assert prepared == straight
    test = data.read_split(tmp_path / "out", "classify", "test")
    assert test == data.read_split(source, "classify", "test")
    about = json.loads((tmp_path / "out" / "data.json").read_text())
    assert about["splits"]["test"] == {"records": 6, "sha256": data.digest(test)}
    assert (about["task"], about["seed"], about["source"]) == ("classify", 5, str(source))
    assert json.loads((tmp_path / "out" / "labels.json").read_text()) == ["a", "b"]


def test_a_prepared_folder_is_on_disk_before_it_is_in_its_place(tmp_path, source, monkeypatch):
    seen = watched(monkeypatch)
    prepare(source, "classify", tmp_path / "out")
    assert is_last(seen, tmp_path / "out")


def test_nothing_is_written_without_a_folder_or_with_errors(tmp_path, source):
    prepare(source, "classify")
    source.write_text(source.read_text() + '{"text": "x", "label": ""}\n')
    findings = prepare(source, "classify", tmp_path / "out")
    assert [f.check for f in findings if f.level == "error"] == ["empty label"]
    assert f"{source}, record 61 (line 61)" in findings[0].message
    assert [p.name for p in tmp_path.iterdir()] == ["all.jsonl"]


def test_an_earlier_prepared_folder_is_replaced_and_no_other(tmp_path, source):
    out = tmp_path / "out"
    prepare(source, "classify", out, seed=1)
    prepare(source, "classify", out, seed=2)
    assert json.loads((out / "data.json").read_text())["seed"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.jsonl", "out"]
    (out / "data.json").unlink()
    with pytest.raises(DataError, match="holds other files; give a folder that is new or was prepared before"):
        prepare(source, "classify", out)
    with pytest.raises(DataError, match="is a file; give a folder"):
        prepare(source, "classify", source)
    with pytest.raises(DataError, match="holds the source"):
        prepare(source, "classify", tmp_path)


@pytest.mark.parametrize("mark", ['{"mine": 1}', "[]", "{", "[" * 100_000, "\\udcff", None])
def test_a_folder_that_only_has_such_a_name_in_it_is_left_alone(tmp_path, source, mark):
    out = tmp_path / "project"
    out.mkdir()
    (out / "data.json").mkdir() if mark is None else (out / "data.json").write_text(mark)
    (out / "thesis.tex").write_text("ten years of work")
    with pytest.raises(DataError, match="holds other files; give a folder that is new or was prepared before"):
        prepare(source, "classify", out)
    assert sorted(p.name for p in out.iterdir()) == ["data.json", "thesis.tex"]


def test_files_that_someone_put_beside_the_data_are_left_alone(tmp_path, source, monkeypatch):
    out = tmp_path / "out"
    prepare(source, "classify", out, seed=1)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"notes\.txt is not part of the data .*move it away or give another folder"):
        prepare(source, "classify", out, seed=2)
    monkeypatch.setattr(preparing, "check_out", lambda *_: None)  # as if it had come while the data were written
    with pytest.raises(DataError, match=r"notes\.txt"):
        prepare(source, "classify", out, seed=2)
    assert (out / "notes.txt").read_text() == "mine"
    assert json.loads((out / "data.json").read_text())["seed"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.jsonl", "out"]


@pytest.mark.parametrize("name", [".", ".."])
def test_the_folder_one_stands_in_is_not_replaced(tmp_path, source, monkeypatch, name):
    prepare(source, "classify", tmp_path / "out", seed=1)
    (tmp_path / "out" / "below").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "out" / ("below" if name == ".." else ""))
    with pytest.raises(DataError, match="is the folder you are in, or one above it; name a new one"):
        prepare(source, "classify", name)


def test_a_link_is_not_replaced(tmp_path, source):
    prepare(source, "classify", tmp_path / "out", seed=1)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(DataError, match="is a link; give a folder"):
        prepare(source, "classify", tmp_path / "link", seed=2)


def test_a_failure_while_writing_leaves_nothing_and_keeps_the_old(tmp_path, source, monkeypatch):
    out = tmp_path / "out"
    prepare(source, "classify", out, seed=1)
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def full(path, value):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(preparing, "_json", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(source, "classify", out, seed=2)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["all.jsonl", "out"]


def test_what_is_written_can_be_read_by_others(tmp_path, source):
    prepare(source, "classify", tmp_path / "deep" / "out")
    assert os.stat(tmp_path / "deep" / "out").st_mode & 0o777 == 0o755
