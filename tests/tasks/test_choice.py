"""Multiple choice: costs by the chain rule, lengths in bytes, one choice by its likeliest tokens."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import processors

import laconic
from laconic import answers, artifact, data, predict, prove, tasks, training
from laconic.data import records
from laconic.errors import DataError, RecipeError
from laconic.measures import quality
from laconic.measures.memory import Memory
from laconic.methods.vocabulary import Vocabulary
from laconic.tasks.choice import Choice, Chosen
from tests.workshop import USED, tokenizer, work

ROWS = [
    {"question": "ab ac", "choices": ["ad", "ae af ab", "ba bc"], "label": 1},
    {"question": "ba", "choices": ["bc bd be", "ab"], "label": 0},
    {"question": "ab ba ab", "choices": ["ad ae"]},
]


def fresh(family, folder=None):
    written = family in ("t5", "marian")
    given = work(family, folder, head="translate" if written else "lm")
    given.task = Choice(prompt="{} ad", start="[pad]" if written else None)
    return given


def slow(given, question, choice):
    """Bits of each token of a choice, and whether it is the likeliest, with nothing padded."""
    reader, model = given.tokenizer, given.model
    read, said = reader(f"{question} ad")["input_ids"], reader(choice)["input_ids"][:-1]  # without [eos]
    rows = []
    for i, token in enumerate(said):
        if model.config.is_encoder_decoder:
            batch = {"input_ids": torch.tensor([read]), "decoder_input_ids": torch.tensor([[1, *said[:i]]])}
        else:
            batch = {"input_ids": torch.tensor([[*read[:-1], *said[:i]]])}
        with torch.no_grad():
            logits = model(**batch).logits[0, -1].double()
        rows.append((-float(logits.log_softmax(-1)[token]) / math.log(2), int(logits.argmax()) == token))
    return rows


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_the_choice_with_the_fewest_bits_is_taken(family):
    given = fresh(family)
    features = given.task.encode(ROWS, given.tokenizer, answers=False)
    outputs = answers.outputs(given.model, given.task, features, 1)
    costs = [[slow(given, row["question"], choice) for choice in row["choices"]] for row in ROWS]
    flat = [one for row in costs for one in row]
    for output, rows in zip(outputs, flat, strict=True):
        assert output == pytest.approx(np.array(rows, dtype=float), rel=1e-4, abs=1e-4)
    whole = [[sum(bits for bits, _ in one) for one in row] for row in costs]
    for chosen, sums in zip(given.task.predict(outputs, features, ROWS), whole, strict=True):
        assert chosen.costs == pytest.approx(tuple(sums), rel=1e-4)
    bytes_ = [[len(choice) for choice in row["choices"]] for row in ROWS]
    found = given.task.predict(outputs, features, ROWS)
    for i in (0, 1):
        assert found[i].likeliest == int(np.argmin(whole[i]))
        assert found[i].by_length == int(np.argmin(np.divide(whole[i], bytes_[i])))
    assert found[2] == (Chosen(0, 0) if all(first for _, first in costs[2][0]) else Chosen(-1, -1))
    shares = [2 ** -whole[0][1] / sum(2**-c for c in whole[0]), 2 ** -whole[1][0] / sum(2**-c for c in whole[1])]
    wanted = -math.log2(shares[0]) - math.log2(shares[1]) + whole[2][0]
    assert given.task.bits(outputs, features, ROWS) == pytest.approx(wanted, rel=1e-4)
    assert [given.task.answers(row) for row in ROWS] == [1, 1, 5]


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_tokenizer_without_an_end_of_texts_is_enough(family):
    """Nothing is written, so nothing has to end."""
    given = fresh(family)
    given.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    told = given.task.encode(ROWS, given.tokenizer, answers=True)
    given.tokenizer.eos_token = None
    assert given.tokenizer.eos_token_id is None
    end = [] if family == "gpt2" else [3]  # an encoder-decoder reads it behind the prompt
    wanted = [f | {"input_ids": f["input_ids"][: len(f["input_ids"]) - len(end)]} for f in told]
    made = given.task.encode(ROWS, given.tokenizer, answers=True)
    assert [{**f, "attention_mask": 0} for f in made] == [{**f, "attention_mask": 0} for f in wanted]
    assert all(len(f["attention_mask"]) == len(f["input_ids"]) for f in made)


def test_length_and_likelihood_can_disagree_and_unknown_pieces_cost_their_bytes():
    task = Choice()
    row = {"question": "q", "choices": ["ab", "abcdefgh"], "label": 1}
    features = [{"example": [0], "choice": [place], "uncoded": [0]} for place in (0, 1)]
    outputs = [np.array([[4.0, 0]]), np.array([[5.0, 0], [3.0, 1]])]
    assert task.predict(outputs, features, [row]) == [Chosen(0, 1)]
    features[0]["uncoded"] = [1]  # 8 bits more
    assert task.predict(outputs, features, [row]) == [Chosen(1, 1)]
    only = [{"question": "q", "choices": ["ab"]}]
    bare = [{"example": [0], "choice": [0], "uncoded": [0]}]
    assert task.predict([np.array([[0.1, 1], [0.2, 1]])], bare, only) == [Chosen(0, 0)]
    assert task.predict([np.array([[0.1, 1], [0.2, 0]])], bare, only) == [Chosen(-1, -1)]
    assert task.predict([np.array([[0.1, 1]])], features[:1], only) == [Chosen(-1, -1)]  # not all of it was said


def test_figures_by_hand():
    found = [Chosen(1, 0, (9.0, 16.0, 9.0)), Chosen(1, 0, (12.0, 9.0)), Chosen(0, 0, (30.0,))]
    task, shares = Choice(), {"accuracy": pytest.approx(2 / 3), "normalized_accuracy": pytest.approx(2 / 3)}
    per_byte = (16 + 12 + 30) / len("ae af abbc bd bead ae")
    assert task.score(found, ROWS) == shares | {"bits_per_byte": pytest.approx(per_byte)}
    assert Choice(masked=True).score(found, ROWS) == shares  # whose bits are no length of a code
    assert task.counts(found, ROWS).tolist() == [[1, 1], [0, 1], [1, 1]]
    assert task.metric(np.array([[3, 4], [0, 1]])).tolist() == [0.75, 0]
    assert quality.flips(found, [Chosen(1, 0), Chosen(0, 0), Chosen(0, 0)]) == pytest.approx(1 / 3)
    assert task.show(found[0], ROWS[0]) == {"question": "ab ac", "choice": "ae af ab", "by_length": "ad"}
    assert task.show(Chosen(-1, -1), ROWS[2])["choice"] is None


def test_only_the_right_choice_is_learned():
    given = fresh("llama")
    features = given.task.encode(ROWS, given.tokenizer, answers=True)
    bare = given.task.encode(ROWS, given.tokenizer, answers=False)
    assert bare == [{k: v for k, v in f.items() if k != "labels"} for f in features]
    assert [f["labels"] == f["said"] for f in features] == [False, True, False, True, False, True]
    batch = training._Batches(features, training.Training(epochs=1, batch=99), 1, 0)[0]
    loss = answers.task_objective(given.task)(given.model, *batch)
    pairs = [(0, 1), (1, 0), (2, 0)]
    bits = [b for i, k in pairs for b, _ in slow(given, ROWS[i]["question"], ROWS[i]["choices"][k])]
    assert loss.item() == pytest.approx(sum(bits) * math.log(2) / len(bits), rel=1e-4)
    wrong = training._Batches([features[0]], training.Training(epochs=1, batch=1), 1, 0)[0]
    assert answers.task_objective(given.task)(given.model, *wrong).item() == 0


def test_of_a_long_question_the_end_is_read():
    reader, task = tokenizer(), Choice(prompt="{} ad")  # reads 32 tokens
    row = {"question": " ".join(USED[i % 30] for i in range(90)), "choices": ["ab ac", "ae"], "label": 0}
    first, second = task.encode([row], reader, answers=False)
    assert max(len(first["input_ids"]), len(second["input_ids"])) <= 32
    assert reader.decode(first["input_ids"]).endswith(f"{USED[89 % 30]} ad ab")
    assert reader.decode(second["input_ids"]).endswith(f"{USED[89 % 30]} ad")


def test_what_is_read_of_a_question_does_not_depend_on_the_others():
    reader, task = tokenizer(), Choice(prompt="{} ad")
    row = {"question": " ".join(USED[i % 30] for i in range(90)), "choices": ["ab", "ae"], "label": 0}
    other = {"question": "ab", "choices": [" ".join(USED[:20]), "ae"], "label": 0}
    alone = task.encode([row], reader, answers=False)
    assert [f["input_ids"] for f in task.encode([other, row], reader, answers=False)][2:] == [
        f["input_ids"] for f in alone
    ]
    with pytest.raises(RecipeError, match="no token is left for 'ab': the prompt and what is to be said"):
        task.encode([row, other | {"choices": [" ".join(USED[:40]), "ae"]}], reader, answers=False)


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_a_cut_vocabulary_keeps_what_is_said_last(family):
    given = fresh(family)
    given.data.train[:] = given.data.validation[:] = [{"question": "ab ac", "choices": ["ba dg", "af"], "label": 0}]
    Vocabulary().apply(given)
    assert {"ba", "dg", "af"} <= set(given.tokenizer.get_vocab())
    (first, _) = given.task.encode(given.data.train, given.tokenizer, answers=False)
    assert given.tokenizer.convert_ids_to_tokens(first["said"]) == ["ba", "dg"]


def learnable(number):
    """The right choice begins with the question's last word."""
    rows = []
    for i in range(number):
        said = [USED[(7 * i + j * j) % len(USED)] for j in range(4)]
        wrong = USED[(7 * i + 11) % len(USED)]
        pair = [said[-1], wrong][:: 1 if i % 2 else -1]
        rows.append({"question": " ".join(said), "choices": pair, "label": 0 if i % 2 else 1})
    return rows


def test_it_learns_to_choose(tmp_path):
    given = fresh("llama", tmp_path)
    given.data.train[:], given.data.validation[:] = learnable(48), learnable(16)
    before = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    training.fit(given, training.Training(epochs=30, learning_rate=5e-3, batch=16))
    after = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    assert after["accuracy"] > max(0.9, before["accuracy"])
    assert after["bits"] < before["bits"] / 2


@pytest.mark.parametrize(
    ("raw", "made"),
    [
        ({"question": "q", "choices": ["a", "b"], "label": 1}, {"question": "q", "choices": ["a", "b"], "label": 1}),
        ({"prefix": "p", "target": "t"}, {"question": "p", "choices": ["t"]}),
    ],
)
def test_records(raw, made):
    assert records.example(raw, "choice", "here") == made
    assert not list(records.faults(made, "choice"))
    assert records.texts(made, "choice") == [made["question"], *made["choices"]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": 2}, "the label is 2; give the place of one of the 2 choices"), ({"label": None}, "label is None"),
        ({"question": " "}, "question is empty"), ({"choices": ["a", ""]}, "an empty one"),
        ({"choices": []}, "there is no choice"),
    ],
)  # fmt: skip
def test_faults(change, words):
    record = {"question": "q", "choices": ["a", "b"], "label": 0, **change}
    assert any(words in fault.message for fault in records.faults(record, "choice"))


def test_a_label_that_is_no_place_is_refused_when_read():
    for label in ("a", True, 1.0):
        with pytest.raises(DataError, match="not a place among the choices"):
            records.example({"question": "q", "choices": ["a"], "label": label}, "choice", "here")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": ("x",)}, "of its own"),
        ({"prompt": "say"}, "prompt is 's"),
        ({"masked": True, "start": "[pad]"}, "a masked model writes nothing"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(RecipeError, match=words):
        Choice(**options)


def test_a_task_of_before_there_were_encoders_is_read_as_it_was():
    held = {"name": "choice", "labels": [], "prompt": "{} is", "start": None}
    assert tasks.describe(tasks.build(**held)) == held
    assert not tasks.build(**held).masked


def test_a_typed_line():
    task = Choice()
    assert task.parse("what?\tthis\tthat") == {"question": "what?", "choices": ["this", "that"]}
    for line in ("what?", "what?\t", "\ta"):
        with pytest.raises(DataError, match="holds no question"):
            task.parse(line)


def test_the_road_of_a_decoder(tmp_path, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    (tmp_path / "data").mkdir()
    for split, number in {"train": 40, "validation": 8, "test": 8}.items():
        lines = "".join(json.dumps(row) + "\n" for row in learnable(number))
        (tmp_path / "data" / f"{split}.jsonl").write_text(lines)
    (tmp_path / "plan.yaml").write_text(
        "model: {model_type: gpt2, n_embd: 32, n_layer: 3, n_head: 4, n_positions: 64}\n"
        "tokenizer: {kind: bpe, vocabulary: 320}\n"
    )
    options = laconic.Training(epochs=2, learning_rate=5e-3, batch=8)
    laconic.train(tmp_path / "plan.yaml", "choice", tmp_path / "data", tmp_path / "run", options=options,
                  progress=False, log=str, prompt="{} is")  # fmt: skip
    recipe = laconic.Recipe.read("balanced").override(["7.epochs=1", "7.batch=8"])
    laconic.compress(tmp_path / "run", recipe, tmp_path / "out", progress=False, log=str)
    held = artifact.load(tmp_path / "out").manifest.task
    assert tasks.describe(tasks.build(**held)) == held == {**held, "prompt": "{} is"}
    report = prove.compare(tmp_path / "out", tmp_path / "run", timed=False)
    rows = data.read_split(tmp_path / "data", "choice", "test")
    model = predict.load(tmp_path / "out")
    said = model.predict(["\t".join([row["question"], *row["choices"]]) for row in rows])
    right = sum(s["choice"] == row["choices"][row["label"]] for s, row in zip(said, rows, strict=True))
    assert report.after.score["accuracy"] == pytest.approx(right / len(rows))
    assert replace(model.task, prompt="{}") != model.task
