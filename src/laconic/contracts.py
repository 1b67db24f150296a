"""The protocols every unit follows and the records they exchange: read this first.

No paper: interfaces. A unit is one file in `layers/`, `tasks/`, `methods/`, `measures/` or `engines/`; its class has
the file's name without underscores (`methods/gptq.py` holds `GPTQ`), and `units.find` finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

    from laconic.anatomy import Anatomy

Example = dict[str, Any]  # one record as read: {"tokens": [...], "tags": [...]} or {"text": "...", "label": "..."}
Feature = dict[str, list[int]]  # one encoded example: input_ids, attention_mask, ..., slots, labels where asked for

PROPERTIES = frozenset({
    "sparse", "low_bit", "low_bit_inputs", "low_rank", "grouped", "narrow", "shallow", "tied", "small_vocabulary",
    "half",
})  # fmt: skip
"""What a method can make of a model; `effects.measure` says how much of each a model has."""

NEEDS = frozenset({"calibration", "training", "teacher"})
"""What a method can ask for: examples to run, examples to learn from, the model before compression."""

PARTS = frozenset({"attention", "ffn", "words", "positions"})
"""What a method can rewrite; `words` are the word embedding and the head, which can be one table."""

WHERE = ("all", "attention", "ffn", "embeddings", "head", "linears")
"""Which layers a step touches; `linears` is attention and ffn, `all` adds embeddings and head."""
IN_BLOCKS = ("linears", "attention", "ffn")  # of those
WITH_INPUTS = (*IN_BLOCKS, "head")  # of those, where embeddings look rows up and have none to weigh by


@dataclass(frozen=True)
class Splits:
    """A task's examples. The test split is not here: it is read once, by `data.read_split`, when all is decided."""

    train: list[Example]
    validation: list[Example]
    digest: str  # sha256 of all records here, so that a run knows its data
    unlabelled: list[Example] = field(default_factory=list)  # texts of the same kind, without answers


@dataclass(frozen=True)
class Writing:
    """How a task's answer is written: at most `tokens`, the likeliest of `beams` that are kept side by side.

    Above 0, `temperature` lets `samples` answers be drawn, by `seed`. `start` is the token that an encoder-decoder
    begins with; a text ends before the first of `stops` in it.
    """

    tokens: int
    beams: int = 1
    samples: int = 1
    temperature: float = 0.0
    start: str | None = None
    stops: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Written:
    """The output of a feature whose answer is written: the texts, and what the task keeps of the logits."""

    texts: tuple[str, ...]
    bits: np.ndarray  # of each token of the right answer, (slots,); none where it is not known


@runtime_checkable
class LayerKind(Protocol):
    """How one layer's weights are held: an `nn.Module` that rebuilds empty from its spec.

    A layer is *in training* when its numbers are not final (fake quantization, a mask being trained through); `freeze`
    makes them final. What is stored is `state_dict()` of the frozen layer.

    A *composite* kind computes with layers at paths below it, its `parts`, and holds no matrix itself. Where it
    multiplies on its own beside them, `products` is how often for a token.
    """

    kind: ClassVar[str]

    def spec(self) -> dict[str, Any]:
        """Constructor arguments, as JSON."""
        ...

    @property
    def weight(self) -> torch.Tensor:
        """Dense weight, (out, in) of a linear or (rows, width) of an embedding; computed, so never write into it."""
        ...

    @property
    def bias(self) -> torch.Tensor | None:
        """Dense bias, (out,), or None."""
        ...

    def bits(self) -> int:
        """Bits this layer holds, scales and masks included, before entropy coding; a composite's parts count theirs."""
        ...

    def freeze(self) -> None:
        """Make the numbers final: what is computed from now on is what is stored."""
        ...

    def thaw(self) -> None:
        """Put the layer in training again; what it computes stays, bit for bit."""
        ...


class Task(Protocol):
    """What the model is for. A frozen dataclass: its fields are its options, `labels` the first of them.

    `labels` is empty where answers are not of a known set (a text). The main figure of score() is a share of 1, higher
    when better; a task whose own figure is better when lower gives a share that rises as it falls: `lm`, whose figure
    is bits per byte, gives the part of a text's bits that is saved. `report.figures.AMOUNTS` names those that are none.

    A task whose answers are texts that the model writes has `writing`, a `Writing`, and its outputs are `Written`; its
    features hold `said`, the tokens of the right answer, and of a decoder `begins`, the places where one is written.
    """

    name: ClassVar[str]
    labels: tuple[str, ...]

    @property
    def auto(self) -> type:
        """The AutoModelFor... that carries the head."""
        ...

    @property
    def main(self) -> str:
        """Key of score(); higher is better."""
        ...

    @property
    def multiple(self) -> bool:
        """Whether the answer of an example is a list of labels that do not exclude one another."""
        ...

    def parse(self, text: str) -> Example:
        """An example without an answer from a line a user typed."""
        ...

    def encode(
        self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerFast, *, answers: bool
    ) -> list[Feature]:
        """Features; `slots` are the token positions that answer (first pieces of words), where a task has them.

        In place of slots, `places` are positions among which each label chooses one, as start and end of a span do.
        One for each example; or several, one after another, each with the index of its `example`, where a text is read
        in windows, or once for each token that is hidden. Whether `answers` are asked for changes no other key.
        """
        ...

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean loss of a padded batch; unlabelled positions are -100."""
        ...

    def reduce(self, logits: np.ndarray, feature: Feature) -> np.ndarray:
        """What is kept of a feature's logits, (slots, labels) or (labels,), as its output: all, or what has room."""
        ...

    def predict(self, outputs: Sequence[Any], features: Sequence[Feature], examples: Sequence[Example]) -> list[Any]:
        """One prediction per example, from the features' outputs; never sees an answer that is not in the text."""
        ...

    def score(self, predictions: Sequence[Any], examples: Sequence[Example]) -> dict[str, Any]:
        """Figures by plain name; `self.main` among them."""
        ...

    def counts(self, predictions: Sequence[Any], examples: Sequence[Example]) -> np.ndarray:
        """What `metric` needs of each example, (examples, k); their sum is that of all examples."""
        ...

    def metric(self, summed: np.ndarray) -> np.ndarray:
        """The main figure from summed counts (..., k)."""
        ...

    def bits(self, outputs: Sequence[Any], features: Sequence[Feature], examples: Sequence[Example]) -> float:
        """Bits to write down the examples' answers with these outputs: sum of -log2 p(answer)."""
        ...

    def answers(self, example: Example) -> int:
        """How many answers `bits` writes down for an example: one, one for each word, one for each byte."""
        ...

    def unit(self, example: Example) -> str:
        """What `answers` counts of an example: "answer", "tag" or "byte"."""
        ...

    def show(self, prediction: Any, example: Example) -> dict[str, Any]:
        """A prediction as a JSON record for people."""
        ...


@dataclass
class Sketch:
    """A model's dimensions without its weights: what a recipe's plan is forecast on. Counts are parameters."""

    vocabulary: int
    hidden: int
    blocks: int
    attention: float  # parameters of one block's attention
    ffn: float  # parameters of one block's feed-forward
    positions: int  # rows of position and type embeddings
    rest: int  # head, norms, biases
    used_tokens: int | None = None  # distinct tokens of the training text, where it is at hand
    embedding_bits: float = 32.0
    linear_bits: float = 32.0
    rest_bits: float = 32.0
    density: float = 1.0  # share of linear weights that are not zero

    def bytes(self) -> int:
        """Upper estimate of the artifact's weights, before entropy coding of what is dense."""
        table = (self.vocabulary + self.positions) * self.hidden * self.embedding_bits
        mask = 1.0 if self.density < 1 else 0.0
        linears = self.blocks * (self.attention + self.ffn) * (self.linear_bits * self.density + mask)
        return int((table + linears + self.rest * self.rest_bits) / 8)


@dataclass
class Work:
    """All a method can reach. Methods change `model` and `tokenizer` in place or put new ones here."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    task: Task
    data: Splits
    teacher: Teacher | None  # the model before compression, with its own tokenizer
    seed: int
    folder: Path  # this step's own folder: training checkpoints, caches
    progress: bool = True
    log: Callable[[str], None] = field(default=print)
    idle: str | None = None  # why the step had nothing to do, where it left all as it was: then it need make nothing

    @property
    def anatomy(self) -> Anatomy:
        """Where the parts of the model are now."""
        from laconic.anatomy import Anatomy

        return Anatomy(self.model)


@dataclass(frozen=True)
class Teacher:
    """The fine-tuned model before compression (or several, a `teacher.Ensemble`) and the tokenizer it reads with."""

    model: Any
    tokenizer: PreTrainedTokenizerFast


class Method(Protocol):
    """An algorithm that rewrites a model into cheaper layers, or heals it: a frozen dataclass of its options.

    One without `where` that leaves some of PARTS as they are says in `touches`, a class variable, which it rewrites.
    Two pairs of marks, `= True`, say more of order: one that `adds` to weights comes before one that `pools` them and
    leaves only values that many read; one that `levels` norms' gains before one that `scales` them.
    """

    needs: ClassVar[frozenset[str]]  # of NEEDS
    makes: ClassVar[frozenset[str]]  # of PROPERTIES
    keeps: ClassVar[frozenset[str]]  # properties of earlier steps that survive this one

    def check(self) -> None:
        """Raise RecipeError when an option cannot work, naming the option, the value and what is allowed."""
        ...

    def forecast(self, sketch: Sketch) -> Sketch:
        """The sketch after this step."""
        ...

    def apply(self, work: Work) -> None:
        """Do it, in place."""
        ...


class Engine(Protocol):
    """What runs a model: built from a torch model with our layers in it, answers features with raw outputs."""

    name: ClassVar[str]

    def __init__(self, model: PreTrainedModel, *, threads: int | None = None) -> None: ...

    def run(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Logits of one padded batch: (batch, tokens, labels) or (batch, labels)."""
        ...


class Writer(Engine, Protocol):
    """An engine that also writes, for tasks whose answers are texts."""

    def write(self, batch: dict[str, np.ndarray], chosen: GenerationConfig) -> list[list[int]]:
        """The ids added to each prompt of one padded batch, by transformers' settings of generation."""
        ...
