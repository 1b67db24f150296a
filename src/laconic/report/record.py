"""The report as data: what `report.json` holds, written and read strictly.

No paper: a versioned schema. Fields that were not measured are None or empty, and every page leaves them out.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from laconic import artifact
from laconic.errors import LaconicError
from laconic.maths.bootstrap import Interval
from laconic.measures.bits import Bits
from laconic.measures.latency import Latency
from laconic.measures.memory import Memory
from laconic.measures.size import Layer, Size
from laconic.report import strict

SCHEMA = 1


@dataclass(frozen=True)
class Row:
    """One model, or one way to run it, as it was measured. What `differences` holds is against the first row."""

    name: str
    engine: str | None = None  # what ran it when it was timed
    note: str = ""
    size: Size | None = None
    score: dict[str, Any] = field(default_factory=dict)  # as the task gives it, fractions of 1; "table" by label
    differences: dict[str, Interval] = field(default_factory=dict)
    flips: float | None = None  # share of predictions that changed
    token_flips: float | None = None
    agreement: float | None = None  # share of answers that PyTorch gives as well, where another engine answered
    latency: Latency | None = None
    memory: Memory | None = None
    bits: Bits | None = None


@dataclass(frozen=True)
class Trace:
    """The model after one step of the recipe."""

    step: str
    options: dict[str, Any] = field(default_factory=dict)
    bytes: int | None = None
    score: float | None = None  # main figure on validation
    seconds: float | None = None  # what the step took
    effects: dict[str, float] = field(default_factory=dict)  # what effects.measure says


@dataclass(frozen=True)
class Curve:
    """One line of a training plot; curves of the same `title` share axes."""

    title: str
    name: str
    x_label: str
    y_label: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Weighed:
    """A size people compare with: the same model in another format."""

    name: str
    bytes: int
    note: str = ""


@dataclass(frozen=True)
class Report:
    """A run's evidence. `rows` begins with the original and ends with the artifact; others may stand between."""

    task: str
    model: str
    dataset: str
    recipe: str
    seed: int
    main: str  # the figure that decides, a key of each row's score
    rows: list[Row]
    split: str = "test"
    examples: int | None = None
    steps: list[Trace] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)  # of the artifact
    curves: list[Curve] = field(default_factory=list)
    sizes: list[Weighed] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)  # package versions, CPU, threads
    commands: list[str] = field(default_factory=list)  # what repeats the run
    notes: list[str] = field(default_factory=list)
    created: str = ""

    @property
    def before(self) -> Row:
        """The original."""
        return self.rows[0]

    @property
    def after(self) -> Row:
        """The artifact."""
        return self.rows[-1]

    def to_json(self) -> str:
        """The record as JSON text; raises LaconicError naming a figure that is not finite."""
        plain = {"schema": SCHEMA, **asdict(self)}
        strict.finite(plain, "report")
        return json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "report.json") -> "Report":
        """Read what `to_json` wrote; raises LaconicError naming the field that is damaged."""
        plain = strict.parse(text, source)
        if not isinstance(plain, dict) or plain.pop("schema", None) != SCHEMA:
            raise LaconicError(f"{source} is not a report of schema {SCHEMA}; write it again with this version")
        report: Report = strict.read(cls, plain, source)
        if not report.rows:
            raise LaconicError(f"{source}: rows is empty; a report has at least one row, the original")
        return report

    def write(self, path: Path) -> None:
        """Write atomically."""
        artifact.write_file(path, self.to_json().encode())

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Read a file; raises LaconicError when it is missing or damaged; an OSError passes through."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            mend = "give an artifact that was measured, or measure it: laconic evaluate ARTIFACT --against RUN"
            raise LaconicError(f"{path}: there is no report; {mend}") from None
        except UnicodeDecodeError as error:
            raise LaconicError(f"{path}: not UTF-8 text ({error}); write the report again") from error
        return cls.from_json(text, str(path))
