"""The pages of the tasks: what stands below the mark is written from code and results, and every example is read."""

import json
import re
import shlex
from itertools import pairwise

import pytest
import typer
import yaml

from benchmarks import pages, task_pages
from benchmarks.datasets import SETTINGS
from laconic import cli, data, tasks
from laconic.data import checks, records
from laconic.recipe import Recipe, built_in
from laconic.tasks import classify, ner, relation

PAGES = list(task_pages.written())
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SUFFIXES = {"json": "jsonl", "csv": "csv", "tsv": "tsv", "conll": "conll", "txt": "txt"}
LABELS = {classify.Classify: ("a",), ner.NER: ("O",), relation.Relation: ("Other",)}


def blocks(name, language):
    return [body for held, body in FENCE.findall(pages.prose(task_pages.page(name))) if held == language]


def commands(name):
    """(command, its options with their values, in order) of every command line."""
    for line in "".join(blocks(name, "")).splitlines():
        _, command, *words = shlex.split(line)
        yield command, list(pairwise(words))


def test_every_task_has_a_page_and_every_page_a_task():
    assert sorted(path.stem for path in (pages.DOCS / "tasks").glob("*.md")) == sorted(tasks.names())


@pytest.mark.parametrize("path", [path for path, _ in PAGES], ids=lambda path: path.stem)
def test_a_page_says_what_code_and_results_say(path):
    assert path.read_text(encoding="utf-8") == dict(PAGES)[path], f"run `{pages.command('tasks')}`"


@pytest.mark.parametrize("name", tasks.names())
def test_the_recipe_is_one_that_the_benchmark_runs(name):
    """As it is built in, or changed as for data of this task, or where none were run, of another."""
    (body,) = blocks(name, "yaml")
    example = Recipe.parse(yaml.safe_load(body))
    assert example.check()
    own = [setting for setting in SETTINGS.values() if setting.task == name] or SETTINGS.values()
    run = [Recipe.read(task_pages.RECIPE).override(list(c)).steps for c in ((), *(s.changes for s in own))]
    assert example.steps in run, f"docs/tasks/{name}.md: the benchmark runs {run}"


EXAMPLES = [
    pytest.param(name, SUFFIXES[language], body, id=f"{name}-{number}-{language}")
    for name in tasks.names()
    for language in SUFFIXES
    for number, body in enumerate(blocks(name, language))
]


@pytest.mark.parametrize(("name", "suffix", "body"), EXAMPLES)
def test_the_example_records_are_read_and_nothing_is_wrong_with_them(name, suffix, body, tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.{suffix}").write_text(body, encoding="utf-8")
    read = data.read_splits(tmp_path, name, progress=False).train
    assert len(read) == (len(body.splitlines()) if suffix == "jsonl" else 2)
    assert [finding for finding in checks.check({"train": read}, name) if finding.level == "error"] == []
    assert all(records.text(example, name).strip() for example in read)


@pytest.mark.parametrize("name", tasks.names())
def test_a_page_has_records_of_its_task_in_json_lines(name):
    shown = {key for body in blocks(name, "json") for line in body.splitlines() for key in json.loads(line)}
    for field, names in records.FIELDS[name].items():
        assert shown & set(names), f"docs/tasks/{name}.md shows no {field}"


@pytest.mark.parametrize("name", tasks.names())
def test_the_road_is_walked_with_options_that_there_are(name):
    """`laconic train --set` names options of the task, `laconic compress --set` steps and options of the recipe."""
    walked = list(commands(name))
    road = [command for command, _ in walked]
    assert [road.index(command) for command in ("prepare", "train", "compress", "evaluate", "predict")] == [*range(5)]
    known = typer.main.get_command(cli.app).commands
    for command, words in walked:
        given = dict(words)
        there = {option for parameter in known[command].params for option in parameter.opts}
        assert {word for pair in words for word in pair if word.startswith("-")} <= there, f"{name}: {command}"
        changes = [value for option, value in words if option == "--set"]
        if command in ("prepare", "train"):
            assert given["--task"] == name
        if command == "train":
            kind = tasks.kind(name)
            made = {"labels": LABELS[kind]} if kind in LABELS else {}
            assert kind(**made, **tasks.named(changes))
        if command == "compress" and given["--recipe"] in built_in():
            assert Recipe.read(given["--recipe"]).override(changes).check()
        elif command == "compress":
            assert given["--recipe"] in (f"{name}.yaml", "gptq.yaml")


def test_the_reference_says_each_option_of_a_task_once():
    said = [
        (task, option)
        for option, (of, _) in pages.entries(pages.reference("### Options of tasks"))
        for task in re.findall(r"`(\w+)`", of)
    ]
    true = [(task, f.name) for task in tasks.names() for f in tasks.offered(task)]
    assert sorted(said) == sorted(true)


@pytest.mark.parametrize("name", tasks.names())
def test_the_main_figure_is_the_tasks(name):
    kind = tasks.kind(name)
    made = kind(labels=LABELS[kind]) if kind in LABELS else kind()
    assert task_pages.listed(name)[1].startswith(f"`{made.main}`")


def test_every_row_of_the_results_is_on_its_tasks_page():
    for row in pages.measured("tasks"):
        shown = task_pages.page(row["task"]).read_text(encoding="utf-8")
        assert f"| {row['dataset']} | {row['name']} | {row['metric']} | {row['score']:.4f} |" in shown
