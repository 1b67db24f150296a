"""`laconic train`: fine-tune a pretrained model on a task.

No paper: a command.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from laconic.cli.console import Quiet, give, say

BITS = "2=null 3=null 4=null 6.bits=4 7.batch=8 7.learning_rate=0.0005 7.variants=0"  # of a decoder, nothing is cut
LARGER = "3.keep=0.84 4.keep=0.67"  # for a masked encoder that chooses
WRITES = "1.min_count=1 4.keep=0.75 7.learning_rate=0.001 7.variants=0"  # for an encoder-decoder
CHANGES = {  # to `balanced`, by task, where the model is no decoder; a task without has it as it is
    "qa": "1.min_count=1 1.extra=15000 3=null 4.keep=0.75",
    "relation": "1.min_count=1 1.extra=15000 7.epochs=8 7.variants=2",
    "translate": "1.min_count=1 4.keep=0.75 3=null 6.bits=4 7.epochs=6 7.batch=64 7.learning_rate=0.001 7.variants=0",
    "summarize": "1.min_count=1 4.keep=0.75 7.batch=16 7.learning_rate=0.001 7.variants=0",
    "mlm": "1.min_count=1 1.extra=15000 3=null 4.keep=0.75 7.batch=16 7.variants=0",
    **dict.fromkeys(("span_corruption", "dialogue", "choice", "code", "control"), WRITES),
}


def command(
    model: Annotated[str, typer.Argument(help="A model folder, a hub id, or a YAML file to begin from nothing.")],
    task: Annotated[str, typer.Option(help="What the model is for, such as ner; see the reference.")],
    data: Annotated[str, typer.Option(help="A folder, file, saved datasets folder or hub id; see laconic prepare.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The run folder to write.")],
    epochs: Annotated[float, typer.Option(help="Passes over the training split.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="At its height, after the warm-up.")] = 1e-4,
    batch: Annotated[int, typer.Option(help="Examples per step.")] = 16,
    optimizer: Annotated[str, typer.Option(help="adamw, adam or sgd.")] = "adamw",
    loss: Annotated[
        str | None, typer.Option(help="cross_entropy, label_smoothing, focal, binary_cross_entropy.")
    ] = None,
    weight_decay: Annotated[float, typer.Option(help="Of matrices only.")] = 0.01,
    warmup: Annotated[float, typer.Option(help="Share of all steps in which the learning rate rises.")] = 0.06,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = 1.0,
    accumulate: Annotated[int, typer.Option(help="Batches per step of the optimizer.")] = 1,
    precision: Annotated[
        str, typer.Option(help="auto, float32, or bfloat16: faster where the processor has it.")
    ] = "auto",
    patience: Annotated[int | None, typer.Option(help="Stop after so many checks without a better score.")] = None,
    multiple: Annotated[bool, typer.Option(help="classify: an example can have several labels.")] = False,
    casing: Annotated[bool | None, typer.Option(help="ner: how words are written as an input; else by model.")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens read of a text or window; else what fits.")] = None,
    overlap: Annotated[float | None, typer.Option(help="lm, qa: share that windows share.")] = None,
    other: Annotated[str | None, typer.Option(help="relation: the label of entities without one; Other.")] = None,
    out_of_scope: Annotated[
        str | None, typer.Option(help="classify: the label of texts that no other fits; by default one called oos.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Task option: NAME=VALUE, as beams=4.")] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(help="A run folder whose answers to learn in place of the labels; again for the mean of several."),
    ] = None,
    unlabelled: Annotated[Path | None, typer.Option(help="Further texts for the teachers to answer.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same model.")] = 0,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the validation scores as JSON.")] = False,
) -> None:
    """Fine-tune MODEL and keep the weights that are best on validation. A killed run goes on with the same command."""
    import json

    from laconic.finetune import train
    from laconic.tasks import named
    from laconic.trained import RUN_FILE
    from laconic.training import Training

    given: dict[str, Any] = {"loss_name": loss, "multiple": multiple or None, "casing": casing}
    given |= {"context": context, "overlap": overlap, "other": other, "out_of_scope": out_of_scope}
    chosen = {name: value for name, value in given.items() if value is not None} | named(settings or [])
    training = Training(
        epochs=epochs, learning_rate=learning_rate, batch=batch, optimizer=optimizer, weight_decay=weight_decay,
        warmup=warmup, clip=clip, patience=patience, accumulate=accumulate, precision=precision,
    )  # fmt: skip
    taught: dict[str, Any] = {"teachers": teacher or [], "unlabelled": unlabelled, "settings": chosen}
    train(model, task, data, out, options=training, seed=seed, progress=not quiet, log=say, **taught)
    held = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
    scores = held["validation"]
    if as_json:
        give(scores)
    say(f"{out}: validation " + ", ".join(f"{k} {v:.4f}" for k, v in scores.items() if isinstance(v, float)))
    say(f"next: laconic compress {out} --recipe balanced -o OUT{_changes(held['task'], out)}")


def _changes(task: dict[str, Any], run: Path) -> str:
    """The options by which `balanced` suits a task as it is described, and the kind of model that learnt it."""
    from laconic import checkpoint

    if checkpoint.is_decoder(checkpoint.config(run)):
        chosen = BITS
    else:
        chosen = LARGER if task.get("masked") else CHANGES.get(task["name"], "")
    return "".join(f" --set {change}" for change in chosen.split())
