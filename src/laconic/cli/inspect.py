"""`laconic inspect`: where a model's bytes, parameters, multiplications and bits are, layer by layer.

No paper: a command.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.console import give, say, table


def command(
    folder: Annotated[Path, typer.Argument(help="An artifact or a run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the layers as JSON.")] = False,
) -> None:
    """Show FOLDER's layers: kind, parameters, multiply-accumulates per token, stored bytes and bits per parameter."""
    from laconic import prove, trained
    from laconic.measures import size

    source = trained.read(folder)
    stored = prove.stored(folder) or size.checkpoint(folder)
    layers = size.layers(source.model, stored)
    whole = size.take(folder, source.model, stored)
    if as_json:
        give({"size": asdict(whole), "layers": [asdict(layer) for layer in layers]})
    rows = []
    for layer in layers:
        held = layer.stored_bytes
        bits = f"{8 * held / layer.parameters:.2f}" if held is not None and layer.parameters else ""
        size_text = "" if held is None else f"{held:,}"
        rows.append([layer.path, layer.part, layer.kind, f"{layer.parameters:,}", f"{layer.macs:,}", size_text, bits])
    table(str(folder), ["layer", "part", "kind", "params", "MACs", "bytes", "bits"], rows)
    say("MACs are for one token, bits for one parameter")
    say(
        f"{whole.bytes:,} bytes in all, {whole.parameters:,} parameters ({whole.nonzero:,} not zero), "
        f"{whole.bits_per_parameter:.2f} bits per parameter, {whole.macs:,} MACs for {whole.tokens} tokens"
    )
