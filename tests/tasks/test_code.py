"""Code: pass@k by counting every draw, right programs pass and wrong ones do not, samples are drawn."""

import itertools
import json
import sys

import numpy as np
import pytest

from laconic import answers, tasks, training, writing
from laconic.contracts import Written
from laconic.data import records
from laconic.errors import RecipeError
from laconic.tasks.code import Code, pass_at
from tests.workshop import USED, tokenizer, work

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are locked in on Linux only")

TEST = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n"
PROBLEM = {
    "prompt": 'def square(x):\n    """x times x"""\n', "solution": "    return x * x\n",
    "test": TEST, "entry": "square",
}  # fmt: skip
RIGHT, WRONG = "    return x ** 2\n", "    return x + x\n"


@pytest.mark.parametrize(
    ("samples", "right", "k"), [(5, 2, 1), (5, 2, 3), (6, 0, 2), (4, 4, 4), (7, 1, 7), (10, 3, 10)]
)
def test_the_chance_is_that_of_every_draw(samples, right, k):
    draws = list(itertools.combinations(range(samples), k))
    assert pass_at(k, samples, right) == pytest.approx(np.mean([min(draw) < right for draw in draws]))


def test_programs_are_judged_by_their_tests():
    task = Code(samples=10, temperature=0.8)
    said = [(RIGHT, *[WRONG] * 7, RIGHT, "    return ("), (WRONG,) * 10]
    score = task.score(said, [PROBLEM, PROBLEM])
    assert score == {"pass_at_1": pytest.approx(0.1), "pass_at_10": pytest.approx(0.5)}
    counts = task.counts(said, [PROBLEM, PROBLEM])
    assert counts == pytest.approx(np.array([[0.2, 1], [0, 1]]))
    assert task.metric(counts.sum(0)) == pytest.approx(score["pass_at_1"])
    assert Code().score([(PROBLEM["solution"],)], [PROBLEM]) == {"pass_at_1": 1.0}
    assert Code().score([(WRONG,)], [PROBLEM]) == {"pass_at_1": 0.0}


def test_a_text_ends_where_the_function_does_and_keeps_its_white_space():
    task = Code()
    assert task.writing.stops[1] == "\ndef"
    text = writing._cut(RIGHT + "\ndef other():\n    pass", task.writing.stops)
    assert text == RIGHT
    (said,) = task.predict([Written((text,), np.zeros(0))], [{}], [PROBLEM])
    assert said == (RIGHT,)
    assert task.show(said, PROBLEM) == {"prompt": PROBLEM["prompt"], "completions": [RIGHT]}


def test_of_a_prompt_that_is_too_long_the_end_is_read():
    """What is written goes on behind it, and is judged behind the whole of it."""
    reader, words = tokenizer(), [USED[i % 30] for i in range(60)]  # reads 32 tokens
    (feature,) = Code(length=6).encode([{"prompt": " ".join(words), "solution": "ad"}], reader, answers=False)
    (read,) = feature["begins"]
    assert reader.decode(feature["input_ids"][:read]) == " ".join(words[-22:])
    (whole,) = Code(length=6).encode([{"prompt": "ab ac", "solution": "ad"}], reader, answers=False)
    assert reader.decode(whole["input_ids"][: whole["begins"][0]]) == "ab ac"


def test_samples_are_drawn_and_the_likeliest_text_is_not():
    given = work("llama", head="lm")
    rows = [{**PROBLEM, "prompt": "ab ac", "solution": "ad"}]
    drawn = Code(samples=4, temperature=2.0, length=6)
    features = drawn.encode(rows, given.tokenizer, answers=False)
    (several,) = writing.texts(writing.Pen(given.model), features, given.tokenizer, drawn.writing)
    assert len(several) == 4
    assert len(set(several)) > 1
    (one,) = writing.texts(writing.Pen(given.model), features, given.tokenizer, Code(length=6).writing)
    assert len(one) == 1


def test_a_program_is_learned_and_passes(tmp_path):
    """Of a language of four words: what is written must be the sum, and only its right end makes it so."""
    given = work("llama", tmp_path, head="lm")
    test = "def check(candidate):\n    assert candidate == 3\n"
    rows = [{"prompt": f"{word} = 3; ae = ", "solution": word, "test": test, "entry": "ae"} for word in USED[:4]]
    given.task = Code(length=4)
    given.data.train[:], given.data.validation[:] = rows * 6, rows
    before = answers.evaluate(given.model, given.tokenizer, given.task, rows)
    training.fit(given, training.Training(epochs=40, learning_rate=5e-3, batch=8))
    after = answers.evaluate(given.model, given.tokenizer, given.task, rows)
    assert before["pass_at_1"] < after["pass_at_1"] == 1
    assert after["bits"] < before["bits"] / 4
    (feature,) = given.task.encode(rows[:1], tokenizer(), answers=False)
    assert feature["said"] == tokenizer()(USED[0])["input_ids"]


def test_records_and_description():
    raw = {"task_id": "H/0", "prompt": "p", "entry_point": "f", "canonical_solution": "s", "test": "t"}
    made = records.example(raw, "code", "here")
    assert made == {"prompt": "p", "test": "t", "entry": "f", "solution": "s"}
    assert records.example(json.loads(json.dumps(made)), "code", "here") == made  # as `prepare` writes it
    assert records.texts(made, "code") == ["p", "s"]
    task = Code(samples=20, temperature=0.5, seconds=2)
    assert tasks.build(**tasks.describe(task)) == task
    assert task.parse("def f():") == {"prompt": "def f():"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 0}, "samples is 0"), ({"samples": 2}, "without a temperature"), ({"seconds": 0}, "seconds is 0"),
        ({"temperature": -1}, "temperature is -1"), ({"beams": 2, "temperature": 1.0}, "give beams 1"),
    ],
)  # fmt: skip
def test_refusals(options, words):
    with pytest.raises(RecipeError, match=words):
        Code(**options)
