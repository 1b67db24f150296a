"""From a checkpoint to a run folder: what is refused leaves nothing behind, and several labels are learnt."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from scipy.special import softmax

import laconic
from laconic import answers, finetune, tasks, trained, workspace
from laconic.callbacks import DONE, Watch
from laconic.contracts import Splits
from laconic.errors import ArtifactError, DataError, RecipeError
from laconic.measures.memory import Memory
from laconic.recipe import Recipe
from tests import road
from tests.tiny import tiny
from tests.workshop import USED, examples, tokenizer, work


def train(base, out, task="ner", model="encoder", data="data", **more):
    return laconic.train(base / model, task, base / data, out, progress=False, log=str, **more)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"model": "nothing"}, ArtifactError, "there is no model folder"),
        ({"task": "nerr"}, RecipeError, "did you mean 'ner'"),
        ({"data": "nothing"}, DataError, "no file or folder"),
        ({"seed": -1}, RecipeError, "seed is -1; give a whole number from 0"),
        ({"context": 0}, RecipeError, "context is 0; give a whole number of at least 1"),
        ({"context": 4000}, RecipeError, "context is 4000; the model reads at most 32 tokens"),
        ({"loss_name": "hinge"}, RecipeError, "no loss 'hinge'"),
        ({"multiple": True}, RecipeError, "no option 'multiple'"),
        ({"options": laconic.Training(epochs=float("inf"))}, RecipeError, "epochs is inf"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(base, tmp_path, given, error, words):
    with pytest.raises(error, match=words):
        train(base, tmp_path / "deep" / "run", **given)
    assert not list(tmp_path.iterdir())


def test_a_context_that_cannot_be_is_refused_before_a_weight_is_read(base, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "load_model", lambda *_: pytest.fail("the model was read"))
    with pytest.raises(RecipeError, match="context is -5; give a whole number of at least 1"):
        train(base, tmp_path / "run", context=-5)


def test_an_encoder_that_cannot_write_is_told_of_both_kinds_that_can(base):
    says = "is an encoder .bert., .*; give an encoder-decoder such as T5 or BART, or a decoder such as GPT-2 or Llama"
    with pytest.raises(ArtifactError, match=says):
        finetune.load_model(base / "encoder", tasks.build("translate"), str)
    with pytest.raises(ArtifactError, match="; give a decoder such as GPT-2 or Llama"):
        finetune.load_model(base / "encoder", tasks.build("lm"), str)


@pytest.mark.parametrize(
    ("family", "start", "words"),
    [
        ("t5", "<nosuch>", "start is '<nosuch>', which is no token of the tokenizer"),
        ("gpt2", "[pad]", r"start is '\[pad\]'; .* this model \(gpt2\) is no encoder-decoder, so leave start out"),
        ("t5", None, r"start is null; .* this model \(t5\) is an encoder-decoder, so leave start out"),
    ],
)
def test_a_start_that_no_model_could_begin_with_is_refused(family, start, words, tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "load_model", lambda *_: pytest.fail("the model was read"))
    work(family, head="translate" if family == "t5" else "lm").model.save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "train.jsonl").write_text("".join(f'{{"source": "ab {w}", "target": "{w}"}}\n' for w in USED))
    with pytest.raises(RecipeError, match=words):
        laconic.train(tmp_path / "model", "translate", tmp_path / "train.jsonl", tmp_path / "run", progress=False,
                      log=str, start=start)  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["afile", "afile/run"])
def test_a_file_is_no_run_folder(base, tmp_path, name):
    (tmp_path / "afile").write_text("text")
    with pytest.raises(DataError, match="afile is a file; choose another folder"):
        train(base, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["afile"]


@pytest.mark.parametrize("name", [".", ".."])
def test_the_folder_one_stands_in_is_no_run_folder(base, tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DataError, match="is the folder you are in, or one above it; name a new one"):
        train(base, type(base)(name))
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


@pytest.mark.parametrize(
    ("content", "words"),
    [("[]", "another run"), ("{", "is damaged"), ("[" * 100_000, "is damaged"), ('{"seed": 0}', "another")],
)
def test_a_run_file_that_is_none_is_refused(base, tmp_path, content, words):
    (tmp_path / trained.RUN_FILE).write_text(content)
    with pytest.raises(DataError, match=words):
        train(base, tmp_path)
    assert (tmp_path / trained.RUN_FILE).read_text() == content


def test_a_run_that_breaks_keeps_its_checkpoints_and_goes_on(base, tmp_path, monkeypatch):
    options = laconic.Training(epochs=2, learning_rate=1e-3, batch=8)
    write = workspace.publish

    def breaks(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(workspace, "publish", breaks)
    with pytest.raises(KeyboardInterrupt):
        train(base, tmp_path / "run", options=options)
    assert (tmp_path / ".run.training" / "run.json").is_file()
    monkeypatch.setattr(workspace, "publish", write)
    train(base, tmp_path / "run", options=options)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def changed(folder):
    """The checkpoint as someone trained it on, at the same place."""
    held = load_file(folder / "model.safetensors")
    moved = {name: tensor + 0.01 for name, tensor in held.items()}
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_model_that_changed_at_its_place_is_another_run(base, tmp_path, monkeypatch):
    options = laconic.Training(epochs=2, learning_rate=1e-3, batch=8)
    model = shutil.copytree(base / "encoder", tmp_path / "encoder")
    given = {"model": model, "options": options}
    run = train(base, tmp_path / "run", **given)
    train(base, run, **given)
    goes_on = Watch.on_step_begin

    def breaks(watch, args, *_, **__):
        if list(Path(args.output_dir).glob(f"*/{DONE}")):
            raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "on_step_begin", breaks)
    with pytest.raises(KeyboardInterrupt):
        train(base, tmp_path / "broken", **given)
    monkeypatch.setattr(Watch, "on_step_begin", goes_on)
    changed(model)
    with pytest.raises(DataError, match="holds another run"):
        train(base, run, **given)
    with pytest.raises(
        DataError, match=r"broken\.training holds the work of a run that did not end, with another content"
    ):
        train(base, tmp_path / "broken", **given)  # nothing goes on from checkpoints of the other model


def test_a_run_of_a_record_that_does_not_know_the_content_is_done(base, tmp_path):
    run = train(base, tmp_path / "run", options=laconic.Training(epochs=1, batch=8))
    held = json.loads((run / trained.RUN_FILE).read_text())
    assert held.pop("content")
    (run / trained.RUN_FILE).write_text(json.dumps(held))
    train(base, run, options=laconic.Training(epochs=1, batch=8))
    assert json.loads((run / trained.RUN_FILE).read_text()) == held


def test_texts_that_do_not_fit_are_recorded_and_noted(base, tmp_path, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    shutil.copytree(base / "data", tmp_path / "data")
    for split in ("validation", "test"):
        with (tmp_path / "data" / f"{split}.jsonl").open("a") as file:
            file.write(json.dumps({"tokens": ["ab", "j" * 40], "tags": ["O", "O"]}) + "\n")  # letter by letter
    said, options = [], laconic.Training(epochs=1, learning_rate=1e-3, batch=8)
    given = {"options": options, "progress": False, "log": said.append}
    run = laconic.train(base / "encoder", "ner", tmp_path / "data", tmp_path / "run", **given)
    words = "1 of 13 texts do not fit in the 32 tokens that the model reads; what did not fit was cut off"
    assert json.loads((run / trained.RUN_FILE).read_text())["validation"]["cut"] == words
    assert f"validation: {words}" in said
    low = Recipe.parse({"steps": [{"rtn": {"bits": 4}}]})
    laconic.compress(run, low, tmp_path / "out", progress=False, log=str)
    report = laconic.compare(tmp_path / "out", run, timed=False)
    assert report.notes == [f"{name}: {words}." for name in ("original", "laconic")]


def several(path, number=60):
    """Two labels, each for a word that is in the text or is not."""
    rows = []
    for i in range(number):
        words = [USED[(7 * i + k) % 20 + 4] for k in range(3)]
        label = []
        for name, word, every in (("x", USED[0], 2), ("y", USED[1], 3)):
            if i % every == 0:
                words.append(word)
                label.append(name)
        rows.append({"text": " ".join(words), "label": label})
    path.mkdir(parents=True)
    for name in ("train", "validation"):
        (path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def test_several_labels_are_learnt(base, tmp_path):
    rows = several(tmp_path / "data")
    options = laconic.Training(epochs=30, learning_rate=2e-3, batch=10)
    run = train(base, tmp_path / "run", "classify", data=tmp_path / "data", options=options, multiple=True)
    scores = json.loads((run / trained.RUN_FILE).read_text())["validation"]
    assert scores["micro_f1"] > 0.9
    loaded = laconic.load(run, engine="torch")
    assert loaded.task.multiple
    assert sum(said == row["label"] for said, row in zip(loaded.answer(rows), rows, strict=True)) > 50


def test_several_labels_for_a_task_that_takes_one_are_refused(base, tmp_path):
    several(tmp_path / "data")
    with pytest.raises(DataError, match="is a list; train with multiple labels, or give one"):
        train(base, tmp_path / "run", "classify", data=tmp_path / "data")
    with pytest.raises(RecipeError, match="cross_entropy takes one label an example, not several"):
        train(base, tmp_path / "run", "classify", data=tmp_path / "data", multiple=True, loss_name="cross_entropy")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(("task", "head"), [("ner", "tokens"), ("classify", "sequence")])
@pytest.mark.parametrize("loss", ["label_smoothing", "focal", "binary_cross_entropy"])
def test_every_loss_trains_every_task_with_one_label(base, tmp_path, task, head, loss):
    road.dataset(tmp_path / "data", head)
    options = laconic.Training(epochs=1, learning_rate=1e-3, batch=8)
    run = train(base, tmp_path / "run", task, data=tmp_path / "data", options=options, loss_name=loss)
    held = json.loads((run / trained.RUN_FILE).read_text())
    assert held["task"]["loss_name"] == loss
    assert 0 <= held["validation"][trained.read(run).task.main] <= 1


def said(run, texts):
    """Mean logits of a run folder on texts."""
    source = trained.read(run)
    features = source.task.encode(texts, source.tokenizer, answers=False)
    return np.concatenate(answers.outputs(source.model, source.task, features, 1))


def test_teachers_are_learnt_in_place_of_labels(base, tmp_path):
    """Taught by two that hardly know the labels, a model answers texts without labels as their mean does."""
    sure = laconic.Training(epochs=15, learning_rate=2e-3, batch=8)
    unsure = laconic.Training(epochs=2, learning_rate=2e-3, batch=8)
    teachers = [train(base, tmp_path / f"t{seed}", options=unsure, seed=seed) for seed in (1, 2)]
    texts = [{"tokens": e["tokens"]} for e in examples("tokens", 30, seed=9)]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    given = {"options": sure, "teachers": teachers, "unlabelled": tmp_path / "texts.jsonl", "seed": 3}
    student = train(base, tmp_path / "student", **given)
    labelled = train(base, tmp_path / "labelled", options=sure, seed=3)
    mean = sum(softmax(said(t, texts), axis=-1) for t in teachers) / 2
    far = [np.abs(softmax(said(one, texts), axis=-1) - mean).mean() for one in (student, labelled, *teachers)]
    assert far[0] < 0.3 * far[1]
    assert far[0] < 0.7 * min(far[2:])
    held = json.loads((student / trained.RUN_FILE).read_text())
    assert held["teachers"] == [str(t) for t in teachers]
    assert held["unlabelled"] == str(tmp_path / "texts.jsonl")
    with pytest.raises(DataError, match="another run"):
        train(base, tmp_path / "student", **{**given, "teachers": teachers[:1]})
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts[1:]))
    with pytest.raises(DataError, match="another run"):
        train(base, tmp_path / "student", **given)  # other texts of the same name


def test_a_teacher_of_equal_weights_and_another_config_is_another_one(base, tmp_path):
    once = laconic.Training(epochs=1, batch=8)
    teacher = train(base, tmp_path / "teacher", options=once)
    given = {"options": once, "teachers": teacher}
    run = train(base, tmp_path / "run", **given)
    held = json.loads((run / trained.RUN_FILE).read_text())
    config = json.loads((teacher / "config.json").read_text())
    assert config["layer_norm_eps"] != 0.01
    (teacher / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 0.01}))
    with pytest.raises(DataError, match="another run"):
        train(base, run, **given)
    del held["taught_as"]
    (run / trained.RUN_FILE).write_text(json.dumps(held))
    assert train(base, run, **given) == run  # a record that does not know it is taken at its word


def test_teachers_that_can_not_teach_are_refused(base, tmp_path):
    road.dataset(tmp_path / "texts", "sequence")
    other = train(base, tmp_path / "other", "classify", data=tmp_path / "texts", options=laconic.Training(epochs=1))
    with pytest.raises(RecipeError, match=r"the teacher .*other has another casing: .*, where this run has"):
        train(base, tmp_path / "run", teachers=other)
    with pytest.raises(RecipeError, match="loss_name is 'focal', but with teachers their answers are learnt"):
        train(base, tmp_path / "run", teachers=[other], loss_name="focal")
    with pytest.raises(RecipeError, match="give a teacher as well"):
        train(base, tmp_path / "run", unlabelled=tmp_path / "texts")
    with pytest.raises(ArtifactError, match="there is no folder"):
        train(base, tmp_path / "run", teachers=[tmp_path / "nothing"])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("change", [{"intermediate_size": 48}, {"num_hidden_layers": 4}])
def test_a_config_that_contradicts_its_weights_is_refused(base, tmp_path, change):
    """Otherwise the weights that do not fit would be drawn at random, and the model would train from noise."""
    shutil.copytree(base / "encoder", tmp_path / "encoder")
    config = tmp_path / "encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(ArtifactError, match=r"of another shape than config\.json says, bert\.encoder"):
        train(base, tmp_path / "run", model=tmp_path / "encoder")
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


@pytest.mark.parametrize(
    ("words", "other", "cut"),
    [("天气很好", "good weather today", "zh"), ("good weather", "今天天气很好吗我的朋友们", "13a")],
)
def test_bleu_counts_characters_where_what_is_written_is_chinese(words, other, cut):
    """By itself, for a reply as for a translation; what is read says nothing of it."""
    rows = {
        "translate": {"source": other, "target": words},
        "dialogue": {"turns": [{"speaker": "user", "text": other}, {"speaker": "assistant", "text": words}]},
    }
    for task, row in rows.items():
        given = finetune._fitting(task, Splits([row], [row], "0" * 64), tokenizer(), tiny("llama").config)
        assert tasks.build(task, labels=(), **given).tokenize == cut


def test_a_task_without_windows_reads_as_much_of_a_text_as_is_asked_for(base, tmp_path):
    read = [trained.read(train(base, tmp_path / f"{n}", context=n)).tokenizer.model_max_length for n in (None, 7)]
    assert read == [32, 7]
