"""Multiple choice by a masked encoder: pseudo-log-likelihood by brute force, training, compression, engines."""

import copy
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import laconic
from laconic import answers, artifact, data, predict, prove, recipe, tasks, trained, training
from laconic.calibration.encoded import encoded
from laconic.errors import EngineError
from laconic.measures.memory import Memory
from laconic.methods.distill import Distill
from laconic.methods.layerwise import Layerwise
from laconic.methods.mixed import Mixed
from laconic.methods.neurons import Neurons
from laconic.methods.vocabulary import Vocabulary
from laconic.tasks.choice import Choice, Chosen
from tests.tasks.test_choice import ROWS, learnable
from tests.workshop import tokenizer, work

FAMILIES = ("bert", "roberta", "distilbert", "electra", "albert")
SPELT = {"question": "abc", "choices": ["abca ad", "ae", "kj ab"], "label": 2}  # words in several pieces


def fresh(family, folder=None, rows=None):
    given = work(family, folder, head="lm")
    given.task, given.tokenizer = Choice(prompt="{} ad", masked=True), tokenizer(masks=True)
    given.teacher = replace(given.teacher, tokenizer=copy.deepcopy(given.tokenizer))
    if rows is not None:
        given.data.train[:], given.data.validation[:] = rows, rows[: len(rows) // 3]
    return given


def slow(given, question, choice):
    """Bits of each token of a choice, and whether it is the likeliest, one pass each, with nothing padded."""
    reader, model = given.tokenizer, given.model
    ids = lambda word: reader.convert_tokens_to_ids(reader.tokenize(word))  # noqa: E731
    before = [i for word in f"{question} ad".split() for i in ids(word)]
    words = [ids(word) for word in choice.split()]
    rows = []
    for at, word in enumerate(words):
        left = [i for other in words[:at] for i in other]
        right = [i for other in words[at + 1 :] for i in other]
        for k, token in enumerate(word):
            hidden = [reader.mask_token_id] * (len(word) - k)
            batch = torch.tensor([[*before, *left, *word[:k], *hidden, *right, reader.eos_token_id]])
            with torch.no_grad():
                logits = model(input_ids=batch).logits[0, len(before) + len(left) + k].double()
            rows.append((-float(logits.log_softmax(-1)[token]) / math.log(2), int(logits.argmax()) == token))
    return rows


def by_choice(outputs, features):
    """Outputs of all tokens of each choice, by example and choice."""
    found = {}
    for output, feature in zip(outputs, features, strict=True):
        found.setdefault((*feature["example"], *feature["choice"]), []).append(output)
    return {place: np.concatenate(rows) for place, rows in found.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_choice_with_the_highest_pseudo_log_likelihood_is_taken(family):
    given, rows = fresh(family), [*ROWS, SPELT]
    assert type(given.model) in given.task.auto._model_mapping.values()
    features = given.task.encode(rows, given.tokenizer, answers=False)
    outputs = answers.outputs(given.model, given.task, features, 1)
    assert {output.shape for output in outputs} == {(1, 2)}
    costs = [[slow(given, row["question"], choice) for choice in row["choices"]] for row in rows]
    for (i, place), output in by_choice(outputs, features).items():
        assert output == pytest.approx(np.array(costs[i][place], dtype=float), rel=1e-4, abs=1e-4)
    assert len(costs[3][0]) == 4
    assert len(costs[3][2]) == 3
    whole = [np.array([sum(bits for bits, _ in one) for one in row]) for row in costs]
    found = given.task.predict(outputs, features, rows)
    for i in (0, 1, 3):
        sizes = np.array([len(choice) for choice in rows[i]["choices"]])
        assert found[i] == Chosen(int(np.argmin(whole[i])), int(np.argmin(whole[i] / sizes)))
    assert found[2] == (Chosen(0, 0) if all(first for _, first in costs[2][0]) else Chosen(-1, -1))
    shares = [math.log2(sum(2.0 ** (c[row["label"]] - other) for other in c)) for c, row in
              ((whole[0], rows[0]), (whole[1], rows[1]), (whole[3], rows[3]))]  # fmt: skip
    assert given.task.bits(outputs, features, rows) == pytest.approx(sum(shares) + whole[2][0], rel=1e-4)


def test_only_the_right_choice_is_learned_and_as_it_is_scored():
    given = fresh("bert")
    features = given.task.encode(ROWS, given.tokenizer, answers=True)
    bare = given.task.encode(ROWS, given.tokenizer, answers=False)
    assert bare == [{k: v for k, v in f.items() if k != "labels"} for f in features]
    taught = {(f["example"][0], f["choice"][0]) for f in features if f["labels"] == f["said"]}
    assert taught == {(0, 1), (1, 0), (2, 0)}
    assert {tuple(f["labels"]) for f in features if (f["example"][0], f["choice"][0]) not in taught} == {(-100,)}
    batch = training._Batches(features, training.Training(epochs=1, batch=99), 1, 0)[0]
    loss = answers.task_objective(given.task)(given.model, *batch)
    bits = [b for i, k in sorted(taught) for b, _ in slow(given, ROWS[i]["question"], ROWS[i]["choices"][k])]
    assert loss.item() == pytest.approx(sum(bits) * math.log(2) / len(bits), rel=1e-4)


def test_a_choice_without_tokens_costs_its_bytes():
    given = fresh("bert")
    row = {"question": "ab", "choices": ["\u00a0", "ac"], "label": 1}  # white space to the tokenizer
    features = given.task.encode([row], given.tokenizer, answers=True)
    assert [f["slots"] for f in features] == [[], [2]]
    outputs = answers.outputs(given.model, given.task, features, 1)
    assert [len(output) for output in outputs] == [0, 1]
    right = float(outputs[1][0, 0])
    assert given.task.bits(outputs, features, [row]) == pytest.approx(right + math.log2(2**-right + 2**-16))


def test_of_a_long_question_the_end_is_read():
    reader, task = tokenizer(masks=True), Choice(prompt="{} ad", masked=True)  # reads 32 tokens
    row = {"question": " ".join(["ab"] * 80 + ["ac"]), "choices": ["ab abc", "ae"], "label": 0}
    features = task.encode([row], reader, answers=False)
    assert max(len(f["input_ids"]) for f in features) <= 32
    first, second, third, other = (reader.convert_ids_to_tokens(f["input_ids"]) for f in features)
    assert first[-6:] == ["ac", "ad", "[mask]", "ab", "##c", "[eos]"]
    assert second[-6:] == ["ac", "ad", "ab", "[mask]", "[mask]", "[eos]"]
    assert third[-6:] == ["ac", "ad", "ab", "ab", "[mask]", "[eos]"]
    assert other[-4:] == ["ac", "ad", "[mask]", "[eos]"]


def test_it_learns_to_choose(tmp_path):
    given = fresh("bert", tmp_path, learnable(48))
    before = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    training.fit(given, training.Training(epochs=20, learning_rate=5e-3, batch=16))
    after = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    assert after["accuracy"] > max(0.9, before["accuracy"])
    assert after["bits"] < before["bits"] / 2


def test_each_token_of_a_choice_is_counted_once():
    given = fresh("bert", rows=[{"question": "ae", "choices": ["ab ac ad", "af"], "label": 0}])
    counts = Counter(i for ids in encoded(given, given.data.train, given.tokenizer) for i in ids)
    found = {given.tokenizer.convert_ids_to_tokens(i): number for i, number in counts.items()}
    assert {piece: found[piece] for piece in ("ae", "ab", "ac", "af")} == {"ae": 2, "ab": 1, "ac": 1, "af": 1}
    assert found["ad"] == 3  # of the prompt as well, behind each question


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_vocabulary_keeps_what_is_only_ever_hidden(family):
    given = fresh(family, rows=[{"question": "ab ac", "choices": ["dg", "af"], "label": 0}] * 3)
    before = copy.deepcopy(given.model)
    reader = given.tokenizer
    Vocabulary().apply(given)
    kept = given.tokenizer.get_vocab()
    assert {"dg", "af", "[mask]"} <= set(kept)
    assert len(kept) < len(reader)
    (old, *_), (new, *_) = (
        given.task.encode(given.data.train[:1], one, answers=False) for one in (reader, given.tokenizer)
    )
    assert given.tokenizer.convert_ids_to_tokens(new["said"]) == ["dg"]
    with torch.no_grad():
        then, now = (
            m(input_ids=torch.tensor([f["input_ids"]])).logits[0, f["slots"][0]]
            for m, f in ((before, old), (given.model, new))
        )
    held = [reader.get_vocab()[piece] for piece in sorted(kept, key=kept.get)]
    assert now.tolist() == pytest.approx(then[held].tolist(), abs=1e-4)
    assert given.model.get_output_embeddings().bias.shape == (len(kept),)


@pytest.mark.parametrize(
    "method", [Mixed(samples=4), Layerwise(learning_rate=3e-3, samples=6), Distill(epochs=1, batch=4, labels=1.0)],
    ids=lambda method: type(method).__name__,
)  # fmt: skip
def test_methods_read_rows_of_hidden_tokens(method, tmp_path):
    given = fresh("bert", tmp_path, learnable(6))
    Neurons(keep=0.5, importance="taylor", samples=4).apply(given)
    before = answers.evaluate(given.model, given.tokenizer, given.task, given.data.train)
    method.apply(given)
    after = answers.evaluate(given.model, given.tokenizer, given.task, given.data.train)
    assert math.isfinite(after["bits"])
    assert after["bits"] != before["bits"]


def headless(folder):
    """A checkpoint of an encoder that has no head, as sentence-transformers' have none."""
    given = fresh("bert")
    given.model.base_model.save_pretrained(folder)
    given.tokenizer.save_pretrained(folder)
    return folder


def stored(folder, **numbers):
    folder.mkdir()
    for split, number in numbers.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in learnable(number)))
    return folder


RECIPE = """
name: small
steps:
  - vocabulary: {}
  - blocks: {keep: 0.67}
  - neurons: {keep: 0.5, importance: activation, samples: 8}
  - gptq: {bits: 4, samples: 8}
  - rtn: {bits: 4, where: embeddings}
  - distill: {epochs: 1, batch: 8, variants: 1}
  - half: {}
"""


def test_the_road_of_an_encoder(tmp_path, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    source = stored(tmp_path / "data", train=24, validation=8, test=8)
    said = []
    options = laconic.Training(epochs=2, learning_rate=5e-3, batch=16)
    laconic.train(headless(tmp_path / "model"), "choice", source, tmp_path / "run", options=options,
                  progress=False, log=said.append)  # fmt: skip
    assert any("weights of a language model's head, cls.predictions" in line for line in said)
    run = trained.read(tmp_path / "run")
    assert run.task == Choice(masked=True)
    assert run.model.get_output_embeddings().weight is run.model.get_input_embeddings().weight
    again = answers.evaluate(run.model, run.tokenizer, run.task, data.read_splits(source, run.task).validation)
    held = json.loads((tmp_path / "run" / "laconic.json").read_text())
    assert again["bits"] == pytest.approx(held["validation"]["bits"], rel=1e-5)
    (tmp_path / "small.yaml").write_text(RECIPE)
    plan = recipe.Recipe.read(tmp_path / "small.yaml")
    laconic.compress(tmp_path / "run", plan, tmp_path / "out", progress=False, log=str)
    opened = artifact.load(tmp_path / "out").manifest.task
    assert opened == {"name": "choice", "labels": [], "prompt": "{}", "start": None, "masked": True}
    assert tasks.describe(tasks.build(**opened)) == opened
    answered(tmp_path / "out", tmp_path / "run", source)


def answered(out: Path, run: Path, source: Path):
    """The artifact answers in PyTorch, says why not in ONNX Runtime, and is reported on."""
    model = predict.load(out)
    assert model.engine.name == "torch"
    assert "ForMaskedLM has a head that is not named here" in model.note
    with pytest.raises(EngineError, match="use engine='torch'"):
        predict.load(out, engine="onnxruntime")
    rows = data.read_split(source, "choice", "test")
    given = model.predict(["\t".join([row["question"], *row["choices"]]) for row in rows])
    right = sum(s["choice"] == row["choices"][row["label"]] for s, row in zip(given, rows, strict=True))
    report = prove.compare(out, run, timed=False)
    assert report.after.score["accuracy"] == pytest.approx(right / len(rows))
    assert report.after.bits.answers == len(rows)
