"""`laconic compress`: run a recipe on a fine-tuned model and prove the result.

No paper: a command.
"""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from laconic.cli.console import Quiet, give, present, say, table

if TYPE_CHECKING:
    from laconic.run import Result


def command(
    source: Annotated[Path, typer.Argument(help="A run folder of laconic train, or a pretrained decoder's folder.")],
    recipe: Annotated[str, typer.Option(help="A YAML file, or a built-in recipe: fast, balanced, tiny.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The artifact folder to write.")],
    data: Annotated[
        str | None,
        typer.Option(help="The data; by default what the run was trained on; a decoder as it stands writes its own."),
    ] = None,
    unlabelled: Annotated[
        str | None, typer.Option(help="Unlabelled texts to learn from; by default the run's.")
    ] = None,
    no_unlabelled: Annotated[bool, typer.Option("--no-unlabelled", help="Without the run's texts.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option changed, such as 2.bits=3 of step 2, or seed=1; 2=null: without step 2."),
    ] = None,
    steps: Annotated[Path | None, typer.Option(help="Where finished steps are kept; by default SOURCE.steps.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan with predicted sizes and stop.")] = False,
    report: Annotated[
        bool, typer.Option(help="Measure original and artifact on the test split, once, at the end.")
    ] = True,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan or the report as JSON.")] = False,
) -> None:
    """Compress SOURCE by a recipe into an artifact, check every step, and measure both side by side.

    A killed run goes on with the same command and writes the same bytes.
    """
    from laconic import prove, run
    from laconic.recipe import Recipe

    texts = _texts(unlabelled, no_unlabelled)
    chosen = Recipe.read(recipe).override(settings or [])
    if dry_run:
        _show(run.plan(source, chosen, data, texts), chosen.name, as_json)
        return
    if report:
        prove.check_test(source, data)
    given: dict[str, Any] = {"data_source": data, "unlabelled": texts, "steps": steps}
    result = run.compress(source, chosen, out, **given, progress=not quiet, log=say)
    say(f"{out}: written")
    if report:
        _prove(result, source, data, as_json, not quiet)


def _texts(unlabelled: str | None, none: bool) -> str | Literal[False] | None:
    from laconic.errors import RecipeError

    if none and unlabelled:
        raise RecipeError(f"--unlabelled {unlabelled} and --no-unlabelled exclude one another; leave one out")
    return False if none else unlabelled


def _prove(result: "Result", source: Path, data: str | None, as_json: bool, progress: bool) -> None:
    """Measure on test texts, where there are any, and show what was found."""
    from laconic import prove

    if result.own:
        say(
            "no text was given to test on, so nothing was measured; next: "
            f"laconic evaluate {result.folder} --against {source} --data TEXTS"
        )
        return
    called = shlex.join(["laconic", *sys.argv[1:]])
    measured = prove.evidence(result.folder, source, data, command=called, steps=result.steps, progress=progress)
    present(measured, result.folder / prove.FILES["test"][1], as_json)


def _show(plan: list[dict[str, Any]], name: str, as_json: bool) -> None:
    """The plan on the terminal, or as JSON."""
    if as_json:
        give(plan)
        return
    rows = [[f"{r['number']} {r['step']}", _options(r["options"]), f"{r['bytes'] / 1e6:.2f} MB"] for r in plan]
    table(f"{name}: the plan", ["step", "options", "weights, about"], rows)


def _options(options: dict[str, object]) -> str:
    return ", ".join(f"{k}={v}" for k, v in options.items())
