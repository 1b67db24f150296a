"""Masked language modelling: bits of hidden words by brute force, what is hidden, windows, lost bytes, the road."""

import json
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers
from transformers import BartConfig, PreTrainedTokenizerFast

import laconic
from laconic import answers, checkpoint, data, predict, prove, recipe, trained, training
from laconic.calibration.encoded import encoded
from laconic.data import words
from laconic.errors import ArtifactError, RecipeError
from laconic.measures.memory import Memory
from laconic.tasks.mlm import MLM
from tests.tasks.test_choice_of_encoders import FAMILIES
from tests.workshop import USED, tokenizer, work

TEXTS = [{"text": " ".join(USED[i * 7 % 30] for i in range(n))} for n in (7, 1, 20)]
TAUGHT = [{"text": " ".join([USED[i % 5]] * 8)} for i in range(40)]  # a hidden word is that around it


def fresh(family="bert", folder=None):
    made = work(family, folder, head="lm")
    made.task, made.tokenizer = MLM(mask=0.3), tokenizer(masks=True)
    made.teacher = replace(made.teacher, tokenizer=made.tokenizer)
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_bits_are_those_of_hidden_words_given_the_others(family):
    given = fresh(family)
    features = given.task.encode(TEXTS, given.tokenizer, answers=False)
    outputs = answers.outputs(given.model, given.task, features, 1)
    for example, filled in zip(TEXTS, given.task.predict(outputs, features, TEXTS), strict=True):
        said = example["text"].split()
        spans = words.spans(example["text"])
        places = [spans.index(span) for span in given.task.hidden(example["text"])]
        assert len(places) == max(1, round(0.3 * len(said)))
        ids = given.tokenizer.convert_tokens_to_ids(said)
        shown = [given.tokenizer.mask_token_id if i in places else token for i, token in enumerate(ids)]
        with torch.no_grad():
            logits = given.model(input_ids=torch.tensor([[*shown, given.tokenizer.eos_token_id]])).logits[0].double()
        costs = [-float(logits[i].log_softmax(-1)[ids[i]]) / math.log(2) for i in places]
        assert filled["bits"] == pytest.approx(sum(costs), rel=1e-4)
        assert (filled["tokens"], filled["lost"]) == (len(places), 0)
        assert filled["right"] == sum(int(logits[i].argmax()) == ids[i] for i in places)
    found = given.task.score(given.task.predict(outputs, features, TEXTS), TEXTS)
    amounts = sum(given.task.answers(example) for example in TEXTS)
    total = given.task.bits(outputs, features, TEXTS)
    assert found["bits_per_byte"] == pytest.approx(total / amounts)
    assert found["saved"] == pytest.approx(1 - total / amounts / 8)
    assert found["perplexity"] == pytest.approx(2 ** (total / sum(len(f["slots"]) for f in features)))


def test_what_is_learned_is_what_is_scored():
    given = fresh()
    features = given.task.encode(TEXTS, given.tokenizer, answers=True)
    bare = given.task.encode(TEXTS, given.tokenizer, answers=False)
    assert bare == [{k: v for k, v in f.items() if k != "labels"} for f in features]
    batch = training._Batches(features, training.Training(epochs=1, batch=9), 1, 0)[0]
    loss = answers.task_objective(given.task)(given.model, *batch)
    outputs = answers.outputs(given.model, given.task, bare, 1)
    tokens = sum(len(f["slots"]) for f in features)
    assert loss.item() == pytest.approx(given.task.bits(outputs, bare, TEXTS) * math.log(2) / tokens, rel=1e-4)


@drawn(st.text(alphabet="ab 猫。\n", max_size=60), st.floats(0.01, 0.5), st.integers(0, 9))
def test_the_same_words_are_hidden_whoever_asks(text, mask, seed):
    task = MLM(mask=mask, seed=seed)
    spans, hidden = words.spans(text), task.hidden(text)
    assert hidden == MLM(mask=mask, seed=seed).hidden(text)
    assert set(hidden) <= set(spans)
    assert len(hidden) == (max(1, round(mask * len(spans))) if spans else 0)
    assert task.answers({"text": text}) == sum(len(text[a:b].encode()) for a, b in hidden)


def test_all_pieces_of_a_word_are_hidden_together():
    task, reader = MLM(mask=0.5), tokenizer(masks=True)
    (feature,) = task.encode([{"text": "abca kj"}], reader, answers=False)
    ((start, end),) = task.hidden("abca kj")
    pieces = reader.tokenize("abca kj"[start:end])
    assert reader.convert_ids_to_tokens(feature["said"]) == pieces
    assert len(pieces) > 1
    assert [feature["input_ids"][place] for place in feature["slots"]] == [reader.mask_token_id] * len(pieces)


def test_a_long_text_is_read_in_windows_and_each_hidden_word_said_once():
    task, reader = MLM(mask=0.5, context=9), tokenizer(masks=True)
    text = " ".join(USED[i % 30] for i in range(50))
    features = task.encode([{"text": text}], reader, answers=False)
    assert len(features) == 7
    assert max(len(f["input_ids"]) for f in features) == 9
    said = [piece for f in features for piece in reader.convert_ids_to_tokens(f["said"])]
    assert said == [text[start:end] for start, end in task.hidden(text)]


def test_what_no_token_says_costs_its_bytes():
    task, given = MLM(), fresh()
    given.tokenizer.backend_tokenizer.normalizer = normalizers.Replace("kj", "")
    examples = [{"text": "猫"}, {"text": "kj"}]  # the tokenizer has no token for the one, and drops the other
    features = task.encode(examples, given.tokenizer, answers=False)
    assert [(len(f["slots"]), f["uncoded"]) for f in features] == [(1, [3]), (0, [2])]
    outputs = answers.outputs(given.model, task, features, 1)
    first, second = task.predict(outputs, features, examples)
    assert first["bits"] == pytest.approx(float(outputs[0][0, 0]) + 24)
    assert (first["lost"], second["bits"], second["lost"]) == (3, 16, 2)
    assert task.score([first], examples[:1])["perplexity"] == pytest.approx(2 ** float(outputs[0][0, 0]))


def test_a_token_of_several_words_is_said_once_and_one_dropped_in_part_is_charged_for():
    reader = tokenizer(masks=True)
    reader.backend_tokenizer.normalizer = normalizers.Replace("kj", "")
    (feature,) = MLM().encode([{"text": "abkj"}], reader, answers=False)
    assert (reader.convert_ids_to_tokens(feature["said"]), feature["uncoded"]) == (["ab"], [2])
    pieces = models.Unigram([("[unk]", 0.0), ("[mask]", 0.0), ("猫狗", -1.0), ("鸟", -1.0), ("鱼", -1.0)], unk_id=0)
    special = {"unk_token": "[unk]", "mask_token": "[mask]", "model_max_length": 32}
    joined = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(pieces), **special)
    task = next(t for t in (MLM(mask=0.5, seed=s) for s in range(99)) if t.hidden("猫狗鸟鱼") == [(0, 1), (1, 2)])
    (feature,) = task.encode([{"text": "猫狗鸟鱼"}], joined, answers=False)
    assert (joined.convert_ids_to_tokens(feature["said"]), feature["uncoded"]) == (["猫狗"], [0])


def test_a_cut_vocabulary_counts_hidden_tokens_as_if_they_stood_there():
    given = fresh()
    given.task = MLM(mask=0.5)
    given.data.train[:] = [{"text": "dg dg"}, {"text": "ab ac"}]
    counts = Counter(i for ids in encoded(given, given.data.train, given.tokenizer) for i in ids)
    found = {given.tokenizer.convert_ids_to_tokens(i): number for i, number in counts.items()}
    assert found == {"dg": 2, "ab": 1, "ac": 1, "[eos]": 2}


def test_it_learns_what_is_hidden(tmp_path):
    given = fresh(folder=tmp_path)
    given.data.train[:], given.data.validation[:] = TAUGHT, TAUGHT[:10]
    before = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    training.fit(given, training.Training(epochs=15, learning_rate=5e-3, batch=8))
    after = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    assert after["accuracy"] > max(0.9, before["accuracy"])
    assert after["bits_per_byte"] < before["bits_per_byte"] / 2


@pytest.mark.parametrize(
    ("options", "message"),
    [({"mask": 0}, "mask is 0"), ({"mask": 0.9}, "at most 0.5"), ({"context": 3}, "context is 3"),
     ({"labels": ("a",)}, "a language model has none"), ({"seed": -1}, "seed is -1")],
)  # fmt: skip
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(RecipeError, match=message):
        MLM(**options)


def test_a_tokenizer_without_a_mask_and_models_that_write_are_refused():
    with pytest.raises(RecipeError, match="the tokenizer has no mask"):
        MLM().encode(TEXTS, tokenizer(), answers=False)
    with pytest.raises(ArtifactError, match="is an encoder-decoder"):
        checkpoint.suits(MLM.auto, BartConfig(), "here")


def stored(given, folder):
    """A checkpoint and three splits of texts in which what is hidden can be learned."""
    given.model.save_pretrained(folder / "model")
    given.tokenizer.save_pretrained(folder / "model")
    (folder / "data").mkdir()
    for i, split in enumerate(("train", "validation", "test")):
        some = [{"text": f"{example['text']} {USED[i + 6]}"} for example in TAUGHT[: 24 if i == 0 else 8]]
        lines = [json.dumps(example) + "\n" for example in some]
        (folder / "data" / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")


def test_the_seed_that_hides_words_is_not_the_one_that_trains(tmp_path):
    stored(fresh(), tmp_path)
    given = {"options": laconic.Training(epochs=1), "seed": 4, "settings": {"seed": 3}}
    laconic.train(tmp_path / "model", "mlm", tmp_path / "data", tmp_path / "run", progress=False, log=str, **given)
    run = trained.read(tmp_path / "run")
    assert (run.seed, run.task.seed, run.record["options"]) == (4, 3, {"seed": 3})


RECIPE = """
steps:
  - vocabulary: {}
  - blocks: {keep: 0.67}
  - rtn: {bits: 4, where: linears}
  - distill: {epochs: 1, batch: 8, variants: 1}
  - half: {}
"""


def test_the_road_of_a_masked_model(tmp_path, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    given = fresh()
    stored(given, tmp_path)
    laconic.train(tmp_path / "model", "mlm", tmp_path / "data", tmp_path / "run", progress=False, log=str,
                  options=laconic.Training(epochs=2, learning_rate=5e-3, batch=8), mask=0.3)  # fmt: skip
    run = trained.read(tmp_path / "run")
    assert run.task == MLM(mask=0.3)
    (tmp_path / "small.yaml").write_text(RECIPE)
    laconic.compress(
        tmp_path / "run", recipe.Recipe.read(tmp_path / "small.yaml"), tmp_path / "out", progress=False, log=str
    )
    model = predict.load(tmp_path / "out")
    examples = data.read_split(tmp_path / "data", "mlm", "test")
    shown = model.predict([example["text"] for example in examples])
    report = prove.compare(tmp_path / "out", tmp_path / "run", timed=False)
    assert report.after.bits.data_bits == pytest.approx(sum(row["bits"] for row in shown), rel=1e-4)
    assert report.after.bits.answers == sum(len("".join(row["hidden"])) for row in shown)
    assert report.after.bits.unit == "byte"
    assert report.after.flips is None  # predictions are figures
