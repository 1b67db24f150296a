"""`laconic zip`: compress a file with a causal model, losslessly.

No paper: a command.
"""

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.console import Quiet, give, say


def command(
    model: Annotated[
        str, typer.Argument(help="A causal model: a Hugging Face folder or id, a run folder, an artifact.")
    ],
    file: Annotated[Path, typer.Argument(help="Any file.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="The compressed file to write, such as FILE.lcz; one that is there is replaced."
        ),
    ],
    context: Annotated[int | None, typer.Option(help="Tokens a window holds; by default as trained, or 512.")] = None,
    overlap: Annotated[float | None, typer.Option(help="Share of a window that only leads to the rest.")] = None,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the sizes as JSON.")] = False,
) -> None:
    """Compress FILE with MODEL. Reading it again takes the same model, package versions and kind of machine."""
    from laconic.lossless import archive, causal

    content = archive.content_of(file, out)
    packed = archive.pack(causal.read(model, context, overlap), content, progress=not quiet)
    archive.write(out, packed)
    stored = archive.is_stored(packed)
    per_byte = 8 * len(packed) / len(content) if content else None
    if as_json:
        give({"bytes": len(content), "packed_bytes": len(packed), "bits_per_byte": per_byte, "stored": stored})
    rate = "" if per_byte is None else f", {per_byte:.4f} bits per byte"
    how = "; stored as it is, which is less than the model would make of it: any model reads it" if stored else ""
    say(f"{out}: {len(packed):,} bytes of {len(content):,}{rate}{how}")
