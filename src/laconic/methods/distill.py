"""Learn from the model before compression: its logits, hidden states and attention maps.

Hinton et al. 2015, arXiv:1503.02531; Jiao et al. 2020, arXiv:1909.10351 (TinyBERT). Trains through masks and fake
quantization, so that what is measured last is what is stored.
Differs from the papers: where widths differ, hidden states are compared by the cosines between tokens (Park et al.
2019, arXiv:1904.05068) and not through a learned projection, so that nothing has to be thrown away afterwards;
attention maps are averaged over heads, so that heads may be gone, and compared by KL divergence, where TinyBERT takes
the squared error of the scores before softmax; dropout is off, for a student that is smaller than its teacher has no
capacity to spare, and its targets are those of a teacher without dropout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from laconic import layers, machine, options, training
from laconic.anatomy import Anatomy
from laconic.answers import Batch, Objective, slot_labels, slot_logits, spots
from laconic.contracts import PROPERTIES, Example, Feature, Sketch, Teacher, Work
from laconic.data.batching import SIDES, by_example, counts, mask_of, masks
from laconic.data.variants import variants
from laconic.errors import RecipeError
from laconic.subwords import ids_in, lost_words
from laconic.teacher import Live, Recorded, Said, ask, layer_map, run

COMPARED = 2048  # tokens of a batch, evenly spread, whose cosines are taken: there is one for each pair
HEAVIEST = 1_000_000  # part of a loss
FIRST = (0,)  # places to compare in a text without slots


@dataclass(frozen=True)
class Distill(training.Training):
    """`logits`, `hidden`, `attention` and `labels` are the weights of the parts of the loss; 0 leaves a part out.

    Texts without labels, where the data have them, are learnt as well. With `variants`, the student also hears what the
    teacher says of so many variants of each training text, in which some words are others, those among them that its
    vocabulary has lost; an epoch is that much longer. Further options are those of training.
    """

    epochs: float = 4
    learning_rate: float = 3e-4
    logits: float = 1.0
    hidden: float = 1.0
    attention: float = 0.0
    labels: float = 0.0
    temperature: float = 2.0
    variants: int = 0

    needs: ClassVar[frozenset[str]] = frozenset({"training", "teacher"})
    makes: ClassVar[frozenset[str]] = frozenset()
    keeps: ClassVar[frozenset[str]] = PROPERTIES - {"half"}

    def check(self) -> None:
        """Raise RecipeError unless some part of the loss has weight and the temperature softens."""
        parts = {name: getattr(self, name) for name in ("logits", "hidden", "attention", "labels")}
        for name, value in parts.items():
            if not 0 <= value <= HEAVIEST:
                raise RecipeError(f"{name} is {value}; a part of the loss weighs 0 to {HEAVIEST:,}")
        if not any(parts.values()):
            raise RecipeError("every part of the loss weighs 0; give logits, hidden, attention or labels a weight")
        if self.variants < 0 or (self.variants and self.labels):
            raise RecipeError(
                f"variants is {self.variants} and labels {self.labels}; variants are 0 or more, and without labels"
            )
        options.temperature(self.temperature)
        if not self.logits:
            options.unread(self, "logits", "temperature")
        super().check()

    def forecast(self, sketch: Sketch) -> Sketch:
        """Sizes stay."""
        return sketch

    def apply(self, work: Work) -> None:
        """Train `work.model` towards `work.teacher`."""
        self.learn(work)

    def learn(self, work: Work) -> list[dict[str, Any]]:
        """As `apply`; returns the log of the training."""
        if work.teacher is None:
            raise RecipeError("distill needs a teacher, the model before compression; run it through laconic compress")
        layers.thaw(work.model)
        teacher = work.teacher
        with _attention_maps(self.attention > 0, work.model, teacher.model), without_dropout(work.model):
            teacher.model.train(False)
            teacher.model.to(machine.device())
            lost = lost_words(teacher.tokenizer, work.tokenizer) if self.variants else []
            unlabelled = [] if self.labels else work.data.unlabelled
            others = variants(work.data.train, self.variants, work.seed, lost)
            examples = [*work.data.train, *others, *unlabelled]
            features, heard = _both(work, teacher, examples, answers=self.labels > 0)
            taught, own = self._blocks(work.model, teacher.model)
            said = ask(
                teacher, heard, taught, work.folder / "teacher", hidden=self.hidden > 0, attention=self.attention > 0
            )
            objective = self._objective(work, said, places(features, heard), own)
            found = training.fit(work, self, objective=objective, features=features)
            teacher.model.to(work.model.device)
            return found

    def _blocks(self, student: PreTrainedModel, teacher: PreTrainedModel) -> tuple[list[int], list[int]]:
        """Blocks of teacher and student behind which hidden states and attention maps are compared."""
        if not self.hidden and not self.attention:
            return [], []
        own, other = ([s.depth for s in Anatomy(m).stacks] for m in (student, teacher))
        taught = [
            sum(other[:i]) + block
            for i, depths in enumerate(zip(own, other, strict=True))
            for block in layer_map(*depths)
        ]
        return taught, layer_map(sum(own), sum(own))

    def _objective(
        self, work: Work, said: Live | Recorded, sides: Sequence[Places], blocks: Sequence[int]
    ) -> Objective:
        """The weighted sum of the parts; `blocks` are the student's own that hidden states are taken behind.

        `sides` are the places to compare of an encoder and of its decoder, or of one stack.
        """
        depths = [stack.depth for stack in work.anatomy.stacks]
        last = len(sides) - 1  # what reads its own input once more, as T5 that classifies, has one side for both stacks
        of = [sides[min(i, last)] for i, depth in enumerate(depths) for _ in range(depth)]  # of each block
        teacher = work.teacher.tokenizer if work.teacher else work.tokenizer
        pieces = [] if work.task.labels else ids_in(teacher, work.tokenizer)
        if pieces == list(range(len(teacher))):
            pieces = []  # the student has them all

        def objective(model: PreTrainedModel, batch: Batch, chosen: Sequence[int]) -> torch.Tensor:
            target: Said = said(chosen)
            mine = run(model, batch, blocks, hidden=self.hidden > 0, attention=self.attention > 0)
            logits = slot_logits(mine.logits, batch)  # (slots, labels)
            loss = logits.new_zeros(())
            if self.logits:
                several = work.task.multiple
                wanted = target.logits[:, pieces] if pieces else target.logits  # of pieces that the student has
                loss = loss + self.logits * soft_loss(logits, wanted.to(logits), self.temperature, several)
            if self.labels:
                loss = loss + self.labels * work.task.loss(logits, slot_labels(batch).to(logits.device))
            if self.hidden:
                found = {side: side(chosen) for side in sides}
                pairs = zip(mine.hidden, target.hidden, [found[side] for side in of], strict=True)
                errors = [state_loss(a[here], b[there].to(a)) for a, b, (here, there) in pairs]
                loss = loss + self.hidden * sum(errors) / len(blocks)
            if self.attention and all(side.alike(chosen) for side in sides):
                maps = zip(mine.attention, target.attention, strict=True)
                real = masks(batch, logits.device)
                loss = loss + self.attention * sum(attention_loss(a, b, real) for a, b in maps) / len(blocks)
            return loss

        return objective


class Places:
    """Which tokens of a batch stand for the same text in two encodings of the examples.

    All of them where both have as many; else the first pieces of words, or, for a task without words, the first token
    of the text, in which encoders gather it. An encoder-decoder has such places on either of its SIDES.
    """

    def __init__(self, own: Sequence[Feature], other: Sequence[Feature], side: str = "input_ids") -> None:
        self.lengths = [counts(features, side) for features in (own, other)]
        self.same = [a == b for a, b in zip(*self.lengths, strict=True)]
        held = [[spots(f) for f in features] for features in (own, other)]
        self.slots = [[FIRST if where is None else where for where in places] for places in held]

    def alike(self, chosen: Sequence[int]) -> bool:
        """Whether every example has as many tokens in both."""
        return all(self.same[i] for i in chosen)

    def __call__(self, chosen: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Places in the tokens of these examples, one after another, of either encoding: two of equal length."""
        found: list[list[int]] = [[], []]
        for places, lengths, slots in zip(found, self.lengths, self.slots, strict=True):
            start = 0
            for i in chosen:
                here = range(lengths[i]) if self.same[i] else slots[i]
                places.extend(start + place for place in here)
                start += lengths[i]
        return torch.tensor(found[0], dtype=torch.int64), torch.tensor(found[1], dtype=torch.int64)


def places(own: Sequence[Feature], other: Sequence[Feature]) -> list[Places]:
    """Of each side that the features have."""
    return [Places(own, other, side) for side in SIDES if side in own[0]]


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """A model that drops nothing while it trains, whether by modules or, as BART and T5 do, by a number in a block."""
    held = [
        (module, name, share)
        for module in model.modules()
        for name, share in vars(module).items()
        if isinstance(share, float) and (name == "p" if isinstance(module, nn.Dropout) else "drop" in name)
    ]
    try:
        for module, name, _ in held:
            setattr(module, name, 0.0)
        yield
    finally:
        for module, name, share in held:
            setattr(module, name, share)


@contextmanager
def _attention_maps(wanted: bool, *models: PreTrainedModel) -> Iterator[None]:
    """Let models give their attention maps, which fused kernels do not have."""
    if not wanted:
        yield
        return
    held = [m.config._attn_implementation for m in models]
    try:
        for m in models:
            m.set_attn_implementation("eager")
        yield
    finally:
        for m, implementation in zip(models, held, strict=True):
            m.set_attn_implementation(implementation)


def _both(
    work: Work, teacher: Teacher, examples: Sequence[Example], *, answers: bool
) -> tuple[list[Feature], list[Feature]]:
    """Examples as student and teacher read them, without those where one answers at places that the other does not.

    Such are words that one has to cut off; and, where answers are pieces of text, texts that the two split differently.
    """
    own = by_example(work.task.encode(examples, work.tokenizer, answers=answers))
    other = by_example(work.task.encode(examples, teacher.tokenizer, answers=False))
    known = None if work.task.labels else ids_in(teacher.tokenizer, work.tokenizer)
    kept = [i for i in own if i in other and _alike(own[i], other[i], known)]
    if not kept:
        raise RecipeError(
            f"distill: none of {len(examples):,} texts is left to learn from, because student or teacher cut them off, "
            "or split them differently; give more positions, or put distill before vocabulary"
        )
    if len(kept) < len(examples):
        out = len(examples) - len(kept)
        work.log(f"distill: {out:,} of {len(examples):,} texts are left out, cut off or split otherwise")
    return [a for i in kept for a in own[i]], [b for i in kept for b in other[i]]


def _alike(own: Sequence[Feature], other: Sequence[Feature], known: Sequence[int] | None) -> bool:
    """Whether two encodings of an example answer at the same places; `known` gives the other's ids where they must."""
    if len(own) != len(other):
        return False
    if known is None:
        return all(a.get("words") == b.get("words") for a, b in zip(own, other, strict=True))
    pairs = [(a[side], b[side]) for a, b in zip(own, other, strict=True) for side in SIDES if side in a]
    return all([known[i] for i in a] == b for a, b in pairs)


def soft_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float, several: bool = False) -> torch.Tensor:
    """Hinton's eq. 2-4: T^2 KL(teacher || student) of the softened distributions; both (slots, labels), in nats.

    With `several`, a label holds or not whatever the others do: the sum of the labels' divergences.
    """
    student, teacher = student / temperature, teacher / temperature
    if several:  # a label's two outcomes: (slots, labels, 2)
        student, teacher = (torch.stack([x, torch.zeros_like(x)], -1) for x in (student, teacher))
    soft, target = functional.log_softmax(student, -1), functional.log_softmax(teacher, -1)
    return functional.kl_div(soft, target, log_target=True, reduction="batchmean") * temperature**2


def state_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Squared error in units of the teacher's mean square; (tokens, width), or by cosines where widths differ."""
    if student.shape[-1] != teacher.shape[-1]:
        step = -(-len(student) // COMPARED)
        student, teacher = student[::step], teacher[::step]
        student, teacher = (functional.normalize(x, dim=-1) for x in (student, teacher))
        student, teacher = student @ student.T, teacher @ teacher.T  # (tokens, tokens)
    return functional.mse_loss(student, teacher) / teacher.square().mean()


def attention_loss(student: torch.Tensor, teacher: torch.Tensor, masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean KL(teacher || student) over the rows of real tokens; maps (batch, tokens, tokens), in nats."""
    floor = torch.finfo(student.dtype).tiny
    rows = (teacher * (teacher.clamp(min=floor).log() - student.clamp(min=floor).log())).sum(-1)  # (batch, tokens)
    return rows[mask_of(student, masks)].mean()
