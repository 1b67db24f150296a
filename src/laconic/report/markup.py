"""Write HTML from Python calls, escaping every text that is not markup already.

No paper: one function, so that no label of a user's data can become an element.
"""

from html import escape

VOID = frozenset({"meta", "link", "br", "line", "circle", "rect", "polyline", "path"})


class Markup(str):
    """Text that is HTML already; only `tag` and `join` make it."""

    __slots__ = ()


Content = str | None


def tag(element: str, /, *children: Content, **attributes: str | float | bool | None) -> Markup:
    """An element: children are escaped unless Markup; `class_` is class, `aria_label` aria-label; None is left out."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value), quote=True)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if element in VOID:
        return Markup(f"<{element}{written}>" if element in ("meta", "link", "br") else f"<{element}{written}/>")
    return Markup(f"<{element}{written}>{join(*children)}</{element}>")


def join(*children: Content) -> Markup:
    """Children side by side; None is nothing."""
    return Markup("".join(c if isinstance(c, Markup) else escape(c, quote=False) for c in children if c is not None))
