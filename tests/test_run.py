"""The road from a checkpoint to an artifact: resumable, deterministic, verified."""

import copy
import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification

import laconic
from laconic import artifact, checkpoint, machine, methods, run
from laconic.contracts import PROPERTIES
from laconic.errors import ArtifactError, DataError, EffectError
from laconic.measures import quality
from laconic.methods.distill import Distill
from laconic.recipe import Recipe
from laconic.report.notes import ALIKE
from tests import road
from tests.accelerator import accelerator
from tests.holding import holding
from tests.workshop import examples

FILES = ("manifest.json", "config.json", "weights.safetensors", "tokenizer.json.xz")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    base = tmp_path_factory.mktemp("road")
    options = laconic.Training(epochs=4, learning_rate=3e-3, batch=4)
    source = road.dataset(base / "data")
    return laconic.train(
        road.checkpoint(base / "encoder"), "ner", source, base / "run", options=options, progress=False
    )


def compress(trained, tmp_path, name="out", steps="steps", **more):
    recipe = road.recipe(tmp_path / "road.yaml")
    return laconic.compress(
        trained, recipe, tmp_path / name, steps=tmp_path / steps, progress=False, log=more.pop("log", str)
    )


def bytes_of(folder):
    return [(folder / name).read_bytes() for name in FILES]


def test_what_is_loaded_answers_as_what_was_measured(trained, tmp_path):
    result = compress(trained, tmp_path)
    loaded = laconic.load(result.folder, engine="torch")
    validation = [json.loads(line) for line in (trained.parent / "data" / "validation.jsonl").read_text().splitlines()]
    score = loaded.task.score(loaded.answer(validation), validation)
    assert score["entity_f1"] == result.validation["entity_f1"]
    assert loaded.model.config.num_hidden_layers == 2
    assert loaded.predict(["ab ba"])[0]["tokens"] == ["ab", "ba"]


def test_two_runs_write_the_same_bytes(trained, tmp_path):
    assert bytes_of(compress(trained, tmp_path, "a", "s1").folder) == bytes_of(
        compress(trained, tmp_path, "b", "s2").folder
    )


@pytest.mark.parametrize("point", ["vocabulary", "rtn", "distill"])
def test_a_run_that_breaks_goes_on_and_writes_the_same_bytes(trained, tmp_path, monkeypatch, point):
    whole = bytes_of(compress(trained, tmp_path, "whole", "s1").folder)
    kind = methods.kind(point)
    apply = kind.apply

    def breaks(self, work):
        apply(self, work)
        raise KeyboardInterrupt

    monkeypatch.setattr(kind, "apply", breaks)
    with pytest.raises(KeyboardInterrupt):
        compress(trained, tmp_path, "broken", "s2")
    assert not (tmp_path / "broken").exists()
    monkeypatch.setattr(kind, "apply", apply)
    said = []
    assert bytes_of(compress(trained, tmp_path, "broken", "s2", log=said.append).folder) == whole
    before = [step.method for step in Recipe.read(tmp_path / "road.yaml").steps].index(point)
    assert sum("taken up" in line for line in said) == before


def test_recipes_that_begin_alike_share_steps(trained, tmp_path):
    compress(trained, tmp_path, "a")
    said = []
    changed = Recipe.read(tmp_path / "road.yaml").override(["4.bits=8"])
    laconic.compress(trained, changed, tmp_path / "b", steps=tmp_path / "steps", progress=False, log=said.append)
    assert sum("taken up" in line for line in said) == 3


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("config.json", {"hidden_act": "relu", "layer_norm_eps": 0.5}),
        ("tokenizer_config.json", {"model_max_length": 5}),
        ("config.json", {"transformers_version": "5.0.0"}),
    ],
)
def test_steps_of_a_model_that_answers_otherwise_are_not_taken_up(trained, tmp_path, name, changes):
    """Of equal weights, under another config or another longest text: the artifact is what was measured."""
    recipe, given = Recipe.parse({"steps": ["half"]}), {"steps": tmp_path / "steps", "progress": False}
    changed = shutil.copytree(trained, tmp_path / "run")
    (changed / name).write_text(json.dumps(json.loads((changed / name).read_text()) | changes))
    said = []
    laconic.compress(trained, recipe, tmp_path / "a", log=said.append, **given)
    result = laconic.compress(changed, recipe, tmp_path / "b", log=said.append, **given)
    assert sum("taken up" in line for line in said) == ("transformers_version" in changes)
    rows = [json.loads(line) for line in (trained.parent / "data" / "validation.jsonl").read_text().splitlines()]
    loaded = laconic.load(tmp_path / "b", engine="torch")
    assert loaded.task.score(loaded.answer(rows), rows)["entity_f1"] == result.validation["entity_f1"]
    assert (loaded.model.config.hidden_act, loaded.tokenizer.model_max_length) == (
        changes.get("hidden_act", "gelu"), changes.get("model_max_length", 32),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("step.json", b"{"),
        ("step.json", b"[]"),
        ("step.json", b"[" * 100_000),
        ("model/weights.safetensors", b""),
        ("step.json", None),
    ],
)
def test_a_step_that_is_damaged_is_done_again(trained, tmp_path, name, content):
    """The fourth of six: what says of it is damaged or gone, or the model that it left, as the newest one there is."""
    whole = bytes_of(compress(trained, tmp_path, "whole").folder)
    folders = sorted((tmp_path / "steps").iterdir(), key=lambda folder: (folder / "step.json").stat().st_mtime_ns)
    for folder in folders[4:]:
        shutil.rmtree(folder)
    if content is None:
        (folders[3] / name).unlink()
    else:
        (folders[3] / name).write_bytes(content)
    said = []
    assert bytes_of(compress(trained, tmp_path, "again", log=said.append).folder) == whole
    assert sum("taken up" in line for line in said) == 3
    assert sum("is done again" in line for line in said) == (content is not None)


def test_texts_without_labels_make_other_steps_and_keep_their_words(trained, tmp_path):
    """`aj` is no word of the training texts; only with the text is it kept whole."""
    texts = tmp_path / "texts.txt"
    texts.write_text("ka aj\n")
    recipe = Recipe.read(road.recipe(tmp_path / "road.yaml"))
    assert "aj" not in (trained.parent / "data" / "train.jsonl").read_text()
    plain, told = [
        laconic.compress(
            trained, recipe, tmp_path / name, steps=tmp_path / "steps", progress=False, log=str, unlabelled=given
        ).folder
        for name, given in (("plain", None), ("told", texts))
    ]
    assert len(list((tmp_path / "steps").iterdir())) == 2 * len(recipe.steps)
    vocabularies = [laconic.load(folder, engine="torch").tokenizer.get_vocab() for folder in (plain, told)]
    assert ["aj" in vocabulary for vocabulary in vocabularies] == [False, True]
    rows = [run.plan(trained, recipe, None, given)[1]["bytes"] for given in (None, texts)]
    assert rows[0] < rows[1]


def test_a_step_that_another_process_does_is_waited_for_and_taken_up(trained, tmp_path):
    whole = bytes_of(compress(trained, tmp_path, "whole").folder)
    last = max((tmp_path / "steps").iterdir(), key=lambda folder: (folder / "step.json").stat().st_mtime_ns)
    shutil.move(last, tmp_path / "done")
    said = []
    with holding(last / "lock") as other:

        def log(line):
            said.append(line)
            if "by another process: it is waited for" in line:
                shutil.copytree(tmp_path / "done", last, dirs_exist_ok=True)
                other.stdin.close()

        assert bytes_of(compress(trained, tmp_path, "beside", log=log).folder) == whole
    assert said[-2:] == [
        "step 6 (half) is being done by another process: it is waited for",
        "step 6 (half) was done by another process: taken up",
    ]
    assert sum("taken up" in line for line in said) == 6
    assert {path.name for path in last.iterdir()} == {"model", "step.json"}


@pytest.mark.parametrize("room", [1e9, 1000.0])
def test_steps_are_done_on_a_gpu_that_has_room(trained, tmp_path, monkeypatch, room):
    places, said = set(), []
    for name in ("vocabulary", "blocks", "neurons", "rtn", "distill", "half"):
        kind = methods.kind(name)

        def noted(self, work, apply=kind.apply):
            places.add(work.model.device)
            apply(self, work)

        monkeypatch.setattr(kind, "apply", noted)
    here = compress(trained, tmp_path, "here", "s1")
    assert places == {machine.PROCESSOR}
    places.clear()
    with accelerator() as device:
        monkeypatch.setattr(machine, "device", lambda: device)
        monkeypatch.setattr(machine, "free", lambda where: room)
        there = compress(trained, tmp_path, "there", "s2", log=said.append)
    assert places == {device if room == 1e9 else machine.PROCESSOR}
    assert there.validation["entity_f1"] == pytest.approx(here.validation["entity_f1"], abs=0.02)
    assert bytes_of(there.folder)[1] == bytes_of(here.folder)[1]
    refused = [line for line in said if "has no room for 2 times" in line]
    assert len(refused) == (0 if room == 1e9 else 7)


def test_an_artifact_that_another_process_makes_is_refused(trained, tmp_path):
    with holding(tmp_path / ".out.lock"), pytest.raises(ArtifactError, match="out: another process is making it"):
        compress(trained, tmp_path)
    assert compress(trained, tmp_path).folder.is_dir()
    assert not (tmp_path / ".out.lock").exists()


@dataclass(frozen=True)
class Nothing(Distill):
    """Says it makes the model sparse, and does nothing."""

    makes = frozenset({"sparse"})
    keeps = PROPERTIES

    def apply(self, work):
        """Nothing that it says."""
        work.model.get_submodule(work.anatomy.stacks[0].blocks[0].ffn.output).weight.data.mul_(1.5)


def test_a_claim_that_did_not_come_true_is_an_error(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "kind", lambda name: Nothing)
    with pytest.raises(EffectError, match="says it makes the model sparse"):
        laconic.compress(trained, Recipe.parse({"steps": ["distill"]}), tmp_path / "x", steps=tmp_path / "s", log=str)
    assert not (tmp_path / "x").exists()


class Exploding(Nothing):
    """Has trained too fast."""

    makes = frozenset()

    def apply(self, work):
        """One number is not finite any more."""
        next(layer for _, layer in work.anatomy.linears("ffn")).weight.data.view(-1)[3] = float("nan")


def test_numbers_that_are_not_finite_end_the_run_at_their_step(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "kind", lambda name: Exploding)
    recipe = Recipe.parse({"steps": [{"distill": {"learning_rate": 5.0}}]})
    with pytest.raises(EffectError, match=r"step 1 .distill. left numbers that are not finite in 1 tensors") as caught:
        laconic.compress(trained, recipe, tmp_path / "x", steps=tmp_path / "s", progress=False, log=str)
    assert str(caught.value).endswith("give a learning_rate below 5")
    assert not list((tmp_path / "s").rglob("step.json"))  # so that it is not taken up again
    assert not (tmp_path / "x").exists()


def test_a_model_that_brings_such_numbers_is_refused_for_them(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    model = checkpoint.model(AutoModelForTokenClassification, tmp_path / "run")
    next(p for p in model.parameters() if p.dim() == 2).data[0, 0] = float("inf")
    model.save_pretrained(tmp_path / "run")
    with pytest.raises(ArtifactError, match="are not finite; train it again with a lower learning rate"):
        laconic.compress(tmp_path / "run", Recipe.parse({"steps": ["half"]}), tmp_path / "x", progress=False, log=str)
    assert not (tmp_path / "x").exists()


class Idle(Nothing):
    """Says why it has nothing to do, and leaves all as it was."""

    def apply(self, work):
        work.idle = "no weight is near zero"


class Liar(Idle):
    """Says that it has nothing to do, and sets weights to zero."""

    def apply(self, work):
        super().apply(work)
        next(layer for _, layer in work.anatomy.linears("ffn")).weight.data.zero_()


def test_a_step_that_says_why_it_had_nothing_to_do_need_make_nothing(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "kind", lambda name: Idle)
    said, recipe = [], Recipe.parse({"steps": ["distill"]})
    laconic.compress(trained, recipe, tmp_path / "x", steps=tmp_path / "s", progress=False, log=said.append)
    assert "step 1 (distill) has nothing to do: no weight is near zero" in said
    monkeypatch.setattr(methods, "kind", lambda name: Liar)
    with pytest.raises(EffectError, match=r"nothing to do .no weight is near zero., but the model is another"):
        laconic.compress(trained, recipe, tmp_path / "y", steps=tmp_path / "other", progress=False, log=str)


def test_steps_that_are_asked_for_no_change_say_so_and_make_none(trained, tmp_path):
    steps = [
        {"blocks": {"keep": 0.95}}, {"heads": {"keep": 0.9}}, {"width": {"keep": 0.9}}, {"neurons": {"keep": 1.0}},
        {"svd": {"keep": 1.0}}, {"svd": {"rank": 999}}, {"factorize": {"rank": 999}}, {"wanda": {"sparsity": 0}},
        {"sparsegpt": {"sparsity": 0}}, {"magnitude": {"sparsity": 0}}, {"hash": {"keep": 1.0}},
    ]  # fmt: skip
    said, before = [], checkpoint.model(AutoModelForTokenClassification, trained).state_dict()
    for i, some in enumerate((steps[:-1], steps[-1:])):  # hash keeps no zeros, though here there are none
        recipe = Recipe.parse({"steps": some})
        out = laconic.compress(
            trained, recipe, tmp_path / f"x{i}", steps=tmp_path / f"s{i}", progress=False, log=said.append
        ).folder
        after = artifact.load(out).model.state_dict()
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    idle = [line for line in said if line.endswith("has nothing to do: with these options all stays as it is")]
    assert len(idle) == len(steps)


def test_the_original_is_held_beside_the_model_only_where_a_method_asks_for_it(trained, tmp_path, monkeypatch):
    held = []

    def looks(apply):
        def applied(self, work):
            held.append(work.teacher is not None and work.teacher.model is not work.model)
            apply(self, work)

        return applied

    for name in ("rtn", "distill"):
        kind = methods.kind(name)
        monkeypatch.setattr(kind, "apply", looks(kind.apply))
    for i, steps in enumerate((["rtn"], ["rtn", {"distill": {"epochs": 1}}])):
        recipe = Recipe.parse({"steps": steps})
        laconic.compress(trained, recipe, tmp_path / f"x{i}", steps=tmp_path / f"s{i}", progress=False, log=str)
    assert held == [False, True, True]


@dataclass(frozen=True)
class Forgetful(Distill):
    """Says it keeps every property, and puts the original in the model's place."""

    makes = frozenset()
    keeps = PROPERTIES

    def apply(self, work):
        """All that earlier steps made is gone."""
        work.model = copy.deepcopy(work.teacher.model)


@pytest.mark.parametrize(
    ("before", "lost"),
    [("half", "half"), ("rtn", "low_bit"), ("magnitude", "sparse"), ("blocks", "shallow"), ("neurons", "narrow")],
)
def test_a_step_that_loses_what_an_earlier_one_made_is_an_error(trained, tmp_path, monkeypatch, before, lost):
    kind = methods.kind
    monkeypatch.setattr(methods, "kind", lambda name: Forgetful if name == "distill" else kind(name))
    recipe = Recipe.parse({"steps": [before, "distill"]})
    with pytest.raises(EffectError, match=rf"step 2 .distill. says it keeps what step 1 made {lost}, but of"):
        laconic.compress(trained, recipe, tmp_path / "x", steps=tmp_path / "s", progress=False, log=str)
    assert len(list((tmp_path / "s").rglob("step.json"))) == 1  # so that it is not taken up again


def test_the_plan_shrinks_and_bounds_the_artifact(trained, tmp_path):
    recipe = Recipe.read(road.recipe(tmp_path / "road.yaml"))
    rows = run.plan(trained, recipe)
    sizes = [row["bytes"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    weights = sum(held for _, _, held in artifact.weigh(compress(trained, tmp_path).folder))
    assert weights < 1.5 * sizes[-1]


def test_a_target_that_is_not_ours_is_left_alone(trained, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("ten years of work")
    with pytest.raises(ArtifactError, match="out"):
        compress(trained, tmp_path)
    assert (tmp_path / "out" / "thesis.txt").read_text() == "ten years of work"


@pytest.mark.parametrize(
    ("out", "steps"), [("a", "a"), ("a", "a/steps"), ("a/out", "a"), ("a", "link/steps"), ("run.steps", "")]
)
def test_steps_in_the_artifact_or_around_it_are_refused_before_any_work(trained, tmp_path, out, steps):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    recipe = Recipe.parse({"steps": ["half"]})
    given = {"steps": tmp_path / steps} if steps else {}
    out = tmp_path / out if steps else trained.parent / out
    with pytest.raises(ArtifactError, match=r"lie one in the other; choose another place"):
        laconic.compress(trained, recipe, out, progress=False, log=str, **given)
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_from_within_the_run_folder_but_never_into_it(trained, tmp_path, monkeypatch):
    recipe, steps = road.recipe(tmp_path / "road.yaml"), trained.parent / f"{trained.name}.steps"
    monkeypatch.chdir(trained)
    with pytest.raises(ArtifactError, match="the folder you are in, or one above it"):
        laconic.compress(".", recipe, ".", progress=False, log=str)
    laconic.compress(".", recipe, tmp_path / "out", progress=False, log=str)
    assert list(steps.iterdir())
    said = []
    laconic.compress(trained, recipe, tmp_path / "again", progress=False, log=said.append)
    assert sum("was done before" in line for line in said) == len(list(steps.iterdir()))


def test_training_again_is_done_and_other_options_are_refused(trained):
    base = trained.parent
    options = laconic.Training(epochs=4, learning_rate=3e-3, batch=4)
    said = []
    laconic.train(base / "encoder", "ner", base / "data", trained, options=options, log=said.append)
    assert "already trained" in said[0]
    with pytest.raises(DataError, match="another run"):
        laconic.train(base / "encoder", "ner", base / "data", trained, log=said.append)


def test_engines_give_the_same_labels(trained, tmp_path):
    pytest.importorskip("onnxruntime")
    folder = compress(trained, tmp_path).folder
    reference, fast = laconic.load(folder, engine="torch"), laconic.load(folder, engine="onnxruntime")
    rows = examples("tokens", 200, seed=9)
    features = reference.task.encode(rows, reference.tokenizer, answers=False)
    for a, b in zip(reference.outputs(features), fast.outputs(features), strict=True):
        assert np.abs(a - b).max() < 0.1 * np.abs(a).max()
    assert quality.agreement(rows, reference.answer(rows), fast.answer(rows)) >= ALIKE
    assert laconic.load(folder).engine.name == "onnxruntime"
