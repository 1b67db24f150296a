"""One process at a time in a place, by a lock that vanishes with the process that holds it.

No paper: a record lock of POSIX, fcntl(2), which networked disks know. A process gives it up when it closes the file
under any handle, so it opens a file that it has once. Where the system or the disk has none, processes are not kept
apart.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from laconic.errors import MENDS, ArtifactError

if sys.platform != "win32":
    import fcntl

LACKING = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # what a disk without locks answers


HELD: dict[tuple[int, str], int] = {}  # a process (a fork has no locks of its parent) and a path -> the open handle


@contextmanager
def held(file: Path, busy: Callable[[], None]) -> Iterator[None]:
    """`keep` within the block; of two blocks of one process, one in the other, the outer one gives it back."""
    fresh = keep(file, busy)
    try:
        yield
    finally:
        if fresh:
            file.unlink(missing_ok=True)  # before it is given back, so that it is nobody else's by then
            release(file)


def keep(file: Path, busy: Callable[[], None]) -> bool:
    """Lock a file, made for it, until the process ends or `release`s it; whether the process did not have it already.

    Where another process has it, `busy` is called, which says so or raises; then it is waited for.
    """
    fresh = not _is_ours(file)
    while not _is_ours(file):  # one that was removed during the wait keeps nobody out
        release(file)
        with ExitStack() as undo:
            handle = _opened(file)
            undo.callback(os.close, handle)
            _lock(handle, busy)
            undo.pop_all()
        HELD[_key(file)] = handle
    return fresh


def release(file: Path) -> None:
    """Give a file back that may be removed by now; nothing where it is not held."""
    handle = HELD.pop(_key(file), None)
    if handle is not None:
        os.close(handle)


def _is_ours(file: Path) -> bool:
    """Whether this process holds the very file that stands there."""
    handle = HELD.get(_key(file))
    try:
        return handle is not None and os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _key(file: Path) -> tuple[int, str]:
    return os.getpid(), os.path.realpath(file)


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
