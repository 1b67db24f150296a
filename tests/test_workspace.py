"""A run folder is whole or not there, and unfinished work is of one run."""

from laconic import workspace
from tests.flushing import is_last, watched
from tests.tiny import tiny
from tests.workshop import tokenizer


def test_a_run_folder_is_on_disk_before_it_is_in_its_place(tmp_path, monkeypatch):
    work = workspace.begin(tmp_path / "run", {"seed": 0})
    seen = watched(monkeypatch)
    workspace.publish(tmp_path / "run", work, tiny("bert"), tokenizer(), {"laconic.json": b"{}"})
    assert is_last(seen, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
