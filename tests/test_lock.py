"""A lock keeps another process out, and is free as soon as that one ends, however it does."""

import os
import subprocess
import sys

import pytest

from laconic import lock
from laconic.errors import ArtifactError
from tests.holding import holding

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")


def refuse():
    raise ArtifactError("held")


def test_what_another_process_holds_is_refused_or_waited_for(tmp_path):
    file = tmp_path / "deep" / "lock"
    with holding(file) as other:
        with pytest.raises(ArtifactError, match="held"), lock.held(file, refuse):
            pytest.fail("two hold it")
        said = []

        def wait():
            said.append(other.poll())
            other.stdin.close()

        with lock.held(file, wait):
            assert said == [None]
            assert other.wait(60) == 0
    assert not file.exists()


def test_a_process_that_is_killed_holds_nothing(tmp_path):
    with holding(tmp_path / "lock") as other:
        other.kill()
        other.wait()
        with lock.held(tmp_path / "lock", refuse):
            assert (tmp_path / "lock").exists()


def is_free(file):
    """What another process finds."""
    code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    return not subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, check=False).returncode


def test_others_find_it_held_and_then_free(tmp_path):
    with lock.held(tmp_path / "lock", refuse):
        assert not is_free(tmp_path / "lock")
    assert is_free(tmp_path / "lock")


def test_a_file_that_was_removed_during_the_wait_is_made_and_locked_anew(tmp_path):
    """As the process that held it leaves it: removed, then given back."""
    file = tmp_path / "lock"

    def wait():
        file.unlink()
        other.stdin.close()

    with holding(file) as other, lock.held(file, wait):
        assert file.is_file()
        assert not is_free(file)


def test_a_file_that_goes_away_while_it_is_looked_at_is_made_and_locked_anew(tmp_path, monkeypatch):
    file, looked = tmp_path / "lock", os.fstat

    def gone(handle):
        monkeypatch.setattr(os, "fstat", looked)
        file.unlink()
        return looked(handle)

    monkeypatch.setattr(os, "fstat", gone)
    with lock.held(file, refuse):
        assert os.fstat is looked
        assert not is_free(file)


@pytest.mark.parametrize("inner", ["lock", "link/lock"])
def test_what_a_process_takes_again_stays_held_until_the_first_gives_it_back(tmp_path, inner):
    (tmp_path / "link").symlink_to(tmp_path)
    with lock.held(tmp_path / "lock", refuse):
        with lock.held(tmp_path / inner, refuse):
            assert not is_free(tmp_path / "lock")
        assert not is_free(tmp_path / "lock")
        lock.keep(tmp_path / inner, refuse)
    assert is_free(tmp_path / "lock")


FORKED = """
import os, sys
from pathlib import Path
from laconic import lock
file = Path(sys.argv[1])
with lock.held(file, sys.exit):
    child = os.fork()
    if not child:
        lock.keep(file, lambda: os._exit(7))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_another_process_that_begins_as_a_copy_of_this_one_holds_nothing(tmp_path):
    given = [sys.executable, "-c", FORKED, str(tmp_path / "lock")]
    assert subprocess.run(given, capture_output=True, text=True, check=True).stdout == "7\n"


def test_a_place_that_can_not_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="can't be written"), lock.held(tmp_path / "file" / "lock", refuse):
        pytest.fail("it is held")
