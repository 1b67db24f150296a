"""What the teacher says of the training examples: recorded once where it fits, else asked batch by batch.

Hinton et al. 2015, arXiv:1503.02531 (soft targets); Romero et al. 2015, arXiv:1412.6550 (hidden states); Jiao et al.
2020, arXiv:1909.10351 (attention maps, layer mapping). Recording pays because the examples are the same in every epoch.
"""

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from laconic.anatomy import Anatomy
from laconic.answers import NEVER, by_label, logits_of, room, slot_logits, spot_logits, spots, width
from laconic.calibration.sums import tokens
from laconic.callbacks import writing
from laconic.contracts import Feature, Teacher
from laconic.data.batching import batches, counts, masks, model_inputs, pad

LOGITS_BYTES = 500_000_000  # logits above this are not kept in memory, but asked for again, as a vocabulary's are
RECORD_BYTES = 8_000_000_000  # hidden states above this are not recorded: the teacher is asked again
BATCH = 32
SURE = 1e-7  # probabilities nearer to 0 or 1 than this have no finite logit in float32


@dataclass(frozen=True)
class Said:
    """A teacher's answers to one batch; tokens of the batch's examples one after another, padding removed.

    Of an encoder-decoder, a state holds tokens that are read or tokens that are written.
    """

    logits: torch.Tensor  # (slots of all examples, labels)
    hidden: list[torch.Tensor]  # each (tokens of all examples, width)
    attention: list[torch.Tensor]  # each (batch, tokens, tokens), mean over heads


def layer_map(student_blocks: int, teacher_blocks: int) -> list[int]:
    """Which teacher block each student block learns from: evenly spread, the last from the last."""
    return [round((j + 1) * teacher_blocks / student_blocks) for j in range(student_blocks)]


def run(
    model: PreTrainedModel, batch: dict[str, torch.Tensor], blocks: Sequence[int], *, hidden: bool, attention: bool
) -> Said:
    """Logits, and hidden states and attention maps behind `blocks` (1 is behind the first), of a padded batch.

    An encoder's blocks come before its decoder's.
    """
    said = model(**model_inputs(batch, model.device), output_hidden_states=hidden, output_attentions=attention)
    sides = [""] if "hidden_states" in said or "attentions" in said else ["encoder_", "decoder_"]
    states = [x for side in sides for x in said[f"{side}hidden_states"][1:]] if hidden else []
    maps = [x for side in sides for x in said[f"{side}attentions"]] if attention else []
    return Said(
        logits_of(said),
        [tokens(states[b - 1], masks(batch)) for b in blocks] if hidden else [],
        [maps[b - 1].mean(1) for b in blocks] if attention else [],
    )


class Ensemble(nn.Module):
    """Models of one kind as one teacher, whose probabilities are the mean of theirs; it gives logits only.

    Hinton et al. 2015, arXiv:1503.02531, section 4 (an ensemble as the teacher).
    """

    def __init__(self, models: Sequence[PreTrainedModel], *, several: bool) -> None:
        super().__init__()
        self.members, self.config, self.several = nn.ModuleList(models), models[0].config, several

    @property
    def device(self) -> torch.device:
        """Where the members are."""
        return next(self.parameters()).device

    def get_output_embeddings(self) -> nn.Module | None:
        """The head of a language model, None of any other, as for one member."""
        head: nn.Module | None = self.members[0].get_output_embeddings()  # type: ignore[operator]
        return head

    def forward(self, **inputs: Any) -> SequenceClassifierOutput:
        """`logits` that give the mean probabilities under softmax, or under a sigmoid each where labels are several.

        Of starts and ends of spans, the softmax is over the tokens that are no padding.
        """
        said = [member(**inputs) for member in self.members]
        given = torch.stack([logits_of(one).float() for one in said])  # (members, ..., labels)
        if "start_logits" in said[0]:
            given = given.masked_fill(inputs["attention_mask"][None, :, :, None] == 0, NEVER)
            return SequenceClassifierOutput(logits=given.log_softmax(2).logsumexp(0) - math.log(len(given)))
        if self.several:
            return SequenceClassifierOutput(logits=given.sigmoid().mean(0).logit(eps=SURE))
        return SequenceClassifierOutput(logits=functional.log_softmax(given, -1).logsumexp(0) - math.log(len(given)))


class Live:
    """Asks the teacher again for every batch; in its own precision, whatever the student trains in."""

    def __init__(
        self, teacher: Teacher, features: Sequence[Feature], blocks: Sequence[int], hidden: bool, attention: bool
    ):
        self.teacher, self.features, self.blocks = teacher, features, blocks
        self.hidden, self.attention = hidden, attention

    @torch.no_grad()
    def __call__(self, chosen: Sequence[int]) -> Said:
        """The teacher's answers to the examples `chosen`."""
        batch = pad([self.features[i] for i in chosen], self.teacher.tokenizer.pad_token_id or 0)
        with torch.autocast(self.teacher.model.device.type, enabled=False):
            said = run(self.teacher.model, batch, self.blocks, hidden=self.hidden, attention=self.attention)
        return Said(slot_logits(said.logits, batch), said.hidden, said.attention)


class Recorded:
    """Answers written down once: logits in memory, float32; hidden states in a mapped file, half precision."""

    def __init__(
        self, teacher: Teacher, features: Sequence[Feature], blocks: Sequence[int], hidden: bool, folder: Path
    ):
        lengths = counts(features, "input_ids")
        slots = [_rows(f) for f in features]
        self.chosen_among = slots if features and "places" in features[0] else None
        self.token_ends, self.slot_ends = np.cumsum([0, *lengths]), np.cumsum([0, *slots])
        self.blocks = blocks if hidden else []
        folder.mkdir(parents=True, exist_ok=True)
        self.logits = np.zeros((int(self.slot_ends[-1]), width(teacher.model)), dtype=np.float32)  # (slots, labels)
        self.states = None
        if hidden:
            shape = (len(self.blocks), int(self.token_ends[-1]), Anatomy(teacher.model).hidden)
            self.states = _room(folder / "hidden.f16", shape)
        self._record(teacher, features)

    @torch.no_grad()
    def _record(self, teacher: Teacher, features: Sequence[Feature]) -> None:
        for chosen, batch in batches(
            features, room(teacher.model, features, BATCH), teacher.tokenizer.pad_token_id or 0
        ):
            said = run(teacher.model, batch, self.blocks, hidden=bool(self.blocks), attention=False)
            logits = spot_logits(said.logits, batch).float().cpu().numpy()  # (slots of the batch, labels)
            token = slot = 0
            for i in chosen:
                a, b = self.slot_ends[i], self.slot_ends[i + 1]
                self.logits[a:b] = logits[slot : slot + b - a]
                slot += b - a
                a, b = self.token_ends[i], self.token_ends[i + 1]
                for k, states in enumerate(said.hidden):
                    assert self.states is not None
                    self.states[k, a:b] = states[token : token + b - a].half().cpu().numpy()
                token += b - a

    def __call__(self, chosen: Sequence[int]) -> Said:
        """The teacher's answers to the examples `chosen`."""
        logits = np.concatenate([self.logits[self.slot_ends[i] : self.slot_ends[i + 1]] for i in chosen])
        hidden = []
        if self.states is not None:
            spans = [slice(self.token_ends[i], self.token_ends[i + 1]) for i in chosen]
            hidden = [torch.from_numpy(np.concatenate([layer[s] for s in spans])).float() for layer in self.states]
        spoken = torch.from_numpy(logits)
        if self.chosen_among is not None:
            spoken = by_label(spoken, [self.chosen_among[i] for i in chosen])
        return Said(spoken, hidden, [])


def _rows(feature: Feature) -> int:
    """How many rows of logits an example has."""
    where = spots(feature)
    return 1 if where is None else len(where)


def _room(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float16]]:
    """A new mapped file of half-precision numbers; ArtifactError where the disk has no room for all of it."""
    with writing(path), path.open("wb") as file:
        if sys.platform == "linux":  # writing through a map into a hole kills the process when the disk is full
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * np.dtype(np.float16).itemsize)
    return np.memmap(path, np.float16, "w+" if sys.platform != "linux" else "r+", shape=shape)


def ask(
    teacher: Teacher, features: Sequence[Feature], blocks: Sequence[int], folder: Path, *, hidden: bool, attention: bool
) -> Live | Recorded:
    """A teacher to ask, by index into its own `features`, for what is behind its `blocks`."""
    read = sum(counts(features, "input_ids"))
    logits = sum(map(_rows, features)) * width(teacher.model) * 4
    held = read * len(blocks) * Anatomy(teacher.model).hidden * 2 if hidden else 0
    sides = hidden and any("decoder_input_ids" in f for f in features)  # states of different numbers of tokens
    if attention or sides or held > RECORD_BYTES or logits > LOGITS_BYTES:
        return Live(teacher, features, blocks, hidden, attention)
    return Recorded(teacher, features, blocks, hidden, folder)
