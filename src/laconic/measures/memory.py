"""How much memory a job needs at its peak, measured in a process of its own so that the caller's does not count.

No paper: the kernel's own count of resident bytes. `getrusage` is not asked on Linux, since what it says of a child
includes the parent's pages from before `exec`; `VmHWM` begins anew there.
"""

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laconic.errors import LaconicError

STATUS = Path("/proc/self/status")
MARK = "laconic-memory "
CHILD = "import sys; from laconic.measures import memory; memory.child(sys.argv[1], sys.stdin.read())"


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a process: after its imports, and at the peak of its work."""

    imported_bytes: int
    peak_bytes: int


def take(function: str, *arguments: Any, seconds: float = 600.0) -> Memory:
    """Call `function` ("module:name") with JSON arguments in a fresh Python; raises LaconicError if it fails there."""
    command = [sys.executable, "-c", CHILD, function]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        done = subprocess.run(
            command,
            input=json.dumps(arguments),  # an argument of a command is limited to 128 KiB
            capture_output=True,
            text=True,
            timeout=seconds,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LaconicError(f"memory of {function}: no answer after {seconds:g} seconds") from error
    marked = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not marked:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise LaconicError(f"memory of {function}: the process ended with status {done.returncode}: {last}")
    imported, peak = (int(x) for x in marked[-1].removeprefix(MARK).split())
    return Memory(imported, peak)


def child(function: str, arguments: str) -> None:
    """The other process: import, call, print both readings."""
    module, name = function.split(":")
    call = getattr(importlib.import_module(module), name)
    imported = peak_bytes()
    call(*json.loads(arguments))
    print(f"{MARK}{imported} {peak_bytes()}", flush=True)


def peak_bytes() -> int:
    """The most this process has held resident so far."""
    if STATUS.exists():
        fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        if "VmHWM" in fields:
            return int(fields["VmHWM"].split()[0]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
