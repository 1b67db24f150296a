"""`laconic bits`: how many bits a text needs under a causal model.

No paper: a command.
"""

from typing import Annotated

import typer

from laconic.cli.console import Quiet, give, say, table


def command(
    model: Annotated[
        str, typer.Argument(help="A causal model: a Hugging Face folder or id, a run folder, an artifact.")
    ],
    text: Annotated[
        str,
        typer.Argument(
            help="Any file; one that ends in .jsonl, .json, .ndjson, .csv, .tsv or .parquet is records; or a folder."
        ),
    ],
    split: Annotated[
        str | None, typer.Option(help="Of a folder: test, validation or train.", show_default="test")
    ] = None,
    context: Annotated[int | None, typer.Option(help="Tokens a window holds; by default as trained, or 512.")] = None,
    overlap: Annotated[float | None, typer.Option(help="Share of a window that only leads to the rest.")] = None,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures and every document as JSON.")] = False,
) -> None:
    """Weigh TEXT under MODEL, document by document, every byte paid for: what `laconic zip` needs for a file."""
    from laconic.lossless import bits, causal

    texts = bits.documents(text, split)  # before the model, which takes long to read
    opened = causal.read(model, context, overlap)
    found = bits.weigh(opened, texts, progress=not quiet)
    record = found.record(opened)
    if as_json:
        give(record)
    rows = [["documents", f"{len(found.documents):,}"], ["bytes", f"{found.bytes:,}"], ["tokens", f"{found.tokens:,}"]]
    rows += [
        ["bits of the tokens", f"{found.token_bits:,.0f}"],
        ["bits of what they leave out", f"{found.rest_bits:,}"],
    ]
    if opened.folder_bytes is not None:
        rows += [["bits of the model", f"{8 * opened.folder_bytes:,}"]]
        rows += [["description length, bits", f"{record['description_length_bits']:,.0f}"]]
    table(f"{text} under {model}, windows of {opened.context} tokens", ["", "amount"], rows)
    say(f"{found.per_byte:.4f} bits per byte: {100 * (1 - found.per_byte / 8):.1f} % saved")
