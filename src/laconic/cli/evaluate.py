"""`laconic evaluate`: measure a model on a split, alone or against the one it came from.

No paper: a command.
"""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.console import Quiet, give, people, present, say


def command(
    folder: Annotated[Path, typer.Argument(help="An artifact or a run folder.")],
    data: Annotated[str | None, typer.Option(help="The data; by default what the model was trained on.")] = None,
    split: Annotated[str, typer.Option(help="test or validation.")] = "test",
    against: Annotated[Path | None, typer.Option(help="The run folder to compare with.")] = None,
    engine: Annotated[
        str, typer.Option(help="torch, onnxruntime, or auto: the fastest that can run the model.")
    ] = "auto",
    cache_bits: Annotated[
        int | None, typer.Option(help="8 or 4: round what a model that writes has read; without --against.")
    ] = None,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Score FOLDER on a split; with --against, measure size, speed, memory and bits of both and write the report."""
    from laconic import data as readers
    from laconic import options, predict, prove, trained
    from laconic.errors import RecipeError
    from laconic.report.terminal import tag_table

    options.choice("split", split, ("test", "validation"))
    if against is not None and cache_bits is not None:
        raise RecipeError(f"--cache-bits {cache_bits} and --against {against} exclude one another; leave one out")
    if against is not None:
        called = shlex.join(["laconic", *sys.argv[1:]])
        report = prove.evidence(folder, against, data, split=split, engine=engine, command=called, progress=not quiet)
        present(report, folder / prove.FILES[split][1], as_json)
        return
    source = trained.read(folder)
    examples = readers.read_split(source.data(data), source.task, split, seed=source.seed)
    loaded = predict.start(source, engine, cache_bits=cache_bits)
    figures = loaded.task.score(loaded.answer(examples, say, progress=not quiet), examples)
    if as_json:
        give(figures)
    plain = [f"{key} {value:.4f}" for key, value in figures.items() if isinstance(value, float)]
    say(f"{folder} on {split}, {loaded.engine.name}: " + ", ".join(plain))
    if "table" in figures:
        people.print(tag_table(figures["table"]))
