"""The whole road of a decoder: text, pretrained, fine-tuned, compressed with tied embeddings, measured, asked."""

import json

import pytest

import laconic
from laconic import artifact, predict, prove, trained
from laconic.errors import ArtifactError, RecipeError
from laconic.measures.memory import Memory
from laconic.pretrain import config, pretrain
from laconic.report import changes, page, terminal
from tests.workshop import examples

MODEL = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True,
}  # fmt: skip
STEPS = [
    {"vocabulary": {}}, {"blocks": {"keep": 0.67, "samples": 8}},
    {"neurons": {"keep": 0.5, "samples": 8}}, {"gptq": {"bits": 4, "samples": 8}},
    {"rtn": {"bits": 6, "where": "embeddings"}}, {"distill": {"epochs": 1, "batch": 8}}, "half",
]  # fmt: skip


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """A pretrained and fine-tuned `run` of texts, some longer than a window, and the artifact `out`."""
    folder = tmp_path_factory.mktemp("road")
    (folder / "data").mkdir()
    for seed, (split, number) in enumerate({"train": 60, "validation": 16, "test": 16}.items()):
        rows = examples("lm", number, seed)
        rows[0] = {"text": " ".join(row["text"] for row in rows[:9])}
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "data" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    more = [row["text"] for row in examples("lm", 800)] + ["seven times seventy seven is not eleven"] * 40
    (folder / "text.txt").write_text("\n\n".join(more), encoding="utf-8")  # words that the data lack
    plan = config.parse(
        {
            "model": MODEL, "tokenizer": {"kind": "bpe", "vocabulary": 320},
            "training": {"block": 32, "batch": 8, "steps": 40, "learning_rate": 5e-3},
        }, "here", scratch=True,
    )  # fmt: skip
    pretrain("clm", plan, folder / "text.txt", folder / "model", progress=False, log=str)
    options = laconic.Training(epochs=1, learning_rate=1e-3, batch=8)
    laconic.train(
        folder / "model", "lm", folder / "data", folder / "run", options=options, progress=False, log=str, context=32
    )
    recipe = laconic.Recipe.parse({"steps": STEPS})
    laconic.compress(folder / "run", recipe, folder / "out", progress=False, log=str)
    return folder


def test_the_artifact_is_small_tied_and_says_its_task(road):
    opened = artifact.load(road / "out")
    assert opened.manifest.task == {"name": "lm", "labels": [], "context": 32, "overlap": 0.25}
    words, head = opened.model.get_input_embeddings(), opened.model.get_output_embeddings()
    assert head.weight.equal(words.weight)
    assert len(words.weight) < 320
    assert opened.manifest.measures["validation"]["bits_per_byte"] > 0


def test_the_report_has_bits_per_byte_and_an_interval(road, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    report = prove.compare(road / "out", road / "run", timed=False)
    before, after = report.before, report.after
    assert report.main == "saved"
    assert after.differences["saved"].low <= after.differences["saved"].value <= after.differences["saved"].high
    assert after.score["saved"] == pytest.approx(1 - after.score["bits_per_byte"] / 8)
    texts = [json.loads(line)["text"] for line in (road / "data" / "test.jsonl").read_text().splitlines()]
    assert before.bits.answers == sum(len(text.encode()) for text in texts)
    assert before.bits.unit == "byte"
    assert before.bits.bits_per_answer == pytest.approx(before.score["bits_per_byte"])
    assert after.flips is None
    assert after.agreement is None
    lines = {line.label: line for line in changes.changes(report)}
    assert len(lines) == len(changes.changes(report))
    step = after.score["bits_per_byte"] - before.score["bits_per_byte"]
    assert lines["Bits per byte"].change.replace("−", "-") == f"{step:+.4f}"
    assert "points" in lines["Saved"].change
    assert "Bits per byte" in page.render(report)
    terminal.draw(report)


def test_texts_are_timed_once_however_many_windows_they_have(road):
    one = prove.candidate("x", road / "run", [{"text": "ab " * 80}, {"text": "ab"}], "torch")
    assert len(one.features) > 2
    assert len(prove.contestant("x", one, "torch").features) == 2


def test_predictions_are_bits_of_each_text(road):
    model = predict.load(road / "out")
    assert model.engine.name == "torch"
    usual, odd = model.predict(["ab ba ac", "你好 !!"])
    assert (usual["text"], usual["bytes"], odd["bytes"]) == ("ab ba ac", 8, 9)
    assert odd["bits_per_byte"] > usual["bits_per_byte"]


def test_positions_that_are_not_learned_cannot_be_trimmed(road, tmp_path):
    recipe = laconic.Recipe.parse({"steps": [{"positions": {"tokens": 8}}]})
    with pytest.raises(laconic.errors.AnatomyError, match="learns no positions"):
        laconic.compress(road / "run", recipe, tmp_path / "o", steps=tmp_path / "s", progress=False, log=str)


def test_a_task_with_labels_needs_them_and_this_one_has_none(road, tmp_path):
    held = json.loads((road / "run" / "laconic.json").read_text())
    for task, error in (({"name": "ner", "labels": []}, "no labels"), ({"name": "lm", "labels": ["x"]}, "has none")):
        with pytest.raises((ArtifactError, RecipeError), match=error):
            trained._task(task, tmp_path)
    assert held["task"]["labels"] == []
