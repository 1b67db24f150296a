"""The command line: one command per file, no logic; errors of ours become one line and a non-zero exit.

No paper: Typer.
"""

import errno
import os
import sys
import warnings

import typer

from laconic.cli import compress, evaluate, inspect, methods, predict, prepare, report, train
from laconic.errors import LaconicError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Make a language model small and fast for a task, and prove what was lost. Start with [bold]laconic prepare[/].",
)
for module in (prepare, train, compress, evaluate, predict, inspect, report, methods):
    app.command(name=module.__name__.rsplit(".", 1)[1])(module.command)

INTERRUPTED = 130
FAILED = 1


def main() -> None:
    """Run a command; what we know how to explain is one line on stderr."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore", module="transformers")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except LaconicError as error:
        _fail(str(error), FAILED)
    except KeyboardInterrupt:
        _fail("interrupted; the same command goes on from the last finished step", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS):
            raise
        _fail(f"{error.strerror}: {error.filename or 'the output'}; free some space or choose another folder", FAILED)


def _fail(message: str, status: int) -> None:
    print(f"laconic: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)
