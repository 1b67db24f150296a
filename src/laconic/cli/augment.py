"""`laconic augment`: more records for a classifier, written by a model.

No paper: a command.
"""

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.console import Quiet, give, say


def command(
    model: Annotated[
        Path, typer.Argument(help="A run folder or artifact of the task control, or a masked language model.")
    ],
    data: Annotated[str, typer.Option(help="The data of a classifier, one label a text.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The data with the new records, to train on.")],
    number: Annotated[int, typer.Option(help="New records for each label.", min=1)] = 20,
    judge: Annotated[
        Path | None,
        typer.Option(help="A run folder or artifact of classify: only texts that it gives their label stay."),
    ] = None,
    temperature: Annotated[float, typer.Option(help="The lower, the likelier and the less varied.")] = 1.0,
    mask: Annotated[
        float | None, typer.Option(help="The share of tokens that a masked model says anew; by default 0.3.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Deals splits where there are none, and draws texts.")] = 0,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Write the data anew with texts that MODEL makes for each label behind the training split."""
    from laconic.augment import augment

    made = augment(
        model, data, out, number=number, judge=judge, temperature=temperature, mask=mask, seed=seed, progress=not quiet
    ).figures()
    if as_json:
        give(made)
    kept = "" if made["label_kept"] is None else f", {made['label_kept']:.1%} of them kept their label"
    say(f"{out}: {made['records']} records more; of {made['written']} texts {made['new']} were new{kept}")
    if made["fewer"]:
        some = ", ".join(f"{label!r} {count}" for label, count in list(made["fewer"].items())[:10])
        say(f"{len(made['fewer'])} labels got fewer than {number}: {some}")
    say(", ".join(f"{name} {value:.3f}" for name, value in made["distinct"].items()))
    say(f"next: laconic train MODEL --task classify --data {out} -o RUN")
