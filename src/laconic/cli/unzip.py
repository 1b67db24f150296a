"""`laconic unzip`: the file again that `laconic zip` compressed.

No paper: a command.
"""

from pathlib import Path
from typing import Annotated

import typer

from laconic.cli.console import Quiet, say


def command(
    model: Annotated[str, typer.Argument(help="The model it was compressed with.")],
    file: Annotated[Path, typer.Argument(help="What laconic zip wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    quiet: Quiet = False,
) -> None:
    """Write the file that FILE holds once its checksum is right; refuse another model, and damage."""
    from laconic.lossless import archive

    packed = archive.content_of(file, out)
    content = archive.unpack(packed, model, str(file), progress=not quiet, log=say)
    archive.write(out, content)
    say(f"{out}: {len(content):,} bytes, as they were")
