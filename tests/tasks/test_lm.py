"""Language modelling: bits against the chain rule written out, windows, unknown pieces, and the figures."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laconic import answers, tasks, training
from laconic.errors import RecipeError
from laconic.tasks.lm import LM, windows
from tests.workshop import USED, tokenizer, work

TEXTS = [{"text": " ".join(USED[:7])}, {"text": USED[3]}, {"text": " ".join(USED[i % 30] for i in range(50))}]


def slow(model, ids, context, overlap):
    """Bits of ids[1:], each token asked for alone, with what stands before it in its window."""
    total, begin, done = 0.0, 0, 1
    while done < len(ids):
        end = min(begin + context, len(ids))
        for place in range(done, end):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids[begin:place]])).logits[0, -1].double()
            total -= float(logits.log_softmax(-1)[ids[place]]) / math.log(2)
        begin, done = end - overlap, end
    return total


@pytest.mark.parametrize(("family", "context", "overlap"), [("gpt2", 32, 8), ("llama", 16, 4), ("qwen2", 12, 1)])
def test_bits_are_those_of_the_chain_rule(family, context, overlap):
    given = work(family, head="lm")
    task = LM(context=context, overlap=overlap / context)
    features = task.encode(TEXTS, given.tokenizer, answers=False)
    raw = answers.outputs(given.model, task, features, 1)
    said = task.predict(raw, features, TEXTS)
    for text, prediction in zip(TEXTS, said, strict=True):
        ids = [2, *given.tokenizer(text["text"], add_special_tokens=False)["input_ids"]]
        assert prediction["bits"] == pytest.approx(slow(given.model, ids, context, overlap), rel=1e-5)
        assert prediction["tokens"] == len(ids) - 1
    assert task.bits(raw, features, TEXTS) == pytest.approx(sum(p["bits"] for p in said))


def test_all_texts_of_a_token_together_are_certain():
    """Kraft: the probabilities of every token as the whole text add up to one."""
    given = work("llama", head="lm")
    every = [{"input_ids": [2, i], "attention_mask": [1, 1], "slots": [0]} for i in range(100)]
    raw = answers.outputs(given.model, LM(), every, 1)
    assert sum(2.0 ** -float(bits.sum()) for bits in raw) == pytest.approx(1.0, abs=1e-5)


@given(st.integers(0, 200), st.integers(2, 40), st.data())
def test_windows_predict_every_token_once(tokens, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    found = list(windows(tokens, size, overlap))
    said = [begin + place + 1 for begin, slots in found for place in slots]
    assert said == list(range(1, tokens))
    for i, (begin, slots) in enumerate(found):
        assert all(0 <= place < size - 1 for place in slots)
        assert i == 0 or slots[0] == max(overlap, 1) - 1
        assert begin + size >= tokens or i + 1 < len(found)


def test_without_a_first_token_the_first_costs_as_much_as_any():
    reader = tokenizer()
    reader.bos_token = None
    (feature,) = LM().encode([{"text": f"{USED[0]} {USED[1]}"}], reader, answers=True)
    assert feature["input_ids"][0] == 3  # the end of a text leads to the next
    reader.eos_token = None
    (feature,) = LM().encode([{"text": f"{USED[0]} {USED[1]}"}], reader, answers=True)
    ids = reader(f"{USED[0]} {USED[1]}", add_special_tokens=False)["input_ids"]
    assert (feature["input_ids"], feature["slots"], feature["labels"]) == (ids, [0], ids[1:])
    (said,) = LM().predict([np.array([2.5])], [feature], [{"text": "x"}])
    assert said == {"bits": pytest.approx(2.5 + math.log2(100)), "tokens": 2, "lost": 0}


def test_what_has_no_token_costs_its_bytes():
    """Two Chinese characters, which the tokenizer has no piece for, are six bytes."""
    example = {"text": f"{USED[0]} 你好"}
    features = LM().encode([example], tokenizer(), answers=False)
    (said,) = LM().predict([np.zeros(2)], features, [example])
    assert said["bits"] == 6 * 8
    assert LM().answers(example) == 3 + 6


def test_labels_are_the_tokens_at_the_slots_of_the_logits():
    given = work("gpt2", head="lm")
    task = LM(context=10)
    features = task.encode(TEXTS, given.tokenizer, answers=True)
    bare = task.encode(TEXTS, given.tokenizer, answers=False)
    assert bare == [{k: v for k, v in f.items() if k != "labels"} for f in features]
    raw = answers.outputs(given.model, task, features, 1)
    nats = sum(float(r.sum()) for r in raw) * math.log(2)
    batch = training._Batches(features, training.Training(epochs=1, batch=99), 1, 0)[0]
    loss = answers.task_objective(task)(given.model, *batch)
    assert loss.item() == pytest.approx(nats / sum(len(r) for r in raw), rel=1e-5)


def test_figures_by_hand():
    task = LM()
    examples = [{"text": "abcd"}, {"text": "你"}]
    said = [{"bits": 8.0, "tokens": 2, "lost": 0}, {"bits": 16.0, "tokens": 1, "lost": 1}]
    score = task.score(said, examples)
    assert score["bits_per_byte"] == pytest.approx(24 / 7)
    assert score["saved"] == pytest.approx(1 - 24 / 7 / 8)
    assert score["perplexity"] == pytest.approx(2 ** (16 / 3))  # of tokens; a byte that no token says is none
    assert score[task.main] == task.metric(task.counts(said, examples).sum(0))
    assert task.show(said[0], examples[0]) == {
        "text": "abcd", "bits": 8.0, "tokens": 2, "bytes": 4, "bits_per_byte": 2.0,
    }  # fmt: skip


def test_a_batch_holds_no_more_logits_than_there_is_room_for(monkeypatch):
    given = work("gpt2", head="lm")
    features = LM().encode(TEXTS[:1] * 6, given.tokenizer, answers=False)
    monkeypatch.setattr(answers, "ROOM", 4 * 100 * len(features[0]["input_ids"]) * 2)
    assert answers.room(given.model, features, 32) == 2
    assert answers.room(work("gpt2").model, features, 32) == 32  # a head with five labels


def test_it_learns(tmp_path):
    given = work("llama", tmp_path, head="lm", number=24)
    before = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    rows = training.fit(given, training.Training(epochs=4, learning_rate=3e-3, batch=8))
    after = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    assert after["saved"] > before["saved"]
    assert after["bits_per_byte"] < before["bits_per_byte"]
    assert max(row.get("eval_saved", -9) for row in rows) == pytest.approx(after["saved"])


def test_a_description_builds_the_same_task():
    task = LM(context=64, overlap=0.5)
    assert tasks.build(**tasks.describe(task)) == task


@pytest.mark.parametrize(
    ("options", "words"),
    [({"labels": ("x",)}, "a language model has none"), ({"context": 1}, "context is 1"), ({"overlap": 1.0}, "0 to")],
)
def test_refusals(options, words):
    with pytest.raises(RecipeError, match=words):
        LM(**options)
