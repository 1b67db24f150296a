"""The habits of the style guide, read from the source: sizes, imports, handlers, repeats, sources, prose, hooks."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from pathlib import Path

import pytest

from tests.habits import exceptions

SRC = Path(__file__).parents[2] / "src" / "laconic"
FILES = sorted(p.relative_to(SRC).as_posix() for p in SRC.rglob("*.py"))
ROWS = [  # a file may import what stands in a lower row, and of its own row only itself
    {"__main__", "__init__"},
    {"cli", "testing"},
    {"run", "prove", "augment"},
    {"recipe", "report"},
    {"predict", "harness", "lossless"},
    {"finetune"},
    {"pretrain"},
    {"trained"},
    {"methods", "tasks", "measures", "engines"},
    {"scoring", "teacher", "pruning", "workspace", "claims", "finished"},
    {"calibration"},
    {"training"},
    {"answers"},
    {"writing", "generations"},
    {"data"},
    {"checkpoint"},
    {"artifact"},
    {"flow", "effects", "losses", "optimizers", "callbacks", "subwords", "lowering"},
    {"anatomy"},
    {"layers"},
    {"maths"},
    {"contracts", "options", "units", "machine", "ranks", "notation", "lock", "kept"},
    {"errors"},
]
UNITS = ("methods", "tasks", "measures", "engines", "layers")  # folders whose files never import one another
FILE_LINES, FILE_NEVER, FUNCTION_LINES, FUNCTION_NEVER, PARAMETERS = 300, 400, 40, 60, 8
SOURCE = re.compile(r"\b(1[89]|20)\d\d\b|arXiv:|https?://|No paper:")
PAST = re.compile(
    r"\b(previously|used to (be|have|do)|(was|were) (renamed|moved|refactored)|formerly|now (uses|does|returns|also)|"
    r"anymore|refactor(ed)?|legacy|backwards? compat\w*|hotfix|TODO|FIXME|XXX)\b",
    re.IGNORECASE,
)
BANNED = {"utils", "helpers", "common", "base", "manager", "legacy", "misc", "v2"}


def tree(path: str) -> ast.Module:
    return ast.parse((SRC / path).read_text())


def row(name: str) -> int:
    found = [i for i, names in enumerate(ROWS) if name in names]
    assert found, f"{name!r} stands in no import row; give it one in {Path(__file__).name} and in docs/architecture.md"
    return found[0]


def part(path: str) -> str:
    """The row member a file belongs to: its folder below laconic, or its own name."""
    return path.split("/")[0].removesuffix(".py")


def imported(path: str) -> set[str]:
    """Dotted names below laconic that a file imports, at the top or inside a function; type-only imports left out."""
    module, names = tree(path), set()
    types = {
        inner
        for node in ast.walk(module)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(module):
        if node in types:
            continue
        if isinstance(node, ast.Import):
            names |= {a.name.removeprefix("laconic.") for a in node.names if a.name.startswith("laconic.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; write laconic.{node.module}"
            if node.module == "laconic":
                names |= {a.name for a in node.names}
            elif node.module and node.module.startswith("laconic."):
                inner = node.module.removeprefix("laconic.")
                files = (f"{inner.replace('.', '/')}/{a.name}.py" for a in node.names)
                names |= {
                    f"{inner}.{a.name}" for a, f in zip(node.names, files, strict=True) if (SRC / f).exists()
                } or {inner}
    return names


def functions(path: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]


def lines(node: ast.FunctionDef) -> int:
    """Lines of a function; its docstring is prose and not counted."""
    first = node.body[0]
    prose = ast.get_docstring(node) is not None and (first.end_lineno or 0) - first.lineno + 1
    return (node.end_lineno or 0) - node.lineno + 1 - int(prose)


def comments(path: str) -> list[tuple[int, str]]:
    """Comments and docstrings of a file with their line numbers."""
    tokens = tokenize.generate_tokens(io.StringIO((SRC / path).read_text()).readline)
    found = [(t.start[0], t.string) for t in tokens if t.type == tokenize.COMMENT]
    nodes = [n for n in ast.walk(tree(path)) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    return found + [(n.body[0].lineno, text) for n in nodes if (text := ast.get_docstring(n))]


@pytest.mark.parametrize("path", FILES)
def test_files_and_functions_are_short(path):
    length = len((SRC / path).read_text().splitlines())
    assert length <= (FILE_NEVER if path in exceptions.LONG_FILES else FILE_LINES), f"{path} has {length} lines"
    for node in functions(path):
        name = f"{path}:{node.name}"
        limit = FUNCTION_NEVER if name in exceptions.LONG_FUNCTIONS else FUNCTION_LINES
        assert lines(node) <= limit, f"{name} has {lines(node)} lines; at most {limit}"
        taken = [
            a.arg
            for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            if a.arg not in ("self", "cls")
        ]
        assert len(taken) <= PARAMETERS or name in exceptions.WIDE_FUNCTIONS, f"{name} takes {len(taken)} parameters"


@pytest.mark.parametrize("path", FILES)
def test_imports_point_downward(path):
    mine = part(path)
    for name in sorted(imported(path)):
        other = name.split(".")[0]
        if (path, other) in exceptions.IMPORTS:
            continue
        if other == mine:
            unit = mine in UNITS and not path.endswith("__init__.py") and "." in name
            assert not unit, f"{path} imports {name}: files of {mine}/ never import one another"
        else:
            assert (SRC / f"{other}.py").exists() or (SRC / other).is_dir(), (
                f"{path} imports {name}, which is not there"
            )
            assert row(other) > row(mine), f"{path} imports {name}, which stands beside or above it"


@pytest.mark.parametrize("path", FILES)
def test_handlers_name_what_they_catch_and_handle_it(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            where = f"{path}:{node.lineno}"
            assert node.type is not None, f"{where} catches everything"
            caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)}
            assert not caught & {"Exception", "BaseException"}, f"{where} catches {caught}"
            assert not all(isinstance(n, ast.Pass) for n in node.body), f"{where} passes over an error in silence"


def test_no_body_stands_twice():
    bodies = defaultdict(list)
    for path in FILES:
        for node in functions(path):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            text = "\n".join(ast.unparse(n) for n in body)
            if len(text.splitlines()) > 2 and f"{path}:{node.name}" not in exceptions.REPEATED:
                bodies[text].append(f"{path}:{node.name}")
    assert not [names for names in bodies.values() if len(names) > 1]


@pytest.mark.parametrize("path", FILES)
def test_modules_open_with_a_sentence_and_a_source(path):
    text = ast.get_docstring(tree(path))
    assert text, f"{path} has no docstring"
    first = text.split("\n\n")[0].strip()
    assert first.endswith((".", ":")) or SOURCE.search(first), f"{path} opens with {first!r}; write one whole sentence"
    assert SOURCE.search(text), f"{path} names no source; write the paper, or 'No paper: why'"


@pytest.mark.parametrize("path", FILES)
def test_public_functions_and_classes_are_explained(path):
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.name} has no docstring"


@pytest.mark.parametrize("path", FILES)
def test_comments_speak_of_the_present(path):
    for line, text in comments(path):
        assert not (m := PAST.search(text)), f"{path}:{line} says {m.group(0)!r}; the past is in the changelog"


@pytest.mark.parametrize("path", FILES)
def test_hooks_stand_only_in_flow(path):
    if path == "flow.py" or path in exceptions.HOOKS:
        return
    used = {n.attr for n in ast.walk(tree(path)) if isinstance(n, ast.Attribute)}
    assert not {u for u in used if re.fullmatch(r"register_\w*hook\w*|retain_grad", u)}, (
        f"{path} hooks; do it in flow.py"
    )


@pytest.mark.parametrize("path", FILES)
def test_models_are_felt_for_only_in_anatomy(path):
    if path.startswith("anatomy/") or path in exceptions.HASATTR:
        return
    used = {n.id for n in ast.walk(tree(path)) if isinstance(n, ast.Name)}
    assert "hasattr" not in used, f"{path} asks hasattr; ask Anatomy"


def test_no_file_says_nothing_by_its_name():
    assert not [p for p in FILES if set(p.removesuffix(".py").split("/")) & BANNED]


def test_exceptions_are_still_needed():
    known = set(FILES)
    listed = [*exceptions.LONG_FILES, *exceptions.HOOKS, *exceptions.HASATTR]
    named = [*exceptions.LONG_FUNCTIONS, *exceptions.WIDE_FUNCTIONS, *exceptions.REPEATED]
    assert not [p for p in listed if p not in known]
    assert not [n for n in named if n.split(":")[1] not in {f.name for f in functions(n.split(":")[0])}]
    assert not [p for p in exceptions.LONG_FILES if len((SRC / p).read_text().splitlines()) <= FILE_LINES]
    assert not [(p, m) for p, m in exceptions.IMPORTS if m not in {n.split(".")[0] for n in imported(p)}]
