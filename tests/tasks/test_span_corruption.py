"""Span corruption: bits of what is written by brute force, what is read and written, windows, the road."""

import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import strategies as st
from transformers import AddedToken, BertConfig

import laconic
from laconic import answers, checkpoint, predict, prove, recipe, trained, training
from laconic.errors import ArtifactError, RecipeError
from laconic.measures.memory import Memory
from laconic.tasks.span_corruption import SpanCorruption, corrupted, together
from tests.tasks.test_mlm import TAUGHT, TEXTS, stored
from tests.workshop import USED, tokenizer, work

MARKS = [f"<extra_id_{i}>" for i in range(6)]


def fresh(folder=None):
    made = work("t5", folder, head="lm")
    made.task, made.tokenizer = SpanCorruption(mask=0.3, start="[pad]"), tokenizer()
    made.tokenizer.add_tokens([AddedToken(mark, special=True) for mark in MARKS], special_tokens=True)
    made.model.resize_token_embeddings(len(made.tokenizer))
    made.teacher = replace(made.teacher, tokenizer=made.tokenizer, model=made.model)
    return made


def test_bits_are_those_of_what_is_written_token_by_token():
    given = fresh()
    features = given.task.encode(TEXTS, given.tokenizer, answers=False)
    outputs = answers.outputs(given.model, given.task, features, 1)
    found = given.task.predict(outputs, features, TEXTS)
    for example, filled in zip(TEXTS, found, strict=True):
        text = example["text"]
        source, target = corrupted(text, (0, len(text)), together(text, given.task.hidden(text)), MARKS)
        read, said = (given.tokenizer(side)["input_ids"] for side in (source, target))  # each with its end
        total, right = 0.0, 0
        for k, token in enumerate(said):
            with torch.no_grad():
                begun = torch.tensor([[1, *said[:k]]])
                logits = given.model(input_ids=torch.tensor([read]), decoder_input_ids=begun).logits[0, -1].double()
            total -= float(logits.log_softmax(-1)[token]) / math.log(2)
            right += int(logits.argmax()) == token
        assert filled["bits"] == pytest.approx(total, rel=1e-4)
        assert (filled["tokens"], filled["right"], filled["lost"]) == (len(said), right, 0)
    amounts = sum(given.task.answers(example) for example in TEXTS)
    score = given.task.score(found, TEXTS)
    assert score["bits_per_byte"] == pytest.approx(given.task.bits(outputs, features, TEXTS) / amounts)


@drawn(st.text(alphabet="ab 猫。\n", max_size=60), st.floats(0.01, 0.5), st.integers(0, 9))
def test_what_is_read_and_what_is_written_make_the_text(text, mask, seed):
    runs = together(text, SpanCorruption(mask=mask, seed=seed).hidden(text))
    source, target = corrupted(text, (0, len(text)), runs, [f"<{i}>" for i in range(99)])
    for i in range(len(runs)):
        said = target.split(f"<{i}> ", 1)[1].split(f" <{i + 1}>")[0]
        source = source.replace(f"<{i}>", said, 1)
    assert source == text
    assert all(text[end:start].strip() for (_, end), (start, _) in pairwise(runs))


def test_a_long_text_is_read_in_windows_and_each_hidden_word_said_once():
    given = fresh()
    task = SpanCorruption(mask=0.2, context=12, start="[pad]")
    text = " ".join(USED[i % 30] for i in range(50))
    features = task.encode([{"text": text}], given.tokenizer, answers=True)
    assert len(features) > 3
    assert max(len(f["input_ids"]) for f in features) <= 12
    pieces = [piece for f in features for piece in given.tokenizer.convert_ids_to_tokens(f["labels"])]
    said = [piece for piece in pieces if piece not in (*MARKS, "[eos]")]
    assert said == [text[start:end] for start, end in task.hidden(text)]
    assert all(f["labels"] == f["said"] and f["example"] == [0] for f in features)


def test_what_no_token_says_costs_its_bytes():
    given = fresh()
    features = given.task.encode([{"text": "猫"}], given.tokenizer, answers=False)
    assert [f["uncoded"] for f in features] == [[3]]


def test_what_cannot_be_hidden_is_refused():
    with pytest.raises(RecipeError, match="needs sentinels"):
        SpanCorruption(start="[pad]").encode(TEXTS, tokenizer(), answers=False)
    with pytest.raises(RecipeError, match="2 spans are hidden from one window, and the tokenizer has 1 sentinels"):
        corrupted("a b c", (0, 5), [(0, 1), (4, 5)], MARKS[:1])
    with pytest.raises(ArtifactError, match="transformers has no Seq2SeqLM of model type 'bert'"):
        checkpoint.suits(SpanCorruption.auto, BertConfig(), "here")


def test_it_learns_what_is_hidden(tmp_path):
    given = fresh(tmp_path)
    given.data.train[:], given.data.validation[:] = TAUGHT, TAUGHT[:10]
    before = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    training.fit(given, training.Training(epochs=20, learning_rate=1e-2, batch=8))
    after = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    assert after["bits_per_byte"] < before["bits_per_byte"] / 2
    assert after["accuracy"] > before["accuracy"]


RECIPE = """
steps:
  - vocabulary: {}
  - rtn: {bits: 4, where: linears}
  - distill: {epochs: 1, batch: 8, variants: 0}
  - half: {}
"""


def test_the_road_of_an_encoder_decoder(tmp_path, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    given = fresh()
    given.model.config.decoder_start_token_id = 1
    stored(given, tmp_path)
    laconic.train(tmp_path / "model", "span_corruption", tmp_path / "data", tmp_path / "run", progress=False, log=str,
                  options=laconic.Training(epochs=2, learning_rate=5e-3, batch=8), mask=0.3)  # fmt: skip
    run = trained.read(tmp_path / "run")
    assert run.task == SpanCorruption(mask=0.3, start="[pad]")
    (tmp_path / "small.yaml").write_text(RECIPE)
    plan = recipe.Recipe.read(tmp_path / "small.yaml")
    laconic.compress(tmp_path / "run", plan, tmp_path / "out", progress=False, log=str)
    model = predict.load(tmp_path / "out")
    assert set(MARKS) <= set(model.tokenizer.get_vocab())
    test = [json.loads(line)["text"] for line in (tmp_path / "data" / "test.jsonl").read_text().splitlines()]
    shown = model.predict(test)
    report = prove.compare(tmp_path / "out", tmp_path / "run", timed=False)
    assert report.after.bits.data_bits == pytest.approx(sum(row["bits"] for row in shown), rel=1e-4)
    assert report.after.bits.answers == sum(len("".join(row["hidden"])) for row in shown)
