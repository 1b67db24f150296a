"""A run folder is whole or not there, and unfinished work is of one run."""

import os
import sys

import pytest

from laconic import lock, workspace
from laconic.errors import DataError
from tests.flushing import is_last, watched
from tests.holding import holding
from tests.tiny import tiny
from tests.workshop import tokenizer


def test_a_run_folder_is_on_disk_before_it_is_in_its_place(tmp_path, monkeypatch):
    work = workspace.begin(tmp_path / "run", {"seed": 0})
    seen = watched(monkeypatch)
    workspace.publish(tmp_path / "run", work, tiny("bert"), tokenizer(), {"laconic.json": b"{}"})
    assert is_last(seen, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def opened(name):
    """Open files of this process by the end of their names; one that was removed is called so."""
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return [there for link in links if os.path.lexists(link) and (there := os.readlink(link)).count(name)]


@pytest.mark.skipif(sys.platform != "linux", reason="open files are listed on Linux only")
def test_the_lock_is_given_back_with_the_work(tmp_path):
    for end in ("published", "refused", "refused later", "another's"):
        work = workspace.begin(tmp_path / end, {"seed": 0})
        workspace.begin(tmp_path / end, {"seed": 0})
        assert len(opened(str(work / "lock"))) == 1
        if end == "published":
            workspace.publish(tmp_path / end, work, tiny("bert"), tokenizer(), {})
        elif end == "refused":
            with pytest.raises(DataError), workspace.refusing(work):
                raise DataError("no")
        elif end == "refused later":
            (work / "checkpoints" / "weights").write_text("")
            with pytest.raises(DataError, match="another seed"):
                workspace.begin(tmp_path / end, {"seed": 1})
            assert opened(str(work / "lock"))  # of the run that goes on in this process
            lock.release(work / "lock")
            with pytest.raises(DataError, match="another seed"):
                workspace.begin(tmp_path / end, {"seed": 1})
        else:
            (tmp_path / end / "put").mkdir(parents=True)
            with pytest.raises(DataError, match="another process has put"):
                workspace.begin(tmp_path / end, {"seed": 0})
        assert not opened(str(work / "lock"))


def test_a_run_that_another_process_trains_is_refused_until_that_ends(tmp_path):
    with holding(tmp_path / ".run.training" / "lock"):
        with pytest.raises(DataError, match="run: another process is training it"):
            workspace.begin(tmp_path / "run", {"seed": 0})
        assert [path.name for path in (tmp_path / ".run.training").iterdir()] == ["lock"]
    work = workspace.begin(tmp_path / "run", {"seed": 0})
    assert (work / "run.json").is_file()


def test_the_work_of_another_run_is_never_removed(tmp_path):
    record = {"seed": 0, "training": {"epochs": 3, "batch": 4}}
    work = workspace.begin(tmp_path / "run", record)
    workspace.begin(tmp_path / "run", {**record, "seed": 1})  # nothing was done yet
    workspace.begin(tmp_path / "run", record)
    (work / "checkpoints" / "weights").write_text("ten hours of work")
    assert workspace.begin(tmp_path / "run", record) == work
    for changed, words in (
        ({"seed": 2}, r"another seed \(0, where this one has 2\)"),
        ({"training": {"epochs": 3, "batch": 8}}, r"another training batch \(4, where this one has 8\)"),
    ):
        with pytest.raises(DataError, match=rf"run.training holds the work of a run that did not end, with {words}"):
            workspace.begin(tmp_path / "run", {**record, **changed})
    assert (work / "checkpoints" / "weights").is_file()


def test_a_ticket_that_was_not_whole_when_its_run_was_killed_is_no_work(tmp_path):
    work = workspace.begin(tmp_path / "run", {"seed": 0})
    (work / "run.json").rename(work / ".run.json.7.partial")
    assert workspace.begin(tmp_path / "run", {"seed": 1}) == work


def test_work_whose_ticket_does_not_say_what_it_was_made_with_is_kept(tmp_path):
    work = workspace.begin(tmp_path / "run", {"seed": 0})
    (work / "checkpoints" / "weights").write_text("ten hours of work")
    for ticket, words in (
        (b"{", r"but a run\.json that is damaged"), (b"\xff", r"but a run\.json that is damaged"),
        (b"[]", r"but a run\.json that is a JSON list, not an object"), (None, r"but not its run\.json"),
    ):  # fmt: skip
        (work / "run.json").unlink()
        if ticket is not None:
            (work / "run.json").write_bytes(ticket)
        with pytest.raises(DataError, match=rf"a run that did not end, {words}.* put that file back as it was, or"):
            workspace.begin(tmp_path / "run", {"seed": 0})
    assert (work / "checkpoints" / "weights").is_file()


def test_an_option_of_nothing_that_older_work_does_not_name_is_said(tmp_path):
    work = workspace.begin(tmp_path / "run", {"training": {"epochs": 3}})
    (work / "checkpoints" / "weights").write_text("")
    with pytest.raises(DataError, match=r"with another training patience \(not named, where this one has None\)"):
        workspace.begin(tmp_path / "run", {"training": {"epochs": 3, "patience": None}})


def test_a_run_that_was_put_there_meanwhile_stays(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "laconic.json").write_text("{}")
    with pytest.raises(DataError, match="give the same command again"):
        workspace.begin(tmp_path / "run", {"seed": 0})
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_refusal_leaves_no_folder_that_was_made_for_it(tmp_path):
    (tmp_path / "old").mkdir()
    out = tmp_path / "old" / "new" / "newer" / "run"
    for beside, left in ((None, []), ("note", ["new"])):
        new = workspace.missing(out)
        work = workspace.begin(out, {"seed": 0})
        if beside:
            (tmp_path / "old" / "new" / beside).write_text("")
        with pytest.raises(DataError), workspace.refusing(work, new):
            raise DataError("no")
        assert [path.name for path in (tmp_path / "old").iterdir()] == left
    assert [path.name for path in (tmp_path / "old" / "new").iterdir()] == ["note"]
