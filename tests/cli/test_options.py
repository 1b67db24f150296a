"""Every option of the commands that train reaches what it is an option of; one that is never used is found."""

import inspect
import json
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

import laconic.run
from laconic import cli, finetune, pretrain, prove, tasks
from laconic.cli import compress as compress_command
from laconic.cli import pretrain as pretrain_command
from laconic.cli import train as train_command
from laconic.recipe import Recipe
from tests.tiny import config
from tests.workshop import tokenizer

SHOWN = {"quiet", "as_json"}
TRAIN = {
    "epochs": 1.5, "learning_rate": 3e-3, "batch": 7, "optimizer": "sgd", "loss": "focal", "weight_decay": 0.25,
    "warmup": 0.5, "clip": 2.5, "accumulate": 3, "precision": "bfloat16", "patience": 4, "multiple": True,
    "casing": False, "context": 64, "overlap": 0.5, "other": "None", "out_of_scope": "else", "teacher": "runs/teacher",
    "unlabelled": "texts.jsonl", "seed": 5,
}  # fmt: skip
CALLED = {"loss": "loss_name", "teacher": "teachers"}  # by another name in Python


def optional(module):
    """Names of a command's options that have a default."""
    given = inspect.signature(module.command).parameters.values()
    return {p.name for p in given if p.default is not p.empty}


def words(options):
    """Options as they are typed."""
    typed = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        typed += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return typed


def call(*arguments):
    ended = CliRunner().invoke(cli.app, [str(word) for word in arguments])
    assert ended.exit_code == 0, ended.output
    return ended


def test_every_option_of_train_reaches_training(tmp_path, monkeypatch):
    asked = {}

    def train(model, task, data, out, **given):
        asked.update(given, model=model, task=task, data=data, out=out)
        learnt(out, {"name": "ner"}, validation={"accuracy": 0.5})

    monkeypatch.setattr(finetune, "train", train)
    assert set(TRAIN) | SHOWN | {"settings"} == optional(train_command)
    fixed = {"model": "MODEL", "task": "ner", "data": "DATA", "out": tmp_path / "run"}
    ended = call(
        "train", "MODEL", "--task", "ner", "--data", "DATA", "-o", tmp_path / "run", "-q", "--json", *words(TRAIN),
        "--set", "beams=4", "--set", "prompt='Say: {}'",
    )  # fmt: skip
    reached = {**asked, **asked["settings"], **asdict(asked["options"])}
    wanted = {CALLED.get(name, name): value for name, value in TRAIN.items()}
    wanted |= {"teachers": [Path("runs/teacher")], "unlabelled": Path("texts.jsonl"), "progress": False, **fixed}
    wanted |= {"beams": 4, "prompt": "Say: {}"}
    assert asked["settings"].keys() <= wanted.keys()
    assert {name: reached.get(name) for name in wanted} == wanted
    assert json.loads(ended.stdout) == {"accuracy": 0.5}


def learnt(folder, task, model="bert", validation=None):
    """As much of a run folder as the command reads."""
    folder.mkdir()
    config(model).save_pretrained(folder)
    save_file({}, folder / "model.safetensors")
    tokenizer().save_pretrained(folder)
    (folder / "laconic.json").write_text(json.dumps({"task": task, "validation": validation or {}}))


def next_changes(monkeypatch, out, task, model):
    """What `laconic train` would change of `balanced` for a model that learnt a task."""
    monkeypatch.setattr(finetune, "train", lambda *_, **__: learnt(out, task, model))
    ended = call("train", "MODEL", "--task", task["name"], "--data", "DATA", "-o", out)
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("next: ")]
    _, run, *words = shlex.split(line.removeprefix("next: laconic"))
    assert (run, words[:4]) == (str(out), ["--recipe", "balanced", "-o", "OUT"])
    assert words[4::2] == ["--set"] * len(words[5::2])
    return words[5::2]


def page_recipe(task):
    """The recipe on a task's page."""
    page = (Path(__file__).parents[2] / "docs" / "tasks" / f"{task}.md").read_text()
    return Recipe.parse(yaml.safe_load(page.split("## Recipe")[1].split("```yaml\n")[1].split("```")[0]))


MODELS = dict.fromkeys(("lm", "dialogue", "choice", "code", "control"), "llama")  # that the recipe of a page is for
MODELS |= dict.fromkeys(("translate", "summarize", "span_corruption"), "t5")


@pytest.mark.parametrize("task", sorted(tasks.names()))
def test_what_comes_next_is_the_recipe_of_the_tasks_page(tmp_path, monkeypatch, task):
    changes = next_changes(monkeypatch, tmp_path / "run", {"name": task}, MODELS.get(task, "bert"))
    assert Recipe.read("balanced").override(changes).steps == page_recipe(task).steps


@pytest.mark.parametrize(
    ("task", "model", "page"),
    [
        ({"name": "classify"}, "gpt2", "lm"),  # of a decoder nothing is cut, whatever it learnt
        ({"name": "summarize", "start": None}, "llama", "lm"),
        ({"name": "dialogue", "start": "[pad]"}, "t5", "span_corruption"),
    ],
)
def test_what_comes_next_is_for_the_kind_of_model(tmp_path, monkeypatch, task, model, page):
    changes = next_changes(monkeypatch, tmp_path / "run", task, model)
    assert Recipe.read("balanced").override(changes).steps == page_recipe(page).steps


def test_an_encoder_that_chooses_keeps_what_its_page_says(tmp_path, monkeypatch):
    changes = next_changes(monkeypatch, tmp_path / "run", {"name": "choice", "masked": True}, "bert")
    page = (Path(__file__).parents[2] / "docs" / "tasks" / "choice.md").read_text()
    assert f"(`{' '.join(f'--set {change}' for change in changes)}`)" in page


def test_an_option_of_a_task_that_is_not_given_is_left_to_the_task(tmp_path, monkeypatch):
    asked = {}

    def train(*_, **given):
        asked.update(given)
        learnt(tmp_path / "run", {"name": "ner"})

    monkeypatch.setattr(finetune, "train", train)
    call("train", "MODEL", "--task", "ner", "--data", "DATA", "-o", tmp_path / "run")
    assert set(asked) == {"options", "seed", "progress", "log", "teachers", "unlabelled", "settings"}
    assert asked["settings"] == {}


@pytest.mark.parametrize("texts", ["--unlabelled texts.jsonl", "--no-unlabelled", ""])
def test_every_option_of_compress_reaches_the_run(tmp_path, monkeypatch, texts):
    asked = {}

    def compress(source, recipe, out, **given):
        asked.update(given, source=source, recipe=recipe, out=out)
        return laconic.run.Result(Path(out))

    monkeypatch.setattr(laconic.run, "compress", compress)
    monkeypatch.setattr(prove, "evidence", lambda *_, **__: pytest.fail("--no-report was given"))
    assert optional(compress_command) == {
        "data", "unlabelled", "no_unlabelled", "settings", "steps", "dry_run", "report", *SHOWN
    }  # fmt: skip
    given = ("compress", tmp_path, "--recipe", "balanced", "-o", tmp_path / "out", "--no-report", "-q", "--steps", "s")
    call(*given, "--data", "DATA", "--set", "1.min_count=5", "--set", "seed=7", *texts.split())
    assert asked["unlabelled"] == {"--no-unlabelled": False, "": None}.get(texts, "texts.jsonl")
    assert (asked["data_source"], asked["steps"], asked["progress"]) == ("DATA", Path("s"), False)
    assert asked["recipe"].steps[0].options["min_count"] == 5
    assert asked["recipe"].seed == 7
    assert (asked["source"], asked["out"]) == (tmp_path, tmp_path / "out")


def test_a_plan_is_of_the_data_and_texts_that_are_given(tmp_path, monkeypatch):
    asked = []

    def plan(*given):
        asked.extend(given)
        return [{"step": "original", "options": {}, "bytes": 5_000_000}]

    monkeypatch.setattr(laconic.run, "plan", plan)
    given = ("compress", tmp_path, "--recipe", "tiny", "-o", "out", "--data", "DATA", "--unlabelled", "texts.jsonl")
    ended = call(*given, "--dry-run", "--json")
    assert asked[2:] == ["DATA", "texts.jsonl"]
    assert json.loads(ended.stdout)[0]["step"] == "original"


def test_texts_and_no_texts_exclude_one_another(tmp_path):
    given = ["compress", tmp_path, "--recipe", "tiny", "-o", "out", "--unlabelled", "a.jsonl", "--no-unlabelled"]
    ended = CliRunner().invoke(cli.app, [str(word) for word in given])
    assert ended.exit_code == 1
    assert "leave one out" in ended.stderr


def test_every_option_of_pretrain_reaches_it(tmp_path, monkeypatch):
    asked = {}

    def made(objective, config, text, out, **given):
        asked.update(given, objective=objective, config=config, text=text)
        out.mkdir()
        figures = {"validation": {"loss": 1.0}, "speed": {"tokens_per_second": 9.0, "model_flops_utilization": 0.5}}
        (out / pretrain.RECORD).write_text(json.dumps(figures))

    monkeypatch.setattr(pretrain, "pretrain", made)
    assert {"source", "seed", *SHOWN} == optional(pretrain_command)
    given = ("pretrain", "--objective", "mlm", "--config", "tiny.yaml", "--text", "TEXT", "-o", tmp_path / "m")
    call(*given, "--from", "ENCODER", "--seed", 3, "-q")
    wanted = {"objective": "mlm", "config": Path("tiny.yaml"), "text": "TEXT", "source": "ENCODER", "seed": 3}
    assert {name: asked[name] for name in wanted} == wanted
    assert asked["progress"] is False


@pytest.mark.parametrize(("name", "data"), [("train.txt", "{text}"), ("notes.txt", "DATA")])
def test_what_comes_after_pretraining_is_data_that_train_takes(tmp_path, monkeypatch, name, data):
    """A folder that is read whole has no splits, which the next command would refuse."""
    text = tmp_path / "text"
    text.mkdir()
    (text / name).write_text("one\n")

    def made(objective, config, text, out, **_):
        out.mkdir()
        figures = {"validation": {"loss": 1.0}, "speed": {"tokens_per_second": 9.0, "model_flops_utilization": 0.5}}
        (out / pretrain.RECORD).write_text(json.dumps(figures))

    monkeypatch.setattr(pretrain, "pretrain", made)
    given = ("--objective", "clm", "--config", "tiny.yaml", "--text", text, "-o", tmp_path / "m")
    said = call("pretrain", *given).stderr.splitlines()[-1]
    assert said == f"next: laconic train {tmp_path / 'm'} --task lm --data {data.format(text=text)} -o RUN"
