"""The command line: one command per file, no logic; errors of ours become one line and a non-zero exit.

No paper: Typer.
"""

import functools
import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from laconic import ranks
from laconic.cli import (
    augment,
    bits,
    compress,
    evaluate,
    inspect,
    methods,
    predict,
    prepare,
    pretrain,
    report,
    train,
    unzip,
    zip,
)
from laconic.errors import MENDS, LaconicError

INTERRUPTED = 130
FAILED = 1
RESUMED = {module.__name__ for module in (pretrain, train, compress)}  # commands that take up what they left


def explained(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with what we know how to explain as one line on stderr."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            if command is not pretrain.command:
                ranks.alone(f"laconic {command.__module__.rsplit('.', 1)[1]}")
            command(*arguments, **options)
        except LaconicError as error:
            _fail(str(error), FAILED)
        except KeyboardInterrupt:
            goes_on = "; the same command goes on from where it was" if command.__module__ in RESUMED else ""
            _fail(f"interrupted{goes_on}", INTERRUPTED)
        except OSError as error:
            if error.errno not in MENDS:
                raise
            _fail(f"{error.filename or 'the output'}: {error.strerror}; {MENDS[error.errno]}", FAILED)

    return run


app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Make a language model small and fast for a task, and prove what was lost. Start with laconic prepare.",
)
for module in (
    prepare,
    pretrain,
    train,
    compress,
    evaluate,
    predict,
    inspect,
    report,
    methods,
    bits,
    zip,
    unzip,
    augment,
):
    app.command(name=module.__name__.rsplit(".", 1)[1])(explained(module.command))


def _version(asked: bool) -> None:
    if asked:
        from laconic import machine

        print(machine.versions(["laconic"])["laconic"])
        raise typer.Exit


@app.callback()
def _begin(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Print it.")] = False,
) -> None: ...


def main() -> None:
    """Run a command."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", module="transformers")
    app()


def _fail(message: str, status: int) -> NoReturn:
    print(f"laconic: {' '.join(message.split())}", file=sys.stderr)
    raise typer.Exit(status)
