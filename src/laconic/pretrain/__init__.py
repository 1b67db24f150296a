"""Pretrain a model on text: tokenizer, packed tokens, training, and an ordinary checkpoint at the end.

Radford et al. 2019, Devlin et al. 2018 (arXiv:1810.04805), Raffel et al. 2019 (arXiv:1910.10683) for the objectives.
Every stage is kept beside the target while the run lasts, so a killed run goes on where it was, to the same numbers.
Of processes that torchrun started the first makes each stage, the others take it up, and all share every batch.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast, set_seed

from laconic import checkpoint, options, ranks, training, workspace
from laconic.anatomy import Anatomy
from laconic.answers import Batch
from laconic.errors import DataError
from laconic.pretrain import blueprint, config, corpus, curve, objectives, speed, tokenizer
from laconic.pretrain.config import Plan, Schooling

RECORD, PLOT = "pretraining.json", "loss.png"
CHECKED = 128  # stretches of validation text that a check reads at most
CHECKS = 10  # in a run, unless it is said how often


class Stretches:
    """Batches of stretches of a file of tokens, in an order drawn anew for each epoch, as `training.Laid` has them.

    A `share` is every so-and-so-many-th row of each batch, (first, step): processes together have the batches of one.
    """

    def __init__(
        self,
        ids: np.ndarray,
        pretext: objectives.Pretext,
        taught: Schooling,
        seed: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.ids, self.pretext, self.seed, self.share = ids, pretext, seed, share
        self.count = (len(ids) - pretext.width) // pretext.taken + 1 if len(ids) >= pretext.width else 0
        least = share[1]
        if self.count < least:
            blocks = "one block" if least == 1 else f"{least} blocks, one for each process,"
            raise DataError(
                f"{len(ids):,} tokens of text do not fill {blocks} of {taught.block}; give more, or less block"
            )
        self.batch = min(taught.batch, self.count) // least * least
        self.per_epoch = self.count // self.batch
        wanted = taught.steps * taught.accumulate if taught.steps else round(self.per_epoch * taught.epochs)
        self.total = max(wanted // taught.accumulate, 1) * taught.accumulate
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, i: int) -> tuple[Batch, list[int]]:
        if i >= self.total:
            raise IndexError(i)
        epoch, place = divmod(i, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.count)
        chosen = self._order[place * self.batch : (place + 1) * self.batch].tolist()
        batch = self.at(chosen, np.random.default_rng([self.seed, i, 1]))
        asked = objectives.asked(batch) / self.share[1]
        mine = slice(self.share[0], None, self.share[1])
        return {name: rows[mine] for name, rows in batch.items()} | {"asked": asked}, chosen[mine]

    def at(self, chosen: Sequence[int], rng: np.random.Generator) -> Batch:
        """The batch of these stretches."""
        begins = [i * self.pretext.taken for i in chosen]
        rows = np.stack([self.ids[b : b + self.pretext.width] for b in begins])  # (batch, width)
        return self.pretext.batch(rows, rng)


def pretrain(
    objective: str,
    plan: str | Path | Plan,
    text: str | Path,
    out: str | Path,
    *,
    source: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
    log: Callable[[str], None] = print,
) -> Path:
    """Pretrain what `plan` describes, or the checkpoint `source`, on `text`, and write the folder `out`.

    A killed run goes on with the same call. Returns the folder. Of several processes each makes this call, in a folder
    that all see.
    """
    options.seed(seed)
    options.choice("objective", objective, tuple(objectives.PRETEXTS))
    progress, log = (progress, log) if ranks.rank() == 0 else (False, _silent)
    plan = plan if isinstance(plan, Plan) else config.read(plan, scratch=source is None)
    taught, out = plan.training, Path(out)
    texts = _texts(text, out)
    record = {"objective": objective, "seed": seed, "config": asdict(plan), **_known(text, source)}
    with ranks.first():
        if workspace.is_done(out, record, RECORD):
            log(f"{out} is already pretrained with these options")
            return out
        _suits(objective, plan, source)
        corpus.filling(texts, taught.block)
        reader = None if source is None else checkpoint.tokenizer(source)
        new = workspace.missing(out)
        kept = workspace.begin(out, record)
        with workspace.refusing(kept, new):
            reader = reader or _reader(plan, texts["train"], objective, kept, log)
            lesson, counts = _prepared(objective, plan, texts, reader, kept, source, seed)
    held = counts["train"]
    log(f"text: {held.documents:,} documents, {held.tokens:,} tokens, {held.bytes:,} bytes")
    lesson = replace(lesson, seed=seed, progress=progress, log=log)
    found = {**record, "counts": {n: asdict(c) for n, c in counts.items()}, **_learn(lesson, taught)}
    model = ranks.whole(lesson.model)
    if ranks.rank() == 0:
        drawn = curve.draw(found["history"], objective)
        workspace.publish(out, kept, model, reader, {RECORD: json.dumps(found, indent=1).encode(), PLOT: drawn})
    ranks.wait()
    return out


def _known(text: str | Path, source: str | Path | None) -> dict[str, Any]:
    """Where text and checkpoint are, and the content they are known by."""
    digests = {"text": corpus.digest(text)}
    if source is not None:
        digests["from"] = checkpoint.content(source)
    return {"text": str(text), "from": None if source is None else str(source), "digests": digests}


def _texts(text: str | Path, out: Path) -> dict[str, corpus.Texts]:
    """The splits of the text; raises DataError where there is none, or where the model would come to lie among them."""
    found = corpus.splits(text)
    if corpus.is_whole(Path(text)) and out.resolve().is_relative_to(Path(text).resolve()):
        raise DataError(f"{out} is below {text}, which is read whole; name a folder elsewhere for the model")
    if next(found["train"](), None) is None:
        raise DataError(f"{text}: there is no text to learn from in it; give a file or folder that holds some")
    return found


def _silent(_: str) -> None:
    """What all processes have to say, one says."""


def _suits(objective: str, plan: Plan, source: str | Path | None) -> None:
    """Raise ArtifactError unless the model can learn the objective, RecipeError unless it can be built and trained."""
    described, taught = _described(plan, source), plan.training
    unread = objectives.PRETEXTS[objective].unread
    options.default(taught, unread, f"which {objective} does not read")
    named = "the configuration's model" if source is None else str(source)
    checkpoint.suits(objectives.PRETEXTS[objective].auto, described, named)
    bare = blueprint.blank(objectives.PRETEXTS[objective].auto, described, named)
    blueprint.spans(bare, taught.block)
    blueprint.fits(bare, taught.optimizer, named, ranks.count() if taught.fsdp else 1)


def _described(plan: Plan, source: str | Path | None) -> PreTrainedConfig:
    """The configuration of the checkpoint, or of the plan, with as many pieces as the tokenizer may have."""
    if source is not None:
        return checkpoint.config(source)
    assert plan.tokenizer is not None
    given = {"vocab_size": plan.tokenizer.vocabulary, "pad_token_id": tokenizer.PAD}
    return config.architecture(plan.model, given)


def _prepared(
    objective: str,
    plan: Plan,
    texts: dict[str, corpus.Texts],
    reader: PreTrainedTokenizerFast,
    kept: Path,
    source: str | Path | None,
    seed: int,
) -> tuple[training.Lesson, dict[str, corpus.Counts]]:
    """Tokens on disk, the model, and how it learns."""
    taught = plan.training
    pretext = objectives.PRETEXTS[objective].of(reader, taught.block, taught.mask, taught.span)
    counts = _packed(objective, texts, reader, kept)
    set_seed(seed)
    model = _model(plan, reader, pretext, source)
    ids = {name: corpus.ids(kept / f"{name}.tokens", reader) for name in counts}
    data = Stretches(ids["train"], pretext, taught, seed, (ranks.rank(), ranks.count()))
    checked = Stretches(ids["validation"], pretext, replace(taught, epochs=1, steps=None, accumulate=1), seed)
    if not any(objectives.targets(batch) for batch in _checks(checked)):
        raise DataError(f"mask is {taught.mask}, which hides nothing of the validation text; give more of either")
    ratio = counts["validation"].tokens / counts["validation"].bytes if isinstance(pretext, objectives.CLM) else None
    return _lesson(model, data, taught, partial(_judge, model, checked, ratio), kept / "checkpoints"), counts


def _lesson(
    model: PreTrainedModel, data: Stretches, taught: Schooling, judge: Callable[[], dict[str, float]], folder: Path
) -> training.Lesson:
    """What is learned; the last weights are kept, as text that is not seen again needs no early end."""
    steps = len(data) // taught.accumulate
    return training.Lesson(
        model, data, lambda m, batch, _: objectives.loss(m, batch), judge, "loss", folder,
        every=taught.every or max(1, steps // CHECKS), best=False, schedule=taught.schedule, fsdp=taught.fsdp,
    )  # fmt: skip


def _learn(lesson: training.Lesson, taught: Schooling) -> dict[str, Any]:
    """Train; the last validation figures, the speed, and the log."""
    clock = speed.Clock(cast(Stretches, lesson.data).batch * taught.accumulate * taught.block)
    said = lesson.data[0][0]["labels"].shape[1]  # what an encoder-decoder writes
    macs = Anatomy(lesson.model).macs(taught.block, said) / taught.block  # of a token
    history = training.learn(lesson, taught, callbacks=[clock])
    half = training.in_bfloat16(taught.precision, lesson.model.device.type)
    dtype = torch.bfloat16 if half else torch.float32
    reading = clock.reading(macs, ranks.count() * speed.peak(lesson.model.device, dtype))
    return {"validation": lesson.judge(), "speed": reading, "history": history}


def _packed(
    objective: str, texts: dict[str, corpus.Texts], reader: PreTrainedTokenizerFast, kept: Path
) -> dict[str, corpus.Counts]:
    """A file of tokens for each split."""
    before, after = objectives.PRETEXTS[objective].around(reader)
    return {n: corpus.write(texts[n], reader, kept / f"{n}.tokens", before, after) for n in texts}


def _reader(
    plan: Plan, texts: corpus.Texts, objective: str, kept: Path, log: Callable[[str], None]
) -> PreTrainedTokenizerFast:
    """The tokenizer of this run: trained once, then taken up, so that what was cut with it stays true."""
    folder = kept / "tokenizer"
    if not folder.exists():
        assert plan.tokenizer is not None
        special = objectives.PRETEXTS[objective].special
        made = tokenizer.train(plan.tokenizer, texts, special, config.longest(plan.model, tokenizer.PAD))
        fresh = kept / "tokenizer.part"
        shutil.rmtree(fresh, ignore_errors=True)
        made.save_pretrained(fresh)
        os.replace(fresh, folder)
        log(f"tokenizer: {len(made):,} pieces")
    return PreTrainedTokenizerFast.from_pretrained(folder)  # type: ignore[no-any-return]


def _model(
    plan: Plan, reader: PreTrainedTokenizerFast, pretext: objectives.Pretext, source: str | Path | None
) -> PreTrainedModel:
    """The model with fresh weights, or the checkpoint's."""
    if source is not None:
        return checkpoint.model(pretext.auto, source)  # type: ignore[no-any-return]
    given = tokenizer.told(reader)
    if isinstance(pretext, objectives.SpanCorruption):
        given["decoder_start_token_id"] = pretext.start
    described = config.architecture(plan.model, given)
    return pretext.auto.from_config(described)  # type: ignore[attr-defined,no-any-return]


def _checks(data: Stretches) -> Iterator[Batch]:
    """The first stretches of the validation text, in which every check hides the same."""
    count = min(data.count, CHECKED)
    for i, begin in enumerate(range(0, count, data.batch)):
        yield data.at(list(range(begin, min(begin + data.batch, count))), np.random.default_rng([i, 2]))


@torch.no_grad()
def _judge(model: PreTrainedModel, data: Stretches, tokens_per_byte: float | None) -> dict[str, float]:
    """Loss over the first stretches of the validation text and perplexity of what is asked for; of a causal model also
    bits per byte, ends included, at the mean tokens of a byte and without what its tokenizer has no token for.
    """
    was_training = model.training
    model.eval()  # type: ignore[no-untyped-call]
    nats, asked = 0.0, 0
    for batch in _checks(data):
        number = int(objectives.targets(batch))
        nats, asked = nats + float(objectives.loss(model, batch)) * number, asked + number
    model.train(was_training)
    mean = nats / asked
    return {
        "loss": mean,
        "perplexity": float(np.exp(mean)),  # infinite, where the run diverged
        **({} if tokens_per_byte is None else {"bits_per_byte": mean / math.log(2) * tokens_per_byte}),
    }
