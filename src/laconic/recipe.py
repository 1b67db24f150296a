"""The ordered list of steps: read, check, print.

No paper: a recipe is data, complete, and checked before a weight is loaded.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from laconic import methods, options
from laconic.contracts import PARTS, Method, Sketch
from laconic.errors import RecipeError

BUILT_IN = Path(__file__).parent / "recipes"
KEYS = ("name", "seed", "steps")
BARE = ("name", "seed")  # what --set changes without a step
REACHED = {  # of contracts.PARTS by each of contracts.WHERE
    "attention": {"attention"}, "ffn": {"ffn"}, "linears": {"attention", "ffn"},
    "embeddings": {"words", "positions"}, "head": {"words"}, "all": PARTS,
}  # fmt: skip


def built_in() -> list[str]:
    """Names of the recipes that come with Laconic."""
    return sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


@dataclass(frozen=True)
class Step:
    """One use of a method; `number` is what it is called where others are left out."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    number: int | None = field(default=None, compare=False)

    def build(self, number: int) -> Method:
        """The method with its options; raises RecipeError naming the step and what is wrong."""
        where = f"step {number} ({self.method})"
        try:
            kind = methods.kind(self.method)
        except RecipeError as error:
            raise RecipeError(f"step {number}: {error}") from None
        known = methods.options(self.method)
        hints = typing.get_type_hints(kind)
        for name, value in self.options.items():
            if name not in known:
                raise RecipeError(f"{where} has no option {name!r}{_nearest(name, known)}; it has: {', '.join(known)}")
            if not options.fits(value, hints[name]):
                raise RecipeError(f"{where}: {name} is {value!r}; it takes {options.say(hints[name])}")
        built = kind(**self.options)
        try:
            built.check()
        except RecipeError as error:
            raise RecipeError(f"{where}: {error}") from None
        return built


@dataclass(frozen=True)
class Recipe:
    """Steps with a name and a seed. Holds no data and no model: it is run again on new ones."""

    steps: tuple[Step, ...]
    name: str = "custom"
    seed: int = 0

    @classmethod
    def read(cls, source: str | Path) -> Recipe:
        """A YAML file, or the name of a built-in recipe; raises RecipeError with the first thing wrong."""
        path = BUILT_IN / f"{source}.yaml" if str(source) in built_in() else Path(source)
        if not path.is_file():
            raise RecipeError(
                f"there is no recipe {str(source)!r}: give a YAML file or one of {', '.join(built_in())}"
                f"{_nearest(str(source), built_in())}"
            )
        return cls.parse(options.parsed(path.read_bytes(), path.name), path.stem)

    @classmethod
    def parse(cls, record: Any, name: str = "custom") -> Recipe:
        """A recipe from parsed YAML or JSON: {name, seed, steps: [{method: {option: value}}, ...]}."""
        if not isinstance(record, dict):
            raise RecipeError("a recipe is a mapping with the keys name, seed and steps")
        for key in record:
            if key not in KEYS:
                raise RecipeError(f"a recipe has no key {key!r}{_nearest(str(key), KEYS)}; it has: {', '.join(KEYS)}")
        seed, steps = record.get("seed", 0), record.get("steps")
        if record.get("name", name) is None:
            raise RecipeError("name is null; give a name, or leave it out")
        options.seed(seed)
        if not isinstance(steps, list) or not steps:
            raise RecipeError("steps must be a list with at least one method, such as `- rtn: {bits: 8}`")
        recipe = cls(tuple(_step(i, s) for i, s in enumerate(steps, 1)), str(record.get("name", name)), seed)
        recipe.check()
        return recipe

    def record(self) -> dict[str, Any]:
        """The recipe as JSON; `parse` of it is the same recipe."""
        return {"name": self.name, "seed": self.seed, "steps": [{s.method: s.options} for s in self.steps]}

    @property
    def numbers(self) -> list[int]:
        """What `override` and messages call the steps."""
        return [step.number or i for i, step in enumerate(self.steps, 1)]

    def build(self) -> list[Method]:
        """The methods, in order."""
        return [step.build(number) for number, step in zip(self.numbers, self.steps, strict=True)]

    def check(self) -> list[Method]:
        """Build every step and hold the order rule: none undoes what an earlier one made, or lacks what it adds to."""
        built = self.build()
        for number in range(2, len(built) + 1):
            if found := _undone(built[:number]):
                first, lost = found
                moved = [*built[: first - 1], built[number - 1], *built[first - 1 : number - 1]]
                called = self.numbers[first - 1]
                advice = f"; move it before step {called}"
                if built[number - 1].makes - built[first - 1].keeps:
                    advice = f", and it can't come before step {called} either; leave one of the two out"
                elif _undone(moved):
                    advice = f", and before step {called} it would be undone by another; leave it out"
                names = [f"step {self.numbers[n - 1]} ({self.steps[n - 1].method})" for n in (number, first)]
                raise RecipeError(f"{names[0]} would undo what {names[1]} made {lost}{advice}")
            if pooled := _first(built[:number], "pools", "adds"):
                names = [f"step {n} ({self.steps[n - 1].method})" for n in (number, pooled)]
                raise RecipeError(
                    f"{names[0]} adds to weights, and {names[1]} leaves none, only values that many read; "
                    f"move it before step {pooled}, or use finetune or distill"
                )
            if scaled := _first(built[:number], "scales", "levels"):
                names = [f"step {n} ({self.steps[n - 1].method})" for n in (number, scaled)]
                raise RecipeError(
                    f"{names[0]} takes out the norms' gains, where {names[1]} has put its scales, and so undoes it; "
                    f"move it before step {scaled}"
                )
        return built

    def override(self, settings: Sequence[str]) -> Recipe:
        """The recipe with settings put in: "2.bits=3" (step 2), "3=null" (without step 3) or "seed=1"; values are YAML.

        Steps keep their numbers until all settings are in.
        """
        record = self.record()
        steps = [(step.method, dict(step.options)) for step in self.steps]
        out = set()
        for setting in settings:
            target, _, value = setting.partition("=")
            number, _, option = target.partition(".")
            if not value.strip() or not (target in BARE or number.isdecimal()) or target.endswith("."):
                raise _unread(setting)
            if number.isdecimal() and not 1 <= int(number) <= len(steps):
                raise RecipeError(f"--set {setting!r}: there is no step {number}; steps are 1 to {len(steps)}")
            parsed = options.parsed(value, f"--set {setting!r}")
            if target in BARE:
                record[target] = parsed
            elif option:
                steps[int(number) - 1][1][option] = parsed
            elif value.strip() == "null":
                out.add(int(number))
            else:
                raise _unread(setting)
        whole = Recipe.parse({**record, "steps": [{method: given} for method, given in steps]}, self.name)
        if len(out) == len(steps):
            raise RecipeError("--set leaves every step out; keep at least one")
        left = (replace(step, number=i) for i, step in enumerate(whole.steps, 1) if i not in out)
        return replace(whole, steps=tuple(left))

    def forecast(self, sketch: Sketch) -> list[Sketch]:
        """The sketch before the first step and after each one."""
        sketches = [sketch]
        for method in self.build():
            sketches.append(method.forecast(sketches[-1]))
        return sketches


def _undone(built: Sequence[Method]) -> tuple[int, str] | None:
    """The first step, counted from 1, that a later one would undo, and what it made; the last step is tried first."""
    for later in range(len(built) - 1, 0, -1):
        for earlier, method in enumerate(built[:later]):
            lost = method.makes - built[later].keeps
            if lost and meet(method, built[later]):
                return earlier + 1, min(lost)
    return None


def _first(built: Sequence[Method], leaves: str, against: str) -> int | None:
    """The first step, counted from 1, that leaves the model so, where the last one must come before such a step."""
    last = built[-1]
    found = (i for i, method in enumerate(built[:-1], 1) if getattr(method, leaves, False) and meet(method, last))
    return next(found, None) if getattr(last, against, False) else None


def meet(first: Method, second: Method) -> bool:
    """Whether two steps rewrite a part in common, as far as their `where` or `touches` says."""
    parts = [getattr(m, "touches", None) or REACHED[getattr(m, "where", "all")] for m in (first, second)]
    return not parts[0].isdisjoint(parts[1])


def _unread(setting: str) -> RecipeError:
    return RecipeError(
        f"--set {setting!r} does not read as STEP.OPTION=VALUE, such as 2.bits=3, as STEP=null, which leaves the step "
        "out, or as seed=1"
    )


def _step(number: int, entry: Any) -> Step:
    if isinstance(entry, str):
        return Step(entry)
    if not isinstance(entry, dict) or len(entry) != 1:
        raise RecipeError(f"step {number} is {entry!r}; write one method with its options, such as `rtn: {{bits: 8}}`")
    (method, options), *_ = entry.items()
    if not isinstance(options, dict | None) or not all(isinstance(key, str) for key in options or {}):
        raise RecipeError(f"step {number} ({method}): options are {options!r}; write them as {{option: value}}")
    return Step(str(method), dict(options or {}))


def _nearest(name: str, known: Sequence[str] | dict[str, Any]) -> str:
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
