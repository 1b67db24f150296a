"""`laconic pretrain`: make a model of text, from nothing or on from a checkpoint.

No paper: a command.
"""

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.console import Quiet, give, say


def command(
    objective: Annotated[str, typer.Option(help="clm, mlm or span-corruption.")],
    config: Annotated[Path, typer.Option(help="YAML or JSON: model, tokenizer, training.")],
    text: Annotated[str, typer.Option(help="A folder or file of text: plain text, JSON Lines, parquet, csv.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model folder to write.")],
    source: Annotated[str | None, typer.Option("--from", help="Go on from this model folder or hub id.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same model.")] = 0,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print validation figures and speed as JSON.")] = False,
) -> None:
    """Train tokenizer and model on text, and write an ordinary model folder. A killed run goes on where it was."""
    import json

    from laconic import ranks
    from laconic.pretrain import RECORD, corpus, objectives, pretrain

    pretrain(objective, config, text, out, source=source, seed=seed, progress=not quiet, log=say)
    if ranks.rank() > 0:
        return
    held = json.loads((out / RECORD).read_text(encoding="utf-8"))
    figures = {**held["validation"], **held["speed"]}
    if as_json:
        give(figures)
    say(f"{out}: validation " + ", ".join(f"{k} {v:.4f}" for k, v in held["validation"].items()))
    rate, used = figures["tokens_per_second"], figures["model_flops_utilization"]
    say(f"{rate:,.0f} tokens a second, {used:.1%} of the measured peak of matrix products")
    data = "DATA" if corpus.is_whole(Path(text)) else text  # a folder without splits, which train does not take
    say(f"next: laconic train {out} --task {objectives.PRETEXTS[objective].task} --data {data} -o RUN")
