"""A lock keeps another process out, and is free as soon as that one ends, however it does."""

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


def test_others_find_it_held_and_then_free(tmp_path):
    def other():
        code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        given = [sys.executable, "-c", code, str(tmp_path / "lock")]
        return subprocess.run(given, capture_output=True, check=False).returncode

    with lock.held(tmp_path / "lock", refuse):
        assert other() != 0
    assert other() == 0


def test_a_place_that_can_not_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="can't be written"), lock.held(tmp_path / "file" / "lock", refuse):
        pytest.fail("it is held")
