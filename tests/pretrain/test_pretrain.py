"""Pretraining on little text: it learns, goes on after a kill to the same curve and bits, and leaves a plain model."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from laconic import answers, checkpoint, finetune, training
from laconic.errors import ArtifactError, DataError, RecipeError
from laconic.pretrain import PLOT, RECORD, Stretches, _judge, config, objectives, pretrain, scratch, speed, tokenizer
from laconic.tasks.lm import LM

LLAMA = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
BERT = {
    "model_type": "bert", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 32,
}  # fmt: skip
T5 = {"model_type": "t5", "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
SHORT = {"block": 16, "batch": 4, "steps": 12, "every": 4, "learning_rate": 3e-3, "schedule": "constant"}


USUAL = {"clm": (LLAMA, "bpe", 300), "mlm": (BERT, "wordpiece", 60), "span-corruption": (T5, "unigram", 140)}
DIES = """
import os, signal, sys
from laconic.pretrain import objectives, pretrain

real, count = objectives.loss, iter(range(10**6))

def dies(model, batch):
    if model.training and next(count) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(model, batch)

objectives.loss = dies
pretrain(*sys.argv[2:], progress=False)
"""


class BrokeOff(Exception):
    """In the middle of a step."""


@pytest.fixture(scope="module")
def stories(tmp_path_factory):
    """A file of short documents about three animals, which a model can learn."""
    path = tmp_path_factory.mktemp("text") / "stories.txt"
    said = [
        f"The {a} saw a {b}.\nThe {a} was {c}."
        for a in ("cat", "dog", "猫")
        for b in ("ball", "bird")
        for c in ("sad", "big")
    ]
    path.write_text("\n\n".join(said * 12), encoding="utf-8")
    return path


def plan(model=None, kind="bpe", vocabulary=300, **training):
    held = {"model": model or LLAMA, "tokenizer": {"kind": kind, "vocabulary": vocabulary}}
    return config.parse({**held, "training": {**SHORT, **training}}, "here", scratch=True)


def run(stories, out, objective="clm", chosen=None, **more):
    return pretrain(objective, chosen or plan(), stories, out, progress=False, log=str, **more)


def held(out):
    return json.loads((out / RECORD).read_text())


def losses(out):
    return [(row["step"], row[key]) for row in held(out)["history"] for key in ("loss", "eval_loss") if key in row]


def test_it_learns_and_leaves_an_ordinary_model(stories, tmp_path):
    out = run(stories, tmp_path / "model", chosen=plan(steps=60, every=20))
    first, *_, last = [row["eval_loss"] for row in held(out)["history"] if "eval_loss" in row]
    assert last < 0.7 * first
    found = held(out)
    assert found["validation"]["loss"] == pytest.approx(last)
    assert found["validation"]["bits_per_byte"] < 3
    assert found["counts"]["train"]["documents"] + found["counts"]["validation"]["documents"] == 144
    assert found["speed"]["tokens_per_second"] > 0
    assert 0 < found["speed"]["model_flops_utilization"] < 1
    assert (out / PLOT).read_bytes().startswith(b"\x89PNG")
    model, reader = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    text = "The 猫 saw a bird."
    assert reader.decode(reader(text)["input_ids"], skip_special_tokens=True) == text
    score = answers.evaluate(model.eval(), reader, LM(), [{"text": text}])
    assert score["bits_per_byte"] < 3
    assert not list(tmp_path.glob(".*"))


def same_bits(one, other):
    first, second = (load_file(out / "model.safetensors") for out in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("objective", USUAL)
def test_a_run_that_broke_off_has_the_curve_and_the_bits_of_an_unbroken_one(
    stories, tmp_path, monkeypatch, objective, precision
):
    chosen = plan(*USUAL[objective], precision=precision, accumulate=2)
    whole = run(stories, tmp_path / "whole", objective, chosen)
    real = objectives.loss
    count = iter(range(10**6))

    def breaks(model, batch):
        if model.training and next(count) == 13:  # in the seventh step, after a checkpoint behind the fourth
            raise BrokeOff
        return real(model, batch)

    monkeypatch.setattr(objectives, "loss", breaks)
    with pytest.raises(BrokeOff):
        run(stories, tmp_path / "broken", objective, chosen)
    assert (tmp_path / ".broken.training" / "checkpoints" / "checkpoint-4").is_dir()
    monkeypatch.setattr(objectives, "loss", real)
    broken = run(stories, tmp_path / "broken", objective, chosen)
    assert losses(broken) == losses(whole)
    assert len(losses(whole)) > 10
    assert same_bits(whole, broken)


@pytest.mark.parametrize(("calls", "left"), [(0, None), (6, "checkpoint-4")])
def test_a_killed_process_has_the_curve_and_the_bits_of_an_unbroken_one(stories, tmp_path, calls, left):
    """SIGKILL before the first checkpoint and after it; the tokenizer is a Unigram one, the model drops out."""
    model, kind, vocabulary = USUAL["span-corruption"]
    given = {"model": model, "tokenizer": {"kind": kind, "vocabulary": vocabulary}, "training": SHORT}
    about = tmp_path / "plan.yaml"
    about.write_text(yaml.safe_dump(given), encoding="utf-8")
    out = tmp_path / "killed"
    ended = subprocess.run(
        [sys.executable, "-c", DIES, str(calls), "span-corruption", about, stories, out],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not out.exists()
    kept = tmp_path / ".killed.training"
    assert [path.name for path in (kept / "checkpoints").iterdir()] == ([] if left is None else [left])
    if left is None:
        shutil.rmtree(kept)  # as of a process that died before all this was in place
    run(stories, out, "span-corruption", about)
    whole = run(stories, tmp_path / "whole", "span-corruption", about)
    assert losses(out) == losses(whole)
    assert same_bits(out, whole)


@pytest.mark.parametrize("objective", USUAL)
def test_the_seed_decides_and_a_done_run_is_left_alone(stories, tmp_path, objective):
    chosen = plan(*USUAL[objective])
    one, same = (run(stories, tmp_path / name, objective, chosen) for name in "12")
    other = run(stories, tmp_path / "3", objective, chosen, seed=1)
    assert losses(one) == losses(same) != losses(other)
    assert same_bits(one, same)
    before = (one / "model.safetensors").stat().st_mtime_ns
    assert run(stories, tmp_path / "1", objective, chosen) == one
    assert (one / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(DataError, match="holds another run"):
        run(stories, tmp_path / "1", objective, chosen, seed=5)


@pytest.mark.parametrize("objective", ["mlm", "span-corruption"])
def test_other_objectives_learn(stories, tmp_path, objective):
    model, kind, vocabulary = USUAL[objective]
    out = run(stories, tmp_path / "m", objective, plan(model, kind, vocabulary, steps=60, every=20))
    first, *_, last = [row["eval_loss"] for row in held(out)["history"] if "eval_loss" in row]
    assert last < first
    assert "bits_per_byte" not in held(out)["validation"]
    loaded, reader = checkpoint.config(out), checkpoint.tokenizer(out)
    assert loaded.vocab_size == len(reader) <= vocabulary


def test_it_goes_on_from_a_checkpoint(stories, tmp_path):
    first = run(stories, tmp_path / "first", chosen=plan(steps=30))
    more = config.parse({"training": {**SHORT, "learning_rate": 1e-4}}, "here", scratch=False)
    second = run(stories, tmp_path / "second", chosen=more, source=first)
    assert held(second)["history"][0]["loss"] < 1.2 * held(first)["history"][-2].get("loss", 9)
    assert checkpoint.tokenizer(first).get_vocab() == checkpoint.tokenizer(second).get_vocab()


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_block_behind_the_positions_of_a_llama_is_refused_and_leaves_nothing(stories, tmp_path, goes_on):
    chosen = plan({**LLAMA, "max_position_embeddings": 16})
    base = run(stories, tmp_path / "base", chosen=chosen) if goes_on else None
    long = {**SHORT, "block": 17}
    further = config.parse({"training": long}, "here", scratch=False) if goes_on else plan(chosen.model, block=17)
    with pytest.raises(RecipeError, match="a block is 17 tokens and the model has 16 positions; give it more, or less"):
        run(stories, tmp_path / "new" / "model", chosen=further, source=base)
    assert [path.name for path in tmp_path.iterdir()] == (["base"] if goes_on else [])


def test_what_was_pretrained_can_be_fine_tuned(stories, tmp_path):
    out = run(stories, tmp_path / "model")
    options = training.Training(epochs=1, batch=8)
    ended = finetune.train(out, "lm", stories, tmp_path / "run", options=options, progress=False, log=str)
    assert json.loads((ended / finetune.RUN_FILE).read_text())["validation"]["bits_per_byte"] > 0


def stretches(**more):
    taught = plan(block=8, batch=3, steps=None, **more).training
    return Stretches(np.arange(100, dtype=np.uint16), objectives.CLM(8), taught, 0), taught


def test_an_epoch_has_every_block_once_in_another_order():
    data, _ = stretches(epochs=2)
    assert (data.count, data.per_epoch, len(data)) == (12, 4, 8)
    orders = [[i for place in range(4) for i in data[4 * epoch + place][1]] for epoch in range(2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(12))
    assert orders[0] != orders[1]
    batch, chosen = data[5]
    assert batch["input_ids"].tolist() == [list(range(8 * i, 8 * i + 8)) for i in chosen]
    assert batch["labels"].equal(batch["input_ids"] + 1)


def test_the_loss_is_that_of_the_model_itself(stories, tmp_path):
    """transformers' own loss on the same block, which shifts by itself."""
    out = run(stories, tmp_path / "model", chosen=plan(steps=1))
    model = AutoModelForCausalLM.from_pretrained(out).eval()
    rows = np.random.default_rng(0).integers(4, 200, (3, 17))
    mine = objectives.loss(model, objectives.CLM(16).batch(rows, np.random.default_rng(0)))
    ids = torch.from_numpy(rows)
    theirs = model(input_ids=ids, labels=ids).loss
    assert mine.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert answers.width(model) == len(AutoTokenizer.from_pretrained(out))


def mlm(mask=0.15):
    return objectives.MLM(200, mask, 1, 2, 3, np.arange(5, 500))


def test_masks_hide_as_many_as_they_should_and_ask_for_those_alone():
    rows = np.random.default_rng(1).integers(5, 500, (400, 198))
    rows[:, 7] = 4  # a special token is never hidden
    batch = mlm().batch(rows, np.random.default_rng(0))
    shown, labels = batch["input_ids"][:, 1:-1].numpy(), batch["labels"][:, 1:-1].numpy()
    asked = labels != objectives.IGNORED
    assert asked.mean() == pytest.approx(0.15 * 197 / 198, abs=0.005)
    assert (labels[asked] == rows[asked]).all()
    assert (shown[~asked] == rows[~asked]).all()
    assert not asked[:, 7].any()
    assert (shown[asked] == 3).mean() == pytest.approx(0.8, abs=0.02)
    assert (shown[asked] == rows[asked]).mean() == pytest.approx(0.1, abs=0.02)
    assert (batch["input_ids"][:, 0] == 1).all()
    assert (batch["input_ids"][:, -1] == 2).all()
    assert batch["input_ids"].shape == (400, 200)


@pytest.mark.parametrize(("block", "mask", "span"), [(64, 0.15, 3.0), (32, 0.5, 1.0), (9, 0.15, 3.0), (512, 0.15, 3.0)])
def test_spans_put_back_give_the_text(block, mask, span):
    """Putting each span where its sentinel stands is the text again; T5's shares are kept."""
    pretext = objectives.SpanCorruption(block, mask, span, 1, 0, list(range(1000, 1100)))
    rows = np.random.default_rng(2).integers(5, 999, (20, pretext.width))
    batch = pretext.batch(rows, np.random.default_rng(0))
    assert batch["input_ids"].shape[1] <= block
    assert batch["decoder_input_ids"][:, 0].eq(0).all()
    assert batch["decoder_input_ids"][:, 1:].equal(batch["labels"][:, :-1])
    for row, shown, labels in zip(rows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        assert shown[-1] == labels[-1] == 1
        spans, now = {}, None
        for i in labels[:-1]:
            now = i if i >= 1000 else now
            spans.setdefault(now, [])
            spans[now] += [] if i >= 1000 else [i]
        put = [t for i in shown[:-1] for t in (spans[i] if i >= 1000 else [i])]
        assert put == row.tolist()
        assert all(spans.values())
        hidden = sum(map(len, spans.values()))
        assert hidden == max(round(len(row) * mask), 1)
    if block == 512:
        assert hidden / len(spans) == pytest.approx(span, abs=0.1)
        assert pretext.width > 512  # as T5 does: what is hidden leaves room for more text
        assert len(batch["labels"][0]) == hidden + len(spans) + 1


def test_bits_per_byte_by_hand(stories, tmp_path):
    out = run(stories, tmp_path / "m")
    said, count = held(out)["validation"], held(out)["counts"]["validation"]
    assert said["bits_per_byte"] == pytest.approx(said["loss"] / math.log(2) * count["tokens"] / count["bytes"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"modle": {}}, "has no 'modle'; did you mean 'model'"),
        ({"model": {**LLAMA, "hiden_size": 3}}, "has no 'hiden_size'; did you mean 'hidden_size'"),
        ({"model": {"model_type": "lama"}}, "no model_type 'lama'; did you mean 'llama'"),
        ({"model": {**LLAMA, "vocab_size": 3}}, "vocab_size follows from the tokenizer"),
        ({"tokenizer": {"kind": "bpee"}}, "kind is 'bpee'; choose one of bpe, wordpiece, unigram"),
        ({"training": {"blok": 3}}, "has no 'blok'; did you mean 'block'"),
        ({"training": {"learning_rate": "1e-3"}}, "learning_rate is '1e-3'; give a number"),
        ({"training": {"precision": "fp16"}}, "precision is 'fp16'"),
        ({"training": {"patience": 2}}, "patience is for fine-tuning"),
    ],
)
def test_a_configuration_is_checked_key_by_key(change, words):
    good = {"model": LLAMA, "tokenizer": {}, "training": {}}
    config.parse(good, "here", scratch=True)
    with pytest.raises(RecipeError, match=words):
        config.parse({**good, **change}, "here", scratch=True)


def test_a_checkpoint_brings_its_own_model():
    with pytest.raises(RecipeError, match="has 'model', but a checkpoint brings its own"):
        config.parse({"model": LLAMA}, "here", scratch=False)
    with pytest.raises(RecipeError, match="lacks 'model'; describe it, or go on from a checkpoint with --from"):
        config.parse({}, "here", scratch=True)


@pytest.mark.parametrize(
    ("objective", "model", "says"),
    [("clm", BERT, r"is an encoder .bert., which reads what comes after a token too"),
     ("mlm", LLAMA, "no MaskedLM of model type 'llama'"),
     ("span-corruption", BERT, "no Seq2SeqLM of model type 'bert'")],
)  # fmt: skip
def test_a_model_that_cannot_learn_the_objective_is_refused_and_leaves_nothing(
    stories, tmp_path, objective, model, says
):
    with pytest.raises(ArtifactError, match=says):
        run(stories, tmp_path / "model", objective, plan(model))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "key"), [(LLAMA, "num_hidden_layers"), (T5, "num_layers"), (T5, "num_decoder_layers")]
)
def test_a_model_without_blocks_is_refused(model, key):
    with pytest.raises(RecipeError, match=" is 0; a model has at least 1 block"):
        plan({**model, key: 0})


def test_other_text_at_the_same_place_is_another_run(stories, tmp_path):
    text = tmp_path / "text.txt"
    text.write_bytes(stories.read_bytes())
    run(text, tmp_path / "model", chosen=plan(steps=2))
    run(text, tmp_path / "model", chosen=plan(steps=2))
    text.write_text("Other words.\n\n" * 40)
    with pytest.raises(DataError, match="holds another run"):
        run(text, tmp_path / "model", chosen=plan(steps=2))


def test_another_checkpoint_at_the_same_place_is_another_run(stories, tmp_path):
    base = run(stories, tmp_path / "base", chosen=plan(steps=2))
    further = config.parse({"training": {**SHORT, "steps": 2}}, "here", scratch=False)
    run(stories, tmp_path / "model", chosen=further, source=base)
    run(stories, tmp_path / "model", chosen=further, source=base)
    weights = bytearray((base / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (base / "model.safetensors").write_bytes(weights)
    with pytest.raises(DataError, match="holds another run"):
        run(stories, tmp_path / "model", chosen=further, source=base)


def test_a_model_beside_its_text_is_taken_up_and_one_within_text_read_whole_is_refused(stories, tmp_path):
    """What the run itself writes there is no text."""
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "train.txt").write_bytes(stories.read_bytes())
    for _ in range(2):
        run(tmp_path / "named", tmp_path / "named" / "model", chosen=plan(steps=2))
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "stories.txt").write_bytes(stories.read_bytes())
    with pytest.raises(DataError, match="which is read whole; name a folder elsewhere"):
        run(tmp_path / "whole", tmp_path / "whole" / "model", chosen=plan(steps=2))


def test_too_little_text_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "one.txt").write_text("\n\n")
    with pytest.raises(DataError, match=r"one.txt: there is no text to learn from in it; give a file or folder"):
        run(tmp_path / "one.txt", tmp_path / "m")
    (tmp_path / "one.txt").write_text("one document")
    with pytest.raises(DataError, match="no validation text; give more documents"):
        run(tmp_path / "one.txt", tmp_path / "m")
    (tmp_path / "one.txt").write_text("a b\n\nc d\n\ne f")
    monkeypatch.setattr(tokenizer, "train", lambda *_: pytest.fail("a tokenizer was trained before"))
    with pytest.raises(DataError, match="6 bytes of train text do not fill one block of 16"):
        run(tmp_path / "one.txt", tmp_path / "n")
    monkeypatch.undo()
    (tmp_path / "one.txt").write_text(("abcdefgh" * 20 + "\n\n") * 3)  # which long pieces do not fill
    with pytest.raises(DataError, match="tokens of text do not fill one block of 64"):
        run(tmp_path / "one.txt", tmp_path / "new" / "er" / "n", chosen=plan(vocabulary=400, block=64))
    assert [path.name for path in tmp_path.iterdir()] == ["one.txt"]


def test_utilization_by_hand():
    """A machine of 1000 operations a second that trains two tokens of 50 multiplications in a second: 600 of them."""
    clock = speed.Clock(tokens=4)
    clock.steps, clock.seconds = 3, 6.0
    said = clock.reading(macs_per_token=50, peak_flops=1000)
    assert said["tokens_per_second"] == 2.0
    assert said["model_flops_utilization"] == pytest.approx(2 * 50 * 2 * 3 / 1000)


@pytest.mark.parametrize(
    ("objective", "model", "usual", "asked"),
    [("mlm", BERT, 32, 32), ("clm", LLAMA, 512, 2000), ("span-corruption", T5, 512, 2000)],
)
def test_it_reads_as_much_as_its_architecture_can_not_a_block(stories, tmp_path, objective, model, usual, asked):
    out = run(stories, tmp_path / "out", objective, plan(model, vocabulary=400, steps=1))
    made, reader = checkpoint.model(objectives.PRETEXTS[objective].auto, out), checkpoint.tokenizer(out)
    assert checkpoint.limit(made, reader) == usual
    assert checkpoint.limit(made, reader, 2000) == asked


@pytest.mark.parametrize(("family", "first"), [("bert", 0), ("roberta", 1)])
def test_the_tokenizer_cuts_where_the_positions_of_the_model_end(stories, tmp_path, family, first):
    """RoBERTa's first position is the row behind the padding id's."""
    shape = {**BERT, "model_type": family}
    out = run(stories, tmp_path / "out", "mlm", plan(shape, vocabulary=400, steps=1))
    reader = checkpoint.tokenizer(out)
    anew = scratch.reader(
        config.Plan(shape, config.Tokens(vocabulary=400)), lambda: iter(["The cat saw a bird."]), "adamw"
    )
    assert reader.pad_token_id == anew.pad_token_id == 0
    assert reader.model_max_length == anew.model_max_length == 32 - first
    model = checkpoint.model(objectives.MLM.auto, out).eval()
    read = reader("The cat saw a bird. " * 20, truncation=True, return_tensors="pt")
    assert read["input_ids"].shape == (1, 32 - first)
    with torch.no_grad():
        assert model(**read).logits.isfinite().all()
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.cat([read["input_ids"], read["input_ids"][:, -1:]], 1))


def test_every_token_that_is_asked_for_counts_alike_in_validation(stories, tmp_path):
    out = run(stories, tmp_path / "out", "mlm", plan(BERT, batch=3, mask=0.4))
    model, reader = checkpoint.model(objectives.MLM.auto, out).eval(), checkpoint.tokenizer(out)
    pretext = objectives.MLM.of(reader, 16, 0.4, 3.0)
    ids = np.random.default_rng(0).integers(8, 60, 16 * 5).astype(np.uint16)  # five stretches or so: batches of 3 and 2
    data = Stretches(ids, pretext, plan(BERT, batch=3, mask=0.4).training, 0)
    nats, asked = 0.0, 0
    for i, some in enumerate([[0, 1, 2], list(range(3, data.count))]):
        batch = data.at(some, np.random.default_rng([i, 2]))
        labels = batch.pop("labels")
        with torch.no_grad():
            logs = model(**batch).logits.log_softmax(-1)
        for row, column in (labels != -100).nonzero().tolist():
            nats, asked = nats - float(logs[row, column, labels[row, column]]), asked + 1
    assert 3 < data.count < 7
    assert _judge(model, data, None)["loss"] == pytest.approx(nats / asked, rel=1e-5)


def test_a_batch_in_which_nothing_is_hidden_counts_for_nothing_in_validation(stories, tmp_path):
    out = run(stories, tmp_path / "out", "mlm", plan(BERT))
    model, reader = checkpoint.model(objectives.MLM.auto, out).eval(), checkpoint.tokenizer(out)
    pretext = objectives.MLM.of(reader, 16, 0.05, 3.0)
    ids = np.random.default_rng(0).integers(8, 60, 16 * 9).astype(np.uint16)
    data = Stretches(ids, pretext, plan(BERT, batch=1).training, 0)
    nats, silent = [], 0
    for i in range(data.count):
        batch = data.at([i], np.random.default_rng([i, 2]))
        labels = batch.pop("labels")
        with torch.no_grad():
            logs = model(**batch).logits.log_softmax(-1)
        here = [-float(logs[0, place, labels[0, place]]) for place in (labels[0] != -100).nonzero().flatten()]
        nats, silent = nats + here, silent + (not here)
    assert 0 < silent < data.count
    assert _judge(model, data, None)["loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-5)
    with pytest.raises(DataError, match=r"mask is 1e-05, which hides nothing of the validation text; give more"):
        run(stories, tmp_path / "none", "mlm", plan(BERT, mask=1e-5))


@pytest.mark.parametrize(("objective", "option"), [("clm", "mask"), ("clm", "span"), ("mlm", "span")])
def test_an_option_of_another_objective_is_refused_before_anything_is_written(stories, tmp_path, objective, option):
    given = plan(BERT if objective == "mlm" else LLAMA, **{option: {"mask": 0.4, "span": 9.0}[option]})
    with pytest.raises(RecipeError, match=f"{option} is .*, which {objective} does not read; leave {option} out"):
        run(stories, tmp_path / "out", objective, given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"precision": 16}, "precision is 16; give a word"),
        ({"learning_rate": "1e-3"}, r"learning_rate is '1e-3'; give a number \(YAML reads 1e-3 as a word\)"),
    ],
)
def test_what_yaml_makes_of_a_number_is_said_where_a_number_was_wanted(given, words):
    with pytest.raises(RecipeError, match=f"{words}$"):
        plan(**given)
