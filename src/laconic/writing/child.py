"""The child process of `locked`: takes its own rights away, runs a program, and says a word if that comes to its end.

Chen et al. 2021, arXiv:2107.03374, section 2.3 (why written programs are shut in); seccomp(2): the kernel refuses all
but what computing needs, whatever Python is made to do; landlock(7): of files it lets those be read that importing
needs, on Linux from 5.13 on; PEP 578 (audit hooks, which can't be taken off again) for all other events, and for files
where the kernel has no Landlock; setrlimit(2). Run as a script, with the standard library alone; nothing imports it.
"""

import ctypes
import errno
import io
import os
import platform
import resource
import struct
import sys
import sysconfig
from collections import deque
from collections.abc import Iterator
from functools import partial
from operator import methodcaller
from typing import Any

SHUT = (  # events of the interpreter that end in an error, by how their names begin
    "socket.", "subprocess.", "ctypes.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.kill",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.chflags", "os.utime", "os.putenv", "os.setxattr", "os.removexattr", "shutil.", "tempfile.", "pty.",
    "signal.", "resource.", "sqlite3.", "winreg.", "webbrowser.", "ftplib.", "urllib.", "http.", "smtplib.", "mmap.",
    "os.chdir", "os.fchdir", "os.getxattr", "os.listxattr", "gc.", "sys._current_", "code.__new__", "_posixsubprocess.",
)  # fmt: skip
UNNAMED = frozenset(  # modules that reach memory, processes, or an interpreter without this hook
    ("ctypes", "_ctypes", "_posixsubprocess", "_testcapi", "_testinternalcapi", "_xxsubinterpreters", "_interpreters",
     "_xxinterpchannels", "_interpchannels", "_socket", "_multiprocessing")
)  # fmt: skip
LISTED = ("os.listdir", "os.scandir", "glob.glob", "glob.glob/2", "os.walk", "os.fwalk")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FILES = 64  # open at once: imports need some
NOBODY = 65534
READY = b"locked in\n"
CALLS = {  # of a machine: what its kernel calls it, openat, clone, and what computing needs, of asm/unistd.h
    "x86_64": (0xC000003E, 257, 56, (
        0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 23, 24, 25, 28, 32, 35, 39, 60, 63, 72,
        79, 89, 96, 98, 99, 100, 102, 104, 107, 108, 110, 131, 186, 201, 202, 204, 217, 219, 228, 229, 230, 231, 262,
        267, 269, 270, 271, 273, 318, 324, 332, 334, 439,
    )),
    "aarch64": (0xC00000B7, 56, 220, (
        17, 23, 25, 29, 48, 57, 61, 62, 63, 64, 65, 66, 67, 72, 73, 78, 79, 80, 93, 94, 98, 99, 101, 113, 114, 115,
        123, 124, 128, 132, 134, 135, 139, 153, 160, 165, 169, 172, 173, 174, 175, 176, 177, 178, 179, 214, 215, 216,
        222, 226, 233, 278, 283, 291, 293, 439,
    )),
}  # fmt: skip
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2  # of prctl(2)
CLONE3 = 435  # on all machines; its flags are out of a filter's reach
THREAD, NAMESPACES = 0x10000, 0x7E020000  # flags of clone(2): no new process; a view of the system of its own
LOAD, EQUAL, ANY, SAY = 0x20, 0x15, 0x45, 0x06  # of bpf: a word, jumps if it is equal or has any of these bits, the end
CREATE, ADD, RESTRICT = 444, 445, 446  # the calls of Landlock, alike on all machines
READ_FILE, READ_FOLDER, BENEATH = 1 << 2, 1 << 3, 1  # of linux/landlock.h: what is refused, and a rule for a path
SHARED = (  # what the loader of Python's modules reads, and the clock; all may read it
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store", "/etc/ld.so.cache",
    "/etc/localtime",
)  # fmt: skip
ALLOWED, REFUSED, LACKING = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS


def limit(seconds: int, megabytes: int) -> None:
    """Bound processor time, memory, files; let nothing be written to a file, where the system sees to it.

    Processes are not counted: a user's threads, of all that he runs, would count as such.
    """
    bounds = {
        resource.RLIMIT_CPU: seconds, resource.RLIMIT_AS: megabytes << 20, resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: FILES,
    }  # fmt: skip
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, bound))


def demote(own: tuple[str, ...]) -> None:
    """Be nobody where root runs this, if nobody can read Python's library."""
    if os.getuid() or not all(open_to_all(path) for path in own):
        return
    os.chown(".", NOBODY, NOBODY)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def open_to_all(path: str) -> bool:
    """Whether everybody may go into a folder, and into those that it is in; one that is not there hides nothing."""
    while os.path.exists(path) and os.stat(path).st_mode & 1:
        if path == os.path.dirname(path):
            return True
        path = os.path.dirname(path)
    return not os.path.exists(path)


def hide_files(own: tuple[str, ...]) -> bool:
    """Let the kernel refuse to read any file but Python's own and SHARED; False where it has no Landlock.

    The libraries of a Python that brings its own stand beside its modules' folder.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    refused = ctypes.create_string_buffer(struct.pack("Q", READ_FILE | READ_FOLDER))  # struct landlock_ruleset_attr
    rules = libc.syscall(CREATE, refused, 8, 0)
    if rules < 0:
        return False
    beside = os.path.dirname(sysconfig.get_path("stdlib"))
    for path in filter(os.path.exists, (".", beside, *own, *SHARED)):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        may = READ_FILE | (READ_FOLDER if os.path.isdir(path) else 0)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", may, place))  # struct landlock_path_beneath_attr
        if libc.syscall(ADD, rules, BENEATH, rule, 0):
            raise OSError(ctypes.get_errno(), f"the kernel takes no rule for {path}")
        os.close(place)
    if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(RESTRICT, rules, 0):
        raise OSError(ctypes.get_errno(), "the kernel hides no files")
    os.close(rules)
    return True


def filter_calls() -> None:
    """Let the kernel refuse every call but those of CALLS; openat where a file would be written; clone but for threads.

    clone3 is said to be lacking, as in old kernels, and the C library then starts threads by clone.
    """
    if platform.machine() not in CALLS:
        raise OSError(f"for a {platform.machine()} no calls are listed; there are: {', '.join(CALLS)}")
    machine, openat, clone, calls = CALLS[platform.machine()]
    checks = [(EQUAL, len(calls) - i + 9, 0, call) for i, call in enumerate(calls)]  # if so, to the last line
    lines = [
        (LOAD, 0, 0, 4), (EQUAL, 0, len(calls) + 10, machine), (LOAD, 0, 0, 0), *checks,
        (EQUAL, 0, 2, openat), (LOAD, 0, 0, 32), (ANY, 6, 7, WRITING),
        (EQUAL, 0, 3, clone), (LOAD, 0, 0, 16), (ANY, 3, 0, NAMESPACES), (ANY, 3, 2, THREAD),
        (EQUAL, 0, 1, CLONE3), (SAY, 0, 0, LACKING), (SAY, 0, 0, REFUSED), (SAY, 0, 0, ALLOWED),
    ]  # fmt: skip
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    program = ctypes.create_string_buffer(struct.pack("HP", len(lines), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or prctl(SECCOMP, FILTER, program):
        raise OSError(ctypes.get_errno(), "the kernel filters no system calls")


def lock(own: tuple[str, ...]) -> None:
    """Refuse, from here on, what a program that computes has no need of; files may be read that are Python's own.

    All that the hook uses is bound to it, so that nothing the program can reach changes what it does.
    """
    tools: Any = (own, str.startswith, str.rpartition, type, str, int, PermissionError)

    def refuse(event: str, given: tuple[Any, ...], bound: Any = (SHUT, LISTED, UNNAMED, WRITING, *tools)) -> None:
        shut, listed, unnamed, writing, own, starts, last, kind, text, whole, error = bound
        if starts(event, shut):
            raise error("this is not allowed here")
        if event == "import" and last(given[0], ".")[2] in unnamed:
            raise error("this can't be imported here")
        if event == "open" or event in listed:
            path = given[0]
            inside = kind(path) is text and starts(path + "/", own) and "/.." not in path
            if event == "open":
                read = inside and kind(given[2]) is whole and not given[2] & writing
            else:
                read = inside or path is None or (kind(path) is text and path == ".")
            if not read:
                raise error("this can't be opened here")

    sys.addaudithook(refuse)


def folders() -> tuple[str, ...]:
    """Python's own, as it names them and as they are called in truth, each with its last slash."""
    named = {*(sysconfig.get_path(name) for name in ("stdlib", "platstdlib")), *sys.path}
    return tuple({path.rstrip(os.sep) + os.sep for each in named for path in (each, os.path.realpath(each))})


def steps() -> Iterator[object]:
    """To lock, to run the program and to say the word, each done when it is asked for.

    What goes wrong with locking is told on stderr, which is nowhere from then on. No frame that the program can see
    holds the word, for this one has gone by then.
    """
    seconds, megabytes = (int(number) for number in sys.argv[1:])
    del sys.argv[1:]
    with io.FileIO(0, closefd=False) as given:  # of which no buffer stays
        word, _, program = given.readall().partition(b"\n")
    said, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nowhere, stream)
    own = folders()
    demote(own)
    limit(seconds, megabytes)
    hide_files(own)
    filter_calls()
    for name in [name for name in sys.modules if name.rpartition(".")[2] in UNNAMED or name.startswith("ctypes.")]:
        del sys.modules[name]
    del globals()["ctypes"]
    lock(own)
    os.close(2)
    os.dup(nowhere)  # takes the lowest number that is free, and no call that is refused
    run = partial(exec, program, {"__name__": "program"})
    return map(methodcaller("__call__"), (partial(os.write, said, READY), run, partial(os.write, said, word)))


if __name__ == "__main__":
    deque(steps(), 0)
