"""The documents say what the code does: commands, options, recipes, methods, names, links, and the method to copy."""

import ast
import importlib.util
import inspect
import itertools
import re
import shlex
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import typer
import yaml

import laconic
from benchmarks import pages
from benchmarks.pages import rows
from laconic import engines, errors, methods, recipe, tasks, testing
from laconic.anatomy.families import FAMILIES
from laconic.artifact import folder as artifact_folder
from laconic.artifact import manifest
from laconic.cli import FAILED, INTERRUPTED, app
from laconic.contracts import PROPERTIES
from laconic.data import readers, records
from laconic.errors import LaconicError, RecipeError
from laconic.losses import LOSSES
from laconic.measures.memory import Memory
from laconic.recipe import Recipe
from tests import road
from tests.habits.test_habits import ROWS
from tests.workshop import work

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    p.relative_to(ROOT).as_posix()
    for p in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"))
)
README, REFERENCE, CONTRIBUTING = "README.md", "docs/reference.md", "CONTRIBUTING.md"
ARCHITECTURE = "docs/architecture.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMANDS = typer.main.get_command(app).commands
WRONG = {  # recipe -> the lines in which the README shows how it is refused
    "{steps: [{rtn: {bit: 4}}]}": "step 1 (rtn) has no option 'bit'",
    "{steps: [{rtn: {bits: 4}}, vocabulary]}": "step 2 (vocabulary) would undo",
    "{steps: [{neurons: {keep: 1.5}}]}": "step 1 (neurons): keep is 1.5",
}


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(text(page)) if name == language]


def section(page: str, heading: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    return pages.section(text(page), heading)


def command_lines(page: str) -> list[str]:
    lines = [line.strip() for body in blocks(page, "") for line in body.splitlines()]
    return [line for line in lines if line.startswith("laconic ")]


def spoken(page: str) -> list[str]:
    """Command lines in running text."""
    prose = FENCE.sub("", text(page))
    return [line for line in re.findall(r"`(laconic [^`]+)`", prose) if line.split()[1] not in ("...", "COMMAND")]


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return plain.replace(" ", "-")


def calls(body: str) -> list[tuple[str, list[str]]]:
    """(public name, keywords) of every call of one of Laconic's names in a snippet."""
    found = []
    for node in ast.walk(ast.parse(body)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).removeprefix("laconic.")
            if name.split(".")[0] in laconic.__all__:
                found.append((name, [k.arg for k in node.keywords if k.arg]))
    return found


def public(name: str) -> object:
    first, *rest = name.split(".")
    found = getattr(laconic, first)
    for part in rest:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("line", sorted({c for page in PAGES for c in command_lines(page)}))
def test_command_lines_parse(line):
    _, name, *arguments = shlex.split(line, comments=True)
    assert name in COMMANDS, f"there is no command {name!r}"
    COMMANDS[name].make_context(name, arguments)


@pytest.mark.parametrize("line", sorted({c for page in PAGES for c in spoken(page)}))
def test_commands_in_running_text_exist(line):
    _, name, *words = line.split()
    assert name in COMMANDS, f"there is no command {name!r}"
    known = {option for parameter in COMMANDS[name].params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {w for w in words if w.startswith("-")} <= known | {"--help"}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_reference_has_every_command_with_every_option(name):
    (heading,) = re.findall(rf"^### `laconic {name}\b.*$", text(REFERENCE), re.MULTILINE)
    body = section(REFERENCE, heading)
    options = {o for p in COMMANDS[name].params if p.param_type_name == "option" for o in (*p.opts, *p.secondary_opts)}
    wanted = {o for o in options if o.startswith("--")} - {"--help"}
    if "--multiple" in wanted:
        wanted -= {"--no-multiple"}
    assert wanted <= set(re.findall(r"--[a-z-]+", body)), f"{name}: not in the reference"
    said = {o for first in rows(body) for o in re.findall(r"--?[a-z-]+", first)}
    assert said <= options, f"{name} has no {said - options}"
    assert f"\nlaconic {name}" in body, f"{name} has no example"


def test_the_readme_walks_the_whole_road():
    road = [line.split()[1] for line in command_lines(README)]
    assert road == ["prepare", "train", "compress", "evaluate", "predict", "inspect", "report"]


@pytest.mark.parametrize("name", methods.names())
def test_the_reference_has_every_method_as_it_is(name):
    kind = methods.kind(name)
    _, needs, makes, keeps, source = rows(section(REFERENCE, "## Methods").split("\n### ")[0])[name]
    words = {"all": PROPERTIES, "nothing": frozenset()}
    for said, true in ((needs, kind.needs), (makes, kind.makes), (keeps, kind.keeps)):
        assert words.get(said, frozenset(said.split(", "))) == true
    about = sys.modules[kind.__module__].__doc__
    assert set(re.findall(r"\d{4}\.\d{5}", source)) == set(re.findall(r"\d{4}\.\d{5}", about))
    table = rows(section(REFERENCE, f"#### `{name}`"))
    options = methods.options(name)
    assert set(table) == set(options)
    for option, default in options.items():
        assert table[option][0] == f"`{yaml.safe_dump(default).splitlines()[0]}`", f"{name}: the default of {option}"


def test_the_reference_names_every_unit():
    reference = text(REFERENCE)
    known = [*recipe.built_in(), *engines.PACKAGES, *tasks.names(), *FAMILIES, *LOSSES, *readers.known()]
    known += [m.__name__.rsplit(".", 1)[1] for m in readers.formats()]
    known += [name for task in records.FIELDS.values() for names in task.values() for name in names]
    known += [n for n, e in vars(errors).items() if isinstance(e, type) and issubclass(e, LaconicError)]
    missing = [name for name in known if f"`{name}`" not in reference and f".{name}`" not in reference]
    assert not missing


def test_the_data_table_has_every_field_of_every_task():
    told, task = {}, None
    for line in (
        section(REFERENCE, "## Data").split("| task | fields | also read as |")[1].split("\n\n")[0].splitlines()
    ):
        first, *cells = (set(re.findall(r"`(\w+)`", cell)) for cell in line.split("|")[1:-1] or [""])
        task = next(iter(first), task)
        told.setdefault(task, set()).update(*cells)
    assert set(told) - {None} == set(records.FIELDS)
    for kind, names in records.FIELDS.items():
        wanted = {name for field in names.values() for name in field} | {records.NAMED.get(kind, next(iter(names)))}
        assert wanted <= told[kind], f"{kind}: the Data table lacks {wanted - told[kind]}"


def test_the_reference_has_the_exit_codes():
    table = section(REFERENCE, "## Errors and exit codes")
    assert all(f"\n| {code} | " in table for code in (0, FAILED, 2, INTERRUPTED))


@pytest.mark.parametrize("page", [README, REFERENCE])
def test_recipes_are_accepted(page):
    assert blocks(page, "yaml")
    for body in blocks(page, "yaml"):
        Recipe.parse(yaml.safe_load(body))


@pytest.mark.parametrize("name", recipe.built_in())
def test_the_reference_has_the_built_in_recipes_as_they_are(name):
    steps = []
    for step in Recipe.read(name).steps:
        options = ", ".join(f"{key}: {value}" for key, value in step.options.items())
        steps.append(f"`{step.method}: {{{options}}}`" if options else f"`{step.method}`")
    assert rows(section(REFERENCE, "### Built-in recipes"))[name][1] == " · ".join(steps)


@pytest.mark.parametrize("wrong", WRONG)
def test_the_readme_shows_refusals_as_they_are(wrong):
    with pytest.raises(RecipeError, match=re.escape(WRONG[wrong])) as refused:
        Recipe.parse(yaml.safe_load(wrong))
    assert f"{refused.value}\n" in "".join(blocks(README, ""))


@pytest.mark.parametrize("page", [README, REFERENCE])
def test_python_uses_public_names_as_they_are(page):
    assert blocks(page, "python")
    for body in blocks(page, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom):
                assert node.module == "laconic"
                assert {a.name for a in node.names} <= set(laconic.__all__)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "laconic":
                assert node.attr in laconic.__all__
        for name, keywords in calls(body):
            taken = inspect.signature(public(name)).parameters
            assert set(keywords) <= set(taken), f"{name} takes {', '.join(taken)}"


@pytest.mark.parametrize("page", [README, REFERENCE])
def test_python_runs_as_it_is(page, tmp_path, monkeypatch, capsys):
    """On tiny models that lie where the hub ids point to, seen as folders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    road.dataset(Path("data/ner"))
    for model in ("sentence-transformers/all-MiniLM-L6-v2", "bert-base-cased"):
        road.checkpoint(Path(model))
    for body in blocks(page, "python"):
        exec(compile(body, page, "exec"), {})
    assert "'type'" in capsys.readouterr().out
    assert laconic.load("out").predict("ab")


def test_the_reference_has_the_whole_python_interface():
    table = rows(section(REFERENCE, "## Python"))
    said = {name.split("(")[0]: re.findall(r"\w+", name.split("(")[1]) for name in table}
    for name in laconic.__all__:
        if name == "Recipe":
            assert {"Recipe.read", "Recipe.parse", "recipe.override"} <= set(said)
        else:
            assert said[name] == list(inspect.signature(public(name)).parameters), name


def test_the_architecture_has_the_import_rows():
    table = text(ARCHITECTURE).split("<!-- rows -->")[1].split("\nOne import")[0]
    said = [set(re.findall(r"`(\w+)`", line.split("|")[1])) for line in table.splitlines() if line.startswith("| `")]
    assert said == ROWS
    nodes = re.findall(r'\["(.*?)"\]', blocks(ARCHITECTURE, "mermaid")[0])
    assert [set(node.split(" · ")) for node in nodes] == ROWS


def test_the_architecture_has_the_artifact():
    body = section(ARCHITECTURE, "## The artifact")
    said = rows(body)
    files = {manifest.MANIFEST, artifact_folder.CONFIG, artifact_folder.WEIGHTS, artifact_folder.TOKENIZER}
    assert set(said) == files | {f.name for f in fields(manifest.Manifest)} | {"laconic", "sha256"}
    assert said["laconic"] == [f"schema version, {manifest.SCHEMA}"]
    assert all(f"`{name}`" in said["attention"][0] for name in manifest.ATTENTIONS)


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page):
    for target in LINK.findall(FENCE.sub("", text(page))):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), f"{page}: {target}"
        if anchor and found.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", FENCE.sub("", found.read_text(encoding="utf-8")), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES)
def test_code_in_documents_is_python(page):
    for body in blocks(page, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("laconic."):
                assert importlib.util.find_spec(node.module), f"{page}: {node.module}"


def test_contributing_names_every_contract_check():
    checks = {n for n, f in vars(testing).items() if inspect.isfunction(f) and not n.startswith("_")}
    helpers = {"small", "logits", "fingerprint", "others"}
    shown = rows(section(CONTRIBUTING, "## Tests"))
    assert {n for n in checks if vars(testing)[n].__module__ == testing.__name__} - helpers == set(shown)


@pytest.fixture
def stade(tmp_path, monkeypatch):
    """The method of CONTRIBUTING.md as one new file among the others."""
    (tmp_path / "stade.py").write_text(blocks(CONTRIBUTING, "python")[0], encoding="utf-8")
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    yield methods.kind("stade")
    sys.modules.pop("laconic.methods.stade")
    monkeypatch.delattr(methods, "stade")


def test_the_method_in_contributing_keeps_the_contract(stade, tmp_path):
    number = itertools.count()

    def fresh():
        return work("bert", tmp_path / str(next(number)))

    method = testing.small(stade)
    Recipe.parse({"steps": [{"stade": {"sparsity": 0.6}}, {"rtn": {"bits": 4}}]})
    testing.round_trip(method, fresh, tmp_path / "artifact")
    testing.harmless_at_zero(method, fresh)
    testing.same_twice(method, fresh)
    testing.every_option_matters(method, fresh)
    testing.nothing_left_behind(method, fresh)


def test_the_method_in_contributing_finds_what_was_planted(stade, tmp_path):
    given = work("bert", tmp_path)
    path = given.anatomy.stacks[0].blocks[0].ffn.output
    before = given.model.get_submodule(path).weight.detach()  # (out, in)
    before[:, :16] *= 1e-6
    stade(sparsity=0.25).apply(given)
    after = given.model.get_submodule(path).weight
    assert not after[:, :16].any()
    assert after[:, 16:].equal(before[:, 16:])
