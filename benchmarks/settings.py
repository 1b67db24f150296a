"""What `benchmarks.methods` measures, as `methods.yaml` says it: for each method and model its recipes, a row each.

No paper: settings. Read here without what measuring needs, so that the pages and their test can know the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from laconic import methods

SETTINGS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("methods.yaml").read_text(encoding="utf-8"))
MODELS = tuple(SETTINGS["models"])


def key(row: dict[str, Any]) -> str:
    """What a row is told by."""
    return json.dumps([row["method"], row["model"], row["steps"]])


def settings() -> Iterator[dict[str, Any]]:
    """Method, model, setting and steps of every row; the first of each model has no method and no steps."""
    for model in MODELS:
        yield {"method": "none", "model": model, "setting": "", "steps": []}
    for method, recipes in SETTINGS["methods"].items():
        for model in MODELS:
            also = SETTINGS["also"].get(model, {}).get(method, [])
            for recipe in [*recipes, *also] if SETTINGS["only"].get(method, model) == model else []:
                steps = [filled(step, model) for step in unfolded(recipe)]
                yield {"method": method, "model": model, "setting": said(steps, model), "steps": steps}


def unfolded(steps: list[Any]) -> list[dict[str, Any]]:
    """A recipe's steps, one method each."""
    return [{name: options} for step in steps for name, options in step.items()]


def filled(step: dict[str, Any], model: str) -> dict[str, Any]:
    """The step, with the model's options of training where its method trains and it has none of its own."""
    ((name, options),) = step.items()
    if "training" not in methods.kind(name).needs:
        return step
    return {name: {**SETTINGS["models"][model]["training"], **options}}


def said(steps: list[dict[str, Any]], model: str) -> str:
    """A recipe as the page shows it, without the options of training that the model gives."""
    usual, words = SETTINGS["models"][model]["training"], []
    for step in steps:
        ((name, options),) = step.items()
        trains = "training" in methods.kind(name).needs
        own = {k: v for k, v in options.items() if not (trains and usual.get(k) == v)}
        words.append(f"`{name}: {{{spoken(own)}}}`" if own else f"`{name}`")
    return " · ".join(words)


def remark(model: str) -> str:
    """What the figures of a model are, and how it is trained where a recipe trains it."""
    held = SETTINGS["models"][model]
    learns = f"A step that trains has {spoken(held['training'])} where the recipe has no others."
    columns = "Bytes are of the artifact, and of the matrices in its blocks; seconds, on one core, are rough."
    return f"{held['about']} {learns} {columns}"


def spoken(options: dict[str, Any]) -> str:
    """Options as YAML on one line."""
    return ", ".join(f"{name}: {plain(value)}" for name, value in options.items())


def plain(value: Any) -> str:
    """A value as YAML writes it."""
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]
