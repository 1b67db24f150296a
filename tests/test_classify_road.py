"""The whole road of classification by decoders and of Chinese: what has no padding token, and words without spaces."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

import laconic
from laconic import prove, trained
from laconic.measures.memory import Memory
from tests import road
from tests.tiny import tiny
from tests.workshop import USED, tokenizer

OPTIONS = laconic.Training(epochs=12, learning_rate=3e-3, batch=8)
HAN = "味道不错很差快慢了我在北京上海人名大学生"


def checkpoint(family, folder):
    """A language model whose tokenizer and config know no padding."""
    model = tiny(family, head="lm")
    model.config.pad_token_id = model.generation_config.pad_token_id = None
    model.save_pretrained(folder)
    plain = tokenizer()
    plain.pad_token = None
    plain.save_pretrained(folder)
    return folder


def write(folder, make):
    folder.mkdir(parents=True)
    for seed, (split, number) in enumerate({"train": 64, "validation": 16, "test": 16}.items()):
        rows = make(number, np.random.default_rng(seed))
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def ended(number, rng):
    """Texts of different lengths whose last word says their label."""
    rows = [[USED[w] for w in rng.integers(0, len(USED), 2 + i % 6)] for i in range(number)]
    for i, words in enumerate(rows):
        words[-1] = USED[i % 3]
    return [{"text": " ".join(words), "label": ("a", "b", "oos")[i % 3]} for i, words in enumerate(rows)]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def decoder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    checkpoint(request.param, folder / "model")
    write(folder / "data", ended)
    laconic.train(
        folder / "model", "classify", folder / "data", folder / "run", options=OPTIONS, progress=False, log=str
    )
    steps = ["vocabulary", {"neurons": {"keep": 0.5, "samples": 8}}, {"rtn": {"bits": 4, "where": "all"}}]
    steps += [{"distill": {"epochs": 2, "batch": 8, "variants": 1}}, "half"]
    laconic.compress(folder / "run", laconic.Recipe.parse({"steps": steps}), folder / "out", progress=False, log=str)
    return folder


def test_a_decoder_learns_to_classify(decoder):
    for name in ("run", "out"):
        source = trained.read(decoder / name)
        assert source.tokenizer.pad_token == "[eos]"
        assert source.model.config.pad_token_id == source.tokenizer.pad_token_id
    held = json.loads((decoder / "run" / trained.RUN_FILE).read_text())
    assert held["validation"]["accuracy"] > 0.9
    assert held["task"]["out_of_scope"] == "oos"
    assert held["validation"]["out_of_scope_recall"] > 0.8


def test_padding_does_not_move_a_decoders_answer(decoder):
    texts = [{"text": row["text"]} for row in ended(9, np.random.default_rng(5))]
    for name in ("run", "out"):
        loaded = laconic.load(decoder / name)
        assert loaded.engine.name == "torch"
        features = loaded.task.encode(texts, loaded.tokenizer, answers=False)
        together, alone = loaded.outputs(features), loaded.outputs(features, batch=1)
        assert np.abs(np.stack(together) - np.stack(alone)).max() < 1e-4
        assert len({len(f["input_ids"]) for f in features}) > 1


def test_a_decoder_is_measured(decoder, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    report = prove.compare(decoder / "out", decoder / "run", timed=False)
    assert {"in_scope_accuracy", "out_of_scope_precision", "mcc"} <= set(report.after.score)


@pytest.fixture(scope="module")
def chinese(tmp_path_factory):
    """A BERT of Chinese characters."""
    folder = tmp_path_factory.mktemp("chinese")
    pieces = {piece: i for i, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted(set(HAN))])}
    raw = Tokenizer(models.WordPiece(pieces, unk_token="[UNK]"))
    raw.normalizer, raw.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=raw, **special, model_max_length=32).save_pretrained(folder / "model")
    set_seed(0)
    held = {**road.CONFIG.to_dict(), "vocab_size": len(pieces), "pad_token_id": 0}
    BertModel(BertConfig(**held)).save_pretrained(folder / "model")
    return folder


def train(folder, task, make):
    source = write(folder / f"{task}-data", make)
    run = laconic.train(folder / "model", task, source, folder / task, options=OPTIONS, progress=False, log=str)
    steps = [{"rtn": {"bits": 4, "where": "all"}}, {"distill": {"epochs": 2, "batch": 8, "variants": 1}}, "half"]
    recipe = laconic.Recipe.parse({"steps": steps})
    return run, laconic.compress(run, recipe, folder / f"{task}-out", progress=False, log=str).folder


def test_chinese_texts_are_classified(chinese):
    def rated(number, rng):
        words = [[HAN[i] for i in rng.integers(6, len(HAN), 4 + k % 5)] for k in range(number)]
        return [
            {"text": "".join([*w[:2], "味道", "差错"[k % 2], *w[2:]]), "label": ("bad", "good")[k % 2]}
            for k, w in enumerate(words)
        ]

    run, out = train(chinese, "classify", rated)
    assert json.loads((run / trained.RUN_FILE).read_text())["validation"]["accuracy"] > 0.9
    said = laconic.load(out).predict(["我在味道错北京", "我在味道差北京"])
    assert [row["label"] for row in said] == ["good", "bad"]


def test_chinese_characters_are_tagged(chinese):
    def named(number, rng):
        rows = []
        for k in range(number):
            place = ("北京", "上海")[k % 2]
            before = [HAN[i] for i in rng.integers(0, 8, 1 + k % 4)]
            rows.append({"tokens": [*before, *place, "人"], "tags": ["O"] * len(before) + ["B-LOC", "I-LOC", "O"]})
        return rows

    run, out = train(chinese, "ner", named)
    assert trained.read(run).task.characters
    assert json.loads((run / trained.RUN_FILE).read_text())["validation"]["entity_f1"] > 0.9
    (said,) = laconic.load(out).predict("味道 差上海人")
    assert said["tokens"] == list("味道差上海人")
    assert [entity["text"] for entity in said["entities"]] == ["上海"]
