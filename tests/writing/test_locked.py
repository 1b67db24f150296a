"""Programs that are locked in: what may run, and every way out that is shut."""

import os
import runpy
import subprocess
import sys
import sysconfig
import time

import pytest

from laconic.errors import EngineError
from laconic.writing import locked

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="locked in on Linux only")


THREADS = """
import threading
said, all_there = [], threading.Barrier(40)
def add(i):
    all_there.wait()
    said.append(i)
threads = [threading.Thread(target=add, args=(i,)) for i in range(40)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert sorted(said) == list(range(40))
"""
POOL = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    assert list(pool.map(abs, range(-9, 0))) == list(range(9, 0, -1))
"""


@pytest.mark.parametrize(
    "program",
    [
        "x = 1",
        "import abc, array, base64, bisect, calendar, cmath, contextlib, copy, csv, dataclasses, datetime, decimal, "
        "enum, fractions, functools, inspect, io, json, numbers, operator, queue, random, statistics, string, struct, "
        "textwrap, threading, time, traceback, unicodedata, zlib\nrandom.random()\ntime.sleep(0.01)",
        "from collections import namedtuple\nfrom typing import NamedTuple\nP = namedtuple('P', 'x')\nassert P(1).x",
        "import math, re, collections, typing, heapq, itertools, hashlib\nassert math.isclose(0.1 + 0.2, 0.3)",
        "print('said ' * 10000)",
        "import sys\nprint('said', file=sys.stderr, flush=True)",
        THREADS,
        POOL,
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
        "import os, threading, time\nthreading.Thread(target=lambda: (time.sleep(0.3), os._exit(1))).start()",
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
    "import __main__\n__main__.SHUT = ()\nos.remove('/tmp/x')",
    "import __main__\n__main__.WRITING = 0\nopen(os.__file__, 'r+')",
    "import builtins\nbuiltins.isinstance = lambda *_: True\nopen('/etc/passwd')",
    "import builtins\nbuiltins.type = lambda _: str\nopen(b'/etc/passwd')",
    "import posixpath\nposixpath.realpath = lambda _: os.__file__\nopen('/etc/passwd')",
    "open(os.path.dirname(os.__file__) + '/../../../../../../../etc/passwd')",
    "class S(str):\n    def startswith(self, *_):\n        return True\nopen(S('/etc/passwd'))",
    "import _posixsubprocess", "import ctypes", "import _ctypes", "import _xxsubinterpreters", "import multiprocessing",
    "os.mkfifo('/tmp/fifo_of_a_program')", "os.mknod('node')", "os.chroot('/')", "os.nice(1)", "os.setuid(0)",
    "os.listdir('/')", "os.listdir(b'/')", "os.scandir('/etc')", "os.chdir('/')", "os.memfd_create('m')",
    "os.sched_setaffinity(0, {0})", "os.setpriority(os.PRIO_PROCESS, 0, 1)", "os.pipe()",
    "import gc\ngc.get_objects()", "sys._current_frames()",
]  # fmt: skip


@pytest.mark.parametrize("attempt", WAYS)
def test_every_way_out_is_shut(attempt):
    assert locked.passes(shut(attempt), 3)


def test_the_kernel_refuses_where_python_is_led_past_the_hook(tmp_path):
    """The filter alone, without the hook."""
    tries = [
        "subprocess.run(['/bin/true'])", "os.fork()", "os.execv('/bin/true', ['true'])", "os.mkdir('x')",
        "os.open('x', os.O_CREAT | os.O_WRONLY)", "os.remove('x')", "socket.socket()", "os.kill(os.getpid(), 9)",
    ]  # fmt: skip
    lines = [f"try:\n    {t}\nexcept PermissionError:\n    said += 1\n" for t in tries]
    names = f"import os, runpy, socket, subprocess\nchild = runpy.run_path({str(locked.CHILD)!r})\nsaid = 0\n"
    program = names + "child['filter_calls']()\n" + "".join(lines) + "print(said)"
    command = [sys.executable, "-I", "-c", program]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == str(len(tries)), ran.stderr


def test_the_kernel_lets_threads_begin_and_nothing_else_that_is_cloned():
    """By the calls themselves, whose stack is ours: errno of clone3, of a process, and of threads out of their view."""
    program = f"""
import ctypes, errno, os, platform, runpy, threading
child = runpy.run_path({str(locked.CHILD)!r})
libc = ctypes.CDLL(None, use_errno=True)
clone = {{"x86_64": 56, "aarch64": 220}}[platform.machine()]
child["filter_calls"]()
thread = 0x3D0F00
for number, *given in [
    (435, 0, 0), (clone, 17, 0, 0, 0, 0), (clone, 0x4111, 0, 0, 0, 0), (clone, thread | 0x10000000, 0, 0, 0, 0),
    (clone, thread | 0x20000, 0, 0, 0, 0),
]:
    assert libc.syscall(number, *map(ctypes.c_ulong, given)) == -1
    print(errno.errorcode[ctypes.get_errno()])
ran = threading.Thread(target=print, args=("ran",))
ran.start()
ran.join()
"""
    command = [sys.executable, "-I", "-S", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["ENOSYS", "EPERM", "EPERM", "EPERM", "EPERM", "ran"], ran.stderr


def test_the_kernel_hides_files_where_python_is_led_past_the_hook(tmp_path):
    """Landlock beside the filter, without the hook: by Python and by the C library; what is imported stays readable."""
    (tmp_path / "secret").write_text("x")
    (tmp_path / "empty").mkdir()
    program = f"""
import ctypes, os, runpy
child = runpy.run_path({str(locked.CHILD)!r})
libc = ctypes.CDLL(None, use_errno=True)
if not child["hide_files"](child["folders"]()):
    print("no Landlock")
    raise SystemExit
child["filter_calls"]()
open(os.__file__).close()
os.listdir(".")
import _decimal, _hashlib, zlib  # which load libraries
places = [{str(tmp_path / "secret")!r}, "../secret", "/etc/passwd", "/proc/self/environ", "/"]
for path in places:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        print("shut", end=" ")
    if libc.openat(-100, path.encode(), os.O_RDONLY) == -1 and libc.open(path.encode(), os.O_RDONLY) == -1:
        print("shut", end=" ")
"""
    command = [sys.executable, "-I", "-S", "-c", program]
    ran = subprocess.run(command, cwd=tmp_path / "empty", capture_output=True, text=True, check=False)
    if ran.stdout.strip() == "no Landlock":
        pytest.skip("this kernel has no Landlock")
    assert ran.stdout.split() == ["shut"] * 10, ran.stderr


FORGED = """
import os, sys
def values(thing, depth=0):
    if isinstance(thing, bytes):
        yield thing
    elif depth < 4:
        inner = list(thing.values()) if isinstance(thing, dict) else []
        inner += list(thing) if isinstance(thing, (list, tuple)) else []
        inner += [getattr(thing, name) for name in ("args", "__closure__", "__defaults__", "cell_contents")
                  if hasattr(thing, name)]
        for each in inner:
            yield from values(each, depth + 1)
try:
    raise ValueError
except ValueError as error:
    frames = [error.__traceback__.tb_frame]
while frames[-1].f_back:
    frames.append(frames[-1].f_back)
words = {w for f in frames for v in (*f.f_locals.values(), *f.f_globals.values()) for w in values(v)}
words |= set(values(vars(sys.modules["__main__"])))
for word in (w for w in words if len(w) == 32):  # as the word is, and nothing beside it
    for said in range(64):
        try:
            os.write(said, word)
        except OSError:
            pass
os._exit(0)
"""


def test_a_program_cannot_say_itself_that_it_passes():
    assert not locked.passes(FORGED, 3)


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="for root only")
def test_root_runs_programs_as_nobody_where_nobody_can_read_python(tmp_path, monkeypatch):
    everybody = runpy.run_path(str(locked.CHILD))["open_to_all"]
    assert everybody("/usr")
    assert everybody("/no/such/folder/python311.zip")
    hidden = tmp_path / "hidden"
    (hidden / "inner").mkdir(parents=True)
    hidden.chmod(0o700)
    assert not everybody(str(hidden / "inner"))
    ours = sysconfig.get_path("stdlib")
    assert locked.passes(f"import os\nassert (os.getuid() == 65534) == {everybody(ours)}", 3)
    if os.path.exists("/usr/bin/python3.11"):
        monkeypatch.setattr(sys, "executable", "/usr/bin/python3.11")
        assert locked.passes("import os\nassert os.getuid() == os.getgid() == 65534\nassert os.listdir('.') == []", 3)


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
    behind = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()"
    assert not locked.passes(behind, 1)  # the program is at its end, its thread is not
    busy = "import threading\ndef turn():\n    while True:\n        pass\nthreading.Thread(target=turn).start()"
    assert not locked.passes(busy, 1)
    assert time.monotonic() - began < 30


def test_a_child_that_cannot_be_locked_is_an_error_not_a_verdict(monkeypatch, tmp_path):
    broken, whole = tmp_path / "child.py", locked.CHILD.read_text()
    broken.write_text("raise RuntimeError('no locks today')")
    monkeypatch.setattr(locked, "CHILD", broken)
    with pytest.raises(EngineError, match="no locks today"):
        locked.passes("x = 2", 3)
    for step, other, words in (
        ("platform.machine()", "'z80'", "for a z80 no calls are listed; there are: x86_64, aarch64"),
        ("sys.addaudithook(refuse)", "1 / 0", "division by zero"),
    ):
        broken.write_text(whole.replace(step, other))
        with pytest.raises(EngineError, match=words):
            locked.passes("x = 2", 3)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EngineError, match="on Linux only"):
        locked.passes("x = 3", 3)
