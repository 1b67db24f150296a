"""Programs that are locked in: what may run, and every way out that is shut."""

import sys
import time

import pytest

from laconic.errors import EngineError
from laconic.writing import locked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locked in on Linux only")


@pytest.mark.parametrize(
    "program",
    [
        "x = 1",
        "import math, re, collections, typing, heapq, itertools, hashlib\nassert math.isclose(0.1 + 0.2, 0.3)",
        "print('said ' * 10000)",
        "def f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)\nassert f(12) == 144",
    ],
)
def test_a_program_that_computes_passes(program):
    assert locked.passes(program, 3)


@pytest.mark.parametrize(
    "program",
    [
        "assert 1 == 2", "syntax error", "import nothing_of_the_kind", "raise SystemExit(0)", "import os\nos._exit(0)",
        "import sys\nsys.exit()", "quit()",
    ],
)  # fmt: skip
def test_one_that_fails_or_leaves_early_does_not(program):
    assert not locked.passes(program, 3)


def shut(attempt):
    """A program that passes if, and only if, the attempt is refused as not allowed."""
    lines = "\n".join(f"    {line}" for line in attempt.splitlines())
    return (
        f"import os, sys\ntry:\n{lines}\nexcept PermissionError:\n    pass\nelse:\n    raise AssertionError('it went')"
    )


WAYS = [
    "open('written', 'w')", "open('/etc/passwd')", "os.open('written', os.O_CREAT | os.O_WRONLY)", "os.system('true')",
    "os.fork()", "import subprocess\nsubprocess.run(['true'])", "os.execv('/bin/true', ['true'])",
    "os.posix_spawn('/bin/true', ['true'], {})", "import socket\nsocket.socket()", "import ctypes\nctypes.CDLL(None)",
    "os.remove('/tmp/x')", "os.rename('a', 'b')", "os.mkdir('d')", "os.rmdir('.')", "os.kill(os.getppid(), 9)",
    "os.chmod('/tmp', 0o777)", "os.symlink('a', 'b')", "import shutil\nshutil.rmtree('/tmp/none')",
    "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1, 1))", "os.truncate('/tmp/x', 0)",
    "import pathlib\npathlib.Path('x').write_text('y')",
]  # fmt: skip


@pytest.mark.parametrize("attempt", WAYS)
def test_every_way_out_is_shut(attempt):
    assert locked.passes(shut(attempt), 3)


def test_what_is_not_shut_would_be_seen():
    assert not locked.passes(shut("len('x')"), 3)


def test_nothing_of_the_parent_is_seen(monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    assert locked.passes("import os, sys\nassert 'SECRET' not in os.environ and sys.argv[1:] == []", 3)
    assert locked.passes("import os\nassert os.listdir('.') == []", 3)


def test_time_and_memory_end(monkeypatch):
    began = time.monotonic()
    assert not locked.passes("while True: pass", 1)
    assert time.monotonic() - began < 15
    assert not locked.passes("x = bytearray(2 << 30)", 3)
    monkeypatch.setattr(locked, "START", 1)
    assert not locked.passes("import time\ntime.sleep(60)", 1)  # takes no processor time
    assert time.monotonic() - began < 30


def test_a_child_that_cannot_be_locked_is_an_error_not_a_verdict(monkeypatch, tmp_path):
    broken = tmp_path / "child.py"
    broken.write_text("raise RuntimeError('no locks today')")
    monkeypatch.setattr(locked, "CHILD", broken)
    with pytest.raises(EngineError, match="no locks today"):
        locked.passes("x = 2", 3)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EngineError, match="on Linux only"):
        locked.passes("x = 3", 3)
