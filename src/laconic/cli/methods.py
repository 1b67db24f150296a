"""`laconic methods`: what each method does, its options, and what it needs, makes and keeps.

No paper: a command.
"""

import inspect
import sys
from typing import Annotated, Any

import typer

from laconic.cli.console import give, people, say, table


def command(
    name: Annotated[str | None, typer.Argument(help="A method; without one, all are listed.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the methods a recipe can use, or show one with its options and paper."""
    from laconic import methods
    from laconic.contracts import PROPERTIES

    chosen = [name] if name else methods.names()
    records: list[dict[str, Any]] = []
    for each in chosen:
        kind = methods.kind(each)
        records.append({
            "name": each, "about": (sys.modules[kind.__module__].__doc__ or "").strip(), "use": inspect.getdoc(kind),
            "options": methods.options(each), "needs": sorted(kind.needs), "makes": sorted(kind.makes),
            "keeps": sorted(kind.keeps & PROPERTIES),
        })  # fmt: skip
    if as_json:
        give(records)
        return
    if name is None:
        rows = [[r["name"], r["about"].splitlines()[0], ", ".join(r["makes"])] for r in records]
        table("methods", ["method", "what it does", "makes"], rows)
        return
    (record,) = records
    people.print(record["about"], record["use"], sep="\n\n")
    table(name, ["option", "default"], [[k, repr(v)] for k, v in record["options"].items()])
    for key in ("needs", "makes", "keeps"):
        say(f"{key}: {', '.join(record[key]) or 'nothing'}")
