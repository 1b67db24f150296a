"""The child process of `locked`: takes its own rights away, runs a program, and says a word if that comes to its end.

Chen et al. 2021, arXiv:2107.03374, section 2.3 (why written programs are shut in); PEP 578 (audit hooks, which can't be
taken off again); setrlimit(2). Run as a script, with the standard library alone; nothing imports it.
"""

import os
import resource
import sys
import sysconfig

SHUT = (  # events of the interpreter that end in an error, by how their names begin
    "socket.", "subprocess.", "ctypes.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.kill",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.chflags", "os.utime", "os.putenv", "os.setxattr", "os.removexattr", "shutil.", "tempfile.", "pty.",
    "signal.", "resource.", "sqlite3.", "winreg.", "webbrowser.", "ftplib.", "urllib.", "http.", "smtplib.", "mmap.",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FILES = 64  # open at once: imports need some


def limit(seconds: int, megabytes: int) -> None:
    """Bound processor time, memory, files; let nothing be written to a file or started, where the system sees to it."""
    bounds = {
        resource.RLIMIT_CPU: seconds, resource.RLIMIT_AS: megabytes << 20, resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: FILES, resource.RLIMIT_NPROC: 0,
    }  # fmt: skip
    for kind, bound in bounds.items():
        resource.setrlimit(kind, (bound, bound))


def lock() -> None:
    """Refuse, from here on, what a program that computes has no need of; files may be read that are Python's own."""
    own = tuple(os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib"))

    def refuse(event: str, given: tuple[object, ...]) -> None:
        if event.startswith(SHUT):
            raise PermissionError(f"{event} is not allowed here")
        if event == "open":
            path, _, flags = given
            inside = isinstance(path, str) and os.path.realpath(path).startswith(own)
            if not inside or (isinstance(flags, int) and flags & WRITING):
                raise PermissionError(f"{path!r} can't be opened here")

    sys.addaudithook(refuse)


def main() -> None:
    """Read a word and a program from the standard input; say the word when all is locked, and when the program ends."""
    seconds, megabytes = (int(number) for number in sys.argv[1:])
    del sys.argv[1:]
    word, _, program = sys.stdin.buffer.read().partition(b"\n")
    said, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    limit(seconds, megabytes)
    lock()
    os.write(said, word)
    exec(compile(program, "program", "exec"), {"__name__": "program"})
    os.write(said, word)


if __name__ == "__main__":
    main()
