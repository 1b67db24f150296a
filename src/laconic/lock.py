"""One process at a time in a place, by a lock that vanishes with the process that holds it.

No paper: a record lock of POSIX, fcntl(2), which a process may take again and networked disks know. Where the system or
the disk has none, processes are not kept apart.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from laconic.errors import MENDS, ArtifactError

if sys.platform != "win32":
    import fcntl

LACKING = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # what a disk without locks answers


@contextmanager
def held(file: Path, busy: Callable[[], None]) -> Iterator[None]:
    """`keep` within the block."""
    handle = keep(file, busy)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # before it is given back, so that it is nobody else's by then
        os.close(handle)


def keep(file: Path, busy: Callable[[], None]) -> int:
    """Lock a file, made for it, until the process ends or closes what is returned.

    Where another process has it, `busy` is called, which says so or raises; then it is waited for.
    """
    while True:
        handle, mine = _opened(file), False
        try:
            _lock(handle, busy)
            mine = file.exists() and os.path.samestat(os.fstat(handle), file.stat())  # not removed during the wait
        finally:
            if not mine:
                os.close(handle)
        if mine:
            return handle


def _opened(file: Path) -> int:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        mend = MENDS.get(error.errno or 0, "choose another place")
        raise ArtifactError(f"{file}: can't be written ({error.strerror}); {mend}") from error


def _lock(handle: int, busy: Callable[[], None]) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # which of the two is the system's choice
        busy()
        fcntl.lockf(handle, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in LACKING:
            raise
