"""Controllable generation: bits by the chain rule, texts of a label after training, records known by their texts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from laconic import answers, data, tasks, training, writing
from laconic.contracts import Written
from laconic.data import records
from laconic.errors import DataError, RecipeError
from laconic.tasks.control import Control
from tests.workshop import USED, tokenizer, work

WORDS = {"aa": USED[:4], "bb": USED[10:14]}  # what texts of each label are made of


def rows(number, seed=0):
    rng = np.random.default_rng(seed)
    labels = [list(WORDS)[i % 2] for i in range(number)]
    return [{"label": label, "text": " ".join(rng.choice(WORDS[label], 3))} for label in labels]


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_bits_are_those_of_the_text_behind_its_label(family):
    start = {"t5": "[pad]"}.get(family)
    given = replace(work(family, head="lm" if start is None else "translate"), task=Control(start=start, length=8))
    example = {"label": "ab", "text": "ac ad"}
    (feature,) = given.task.encode([example], given.tokenizer, answers=False)
    (output,) = answers.outputs(given.model, given.task, [feature], 1)
    reader = tokenizer()
    front, said = reader("ab:")["input_ids"], reader("ac ad")["input_ids"]
    bits = 0.0
    for i, token in enumerate(said):
        if start is None:
            inputs = {"input_ids": torch.tensor([[*front[:-1], *said[:i]]])}
        else:
            inputs = {"input_ids": torch.tensor([front]), "decoder_input_ids": torch.tensor([[1, *said[:i]]])}
        with torch.no_grad():
            logits = given.model(**inputs).logits[0, -1].double()
        bits -= float(logits.log_softmax(-1)[token]) / np.log(2)
    (prediction,) = given.task.predict([Written(("x y",), output)], [feature], [example])
    assert prediction.bits == pytest.approx(bits, rel=1e-4)
    assert prediction.tokens == len(said)
    score = given.task.score([prediction], [example])
    assert score["bits_per_byte"] == pytest.approx(bits / 5, rel=1e-4)
    assert score["saved"] == pytest.approx(1 - bits / 40, rel=1e-4)
    assert score["perplexity"] == pytest.approx(2 ** (bits / len(said)), rel=1e-4)
    assert (score["distinct_1"], score["distinct_2"]) == (1.0, 0.5)
    counts = given.task.counts([prediction], [example])
    assert given.task.metric(counts.sum(0)) == pytest.approx(score["saved"])


def test_what_is_written_goes_by_the_label(tmp_path):
    given = work("llama", tmp_path, head="lm")
    given.task = Control(prompt="{}", length=5, samples=20, temperature=0.5)  # no piece spells a colon
    given.data.train[:], given.data.validation[:] = rows(48), rows(8, 1)
    before = answers.evaluate(given.model, given.tokenizer, given.task, rows(8, 1))
    training.fit(given, training.Training(epochs=30, learning_rate=5e-3, batch=8))
    after = answers.evaluate(given.model, given.tokenizer, given.task, rows(8, 1))
    assert after["saved"] > before["saved"] + 0.2
    for label, words in WORDS.items():
        features = given.task.encode([{"label": label}], given.tokenizer, answers=False)
        (said,) = writing.texts(writing.Pen(given.model), features, given.tokenizer, given.task.writing)
        assert len(said) == 20
        assert len(set(said)) > 3, "drawn, and not one text again and again"
        assert np.mean([word in words for text in said for word in text.split()]) > 0.9


def test_what_has_no_token_costs_its_bytes_but_no_perplexity():
    given = replace(work("llama", head="lm"), task=Control(length=4))
    example = {"label": "ab", "text": " ".join(USED[:8]) + " " + "x" * 4000}
    features = given.task.encode([example], given.tokenizer, answers=False)
    (output,) = answers.outputs(given.model, given.task, features, 1)
    (said,) = given.task.predict([Written(("a",), output)], features, [example])
    assert said.lost == len(example["text"]) - 8  # "ab ac ad": three words and the end are said
    assert said.bits == pytest.approx(float(output.sum()) + 8 * said.lost)
    score = given.task.score([said], [example])
    assert score["perplexity"] == pytest.approx(2 ** (float(output.sum()) / 4))
    assert score["bits_per_byte"] == pytest.approx(said.bits / len(example["text"]))


def test_no_batch_draws_as_another_did(monkeypatch):
    given = replace(work("llama", head="lm"), task=Control(length=8))
    features = given.task.encode([{"label": "ab"}] * 8, given.tokenizer, answers=False)
    monkeypatch.setattr(writing, "BATCH", 2)
    said = [text for (text,) in writing.texts(writing.Pen(given.model), features, given.tokenizer, given.task.writing)]
    assert len(set(said)) > 6
    again = writing.texts(writing.Pen(given.model), features, given.tokenizer, given.task.writing)
    assert [text for (text,) in again] == said
    other = writing.texts(writing.Pen(given.model), features, given.tokenizer, Control(length=8, seed=1).writing)
    assert other != again


def test_a_prediction_is_shown_and_a_line_is_a_label():
    task = Control()
    assert task.parse("joy") == {"label": "joy"}
    (said,) = task.predict([Written((" a ", "b"), np.zeros(0))], [{}], [{"label": "joy"}])
    assert task.show(said, {"label": "joy"}) == {"label": "joy", "texts": ["a", "b"]}
    assert tasks.build(**tasks.describe(Control(samples=3))) == Control(samples=3)


def test_records_of_one_label_are_many_and_a_text_is_in_one_split(tmp_path):
    lines = [{"intent": f"l{i % 3}", "sentence": f"text {i // 2 * 2 + i % 3}"} for i in range(60)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    splits = data.read_splits(tmp_path / "all.jsonl", "control")
    test = data.read_split(tmp_path / "all.jsonl", "control", "test")
    assert len(splits.train) + len(splits.validation) + len(test) == 60
    keys = [{records.key(e, "control") for e in part} for part in (splits.train, splits.validation, test)]
    assert not keys[0] & keys[1] | keys[0] & keys[2] | keys[1] & keys[2]
    (tmp_path / "several.jsonl").write_text('{"label": ["a", "b"], "text": "c"}\n' * 20)
    with pytest.raises(DataError, match="label"):
        data.read_splits(tmp_path / "several.jsonl", "control")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; give a number from 0.01 to 10"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"samples": 1.5}, "samples is 1.5; give a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"samples": 0}, "samples is 0"),
        ({"beams": 4}, "give beams 1"),
        ({"prompt": "text"}, "one {}"),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        Control(**options)
