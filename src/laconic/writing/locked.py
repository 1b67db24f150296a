"""Whether a program comes to its end, run in a child process that may compute and nothing else.

Chen et al. 2021, arXiv:2107.03374, section 2.3. The child has nothing of our environment, an empty folder, its own
session, bounds on time and memory, a filter by which the kernel refuses new processes, sockets and writing, rules by
which it refuses to read files, where it has Landlock, and a hook that refuses the same: see `child`. That holds what
models write by mistake; against a program that sets out to break out of Python, to pass for right, run Laconic itself
in a container.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from laconic.errors import EngineError

CHILD = Path(__file__).with_name("child.py")
MEGABYTES = 1024  # of address space
READY = b"locked in\n"  # what the child says before it runs the program
START = 20  # seconds for the child to start, on a busy machine
KEPT = 100_000  # verdicts that are remembered


@lru_cache(KEPT)
def passes(program: str, seconds: int) -> bool:
    """Whether the program runs to its end without an error in `seconds` of processor time.

    EngineError where it can't be locked in.
    """
    if sys.platform != "linux":
        raise EngineError(f"programs can be locked in on Linux only, not on {sys.platform}; measure code there")
    word = secrets.token_hex(16).encode()
    bounds = [str(seconds), str(MEGABYTES)]
    said, error = _run(bounds, word + b"\n" + program.encode("utf-8", "replace"), START + seconds)
    if not said.startswith(READY):
        raise EngineError(f"a program could not be locked in: {error.decode(errors='replace').strip()[-200:]}")
    return said == READY + word


def _run(bounds: list[str], given: bytes, seconds: int) -> tuple[bytes, bytes]:
    """What the child says, and what it complains of, until it ends; no word of one that ends badly or not in `seconds`.

    By its one variable the C library takes memory for all threads from one place, or a few would fill the bound.
    """
    command, env = [sys.executable, "-I", "-S", "-B", str(CHILD), *bounds], {"MALLOC_ARENA_MAX": "1"}
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryDirectory() as empty,
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=empty, env=env, start_new_session=True
        ) as running,
    ):
        try:
            said, error = running.communicate(given, timeout=seconds)  # its threads may outlast the program's last word
            return said if running.returncode == 0 else said[: len(READY)], error
        except subprocess.TimeoutExpired as late:
            return (late.output or b"")[: len(READY)], late.stderr or b""
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
