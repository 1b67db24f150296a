"""`laconic train`: fine-tune a pretrained model on a task.

No paper: a command.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.console import give, say


def command(
    model: Annotated[str, typer.Argument(help="A model folder (safetensors and tokenizer) or a hub id.")],
    task: Annotated[str, typer.Option(help="ner or classify.")],
    data: Annotated[str, typer.Option(help="A folder, file, saved datasets folder or hub id; see laconic prepare.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder to write.")],
    epochs: Annotated[float, typer.Option(help="Passes over the training split.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="At its height, after the warm-up.")] = 1e-4,
    batch: Annotated[int, typer.Option(help="Examples per step.")] = 16,
    optimizer: Annotated[str, typer.Option(help="adamw, adam or sgd.")] = "adamw",
    loss: Annotated[
        str | None, typer.Option(help="cross_entropy, label_smoothing, focal, binary_cross_entropy.")
    ] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many checks without a better score.")] = None,
    multiple: Annotated[bool, typer.Option(help="classify: an example can have several labels.")] = False,
    seed: Annotated[int, typer.Option(help="Same seed, same model.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the validation scores as JSON.")] = False,
) -> None:
    """Fine-tune MODEL and keep the weights that are best on validation. A killed run goes on with the same command."""
    import json

    from laconic.finetune import RUN_FILE, train
    from laconic.training import Training

    options: dict[str, Any] = {"loss_name": loss} if loss else {}
    if multiple:
        options["multiple"] = True
    training = Training(epochs, learning_rate, batch, optimizer, patience=patience)
    train(model, task, data, out, options=training, seed=seed, progress=not quiet, log=say, **options)
    scores = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))["validation"]
    if as_json:
        give(scores)
    say(f"{out}: validation " + ", ".join(f"{k} {v:.4f}" for k, v in scores.items() if isinstance(v, float)))
    say(f"next: laconic compress {out} --recipe balanced -o OUT")
