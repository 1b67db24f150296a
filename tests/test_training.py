"""Training repeats bit for bit, goes on after a kill bit for bit, and keeps what is best."""

from functools import cached_property

import pytest
import torch
from safetensors import SafetensorError

from laconic import answers, training
from laconic.errors import ArtifactError, RecipeError
from laconic.methods.distill import Distill
from laconic.methods.layerwise import Layerwise
from laconic.training import Training, fit
from tests.workshop import work

OPTIONS = Training(epochs=3, learning_rate=1e-3, batch=4)


class Killed(Exception):
    """Stands for a SIGKILL."""


def weights(one):
    return {name: tensor.clone() for name, tensor in one.model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path):
    first, again, other = work(folder=tmp_path / "1"), work(folder=tmp_path / "2"), work(folder=tmp_path / "3")
    other.seed = 1
    start = weights(first)
    for one in (first, again, other):
        fit(one, OPTIONS)
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))
    assert not same(weights(first), start)


def test_progress_and_remarks_leave_stdout_to_results(tmp_path, capsys):
    one, lines = work(folder=tmp_path), []
    one.progress, one.log = True, lines.append
    fit(one, OPTIONS)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ", loss " in printed.err
    last = lines[-1].split(", ")[0]
    assert last.split() == ["step", last.split()[1], "of", last.split()[1]]


@pytest.mark.parametrize("moment", [1, 4, 7])
def test_a_killed_run_ends_as_an_unbroken_one(tmp_path, moment):
    unbroken = work(folder=tmp_path / "unbroken")
    rows = fit(unbroken, OPTIONS)

    def kill(step, _):
        if step == moment:
            raise Killed

    with pytest.raises(Killed):
        fit(work(folder=tmp_path / "killed"), OPTIONS, on_step=kill)
    resumed, seen = work(folder=tmp_path / "killed"), []
    again = fit(resumed, OPTIONS, on_step=lambda step, _: seen.append(step))
    assert same(weights(unbroken), weights(resumed))
    assert [r.get("loss") for r in rows] == [r.get("loss") for r in again]
    assert min(seen) == moment // 3 * 3  # an epoch has 3 steps, and each ends with a checkpoint


def test_patience_lasts_as_long_after_a_kill(tmp_path):
    patient = Training(epochs=9, learning_rate=1e-9, batch=4, patience=3)
    one, lasted = work(folder=tmp_path / "1"), []
    fit(one, patient, on_step=lambda step, _: lasted.append(step))

    def kill(step, _):
        if step == 7:
            raise Killed

    with pytest.raises(Killed):
        fit(work(folder=tmp_path / "2"), patient, on_step=kill)
    resumed, again = work(folder=tmp_path / "2"), []
    fit(resumed, patient, on_step=lambda step, _: again.append(step))
    assert lasted[-1] == again[-1] < 3 * 9 - 1  # an epoch has 3 steps
    assert again[0] == 6
    assert same(weights(one), weights(resumed))


@pytest.mark.parametrize("best", [True, False])
def test_a_run_whose_patience_had_ended_when_it_was_killed_learns_no_step_more(tmp_path, monkeypatch, best):
    patient = Training(epochs=9, learning_rate=1e-9, batch=4, patience=1)
    one = work(folder=tmp_path / "1")
    rows = fit(one, patient, best=best)

    def kill(*_):
        raise Killed

    with monkeypatch.context() as while_it_ends:
        while_it_ends.setattr("transformers.Trainer._finalize_training", kill)
        with pytest.raises(Killed):
            fit(work(folder=tmp_path / "2"), patient, best=best)
    resumed, more = work(folder=tmp_path / "2"), []
    again = fit(resumed, patient, best=best, on_step=lambda step, _: more.append(step))
    assert more == []
    assert same(weights(one), weights(resumed))
    assert [(r["step"], r.get("loss"), r.get("eval_entity_f1")) for r in rows] == [
        (r["step"], r.get("loss"), r.get("eval_entity_f1")) for r in again
    ]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_every_optimizer_lowers_the_loss(tmp_path, name):
    one = work(folder=tmp_path)
    rate = 0.05 if name == "sgd" else 2e-3
    rows = fit(one, Training(epochs=6, learning_rate=rate, batch=4, optimizer=name))
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("head", ["sequence", "tokens", "lm"])
def test_accumulated_batches_are_one_step_over_all_of_them(tmp_path, head):
    plain = {"epochs": 1, "learning_rate": 0.1, "optimizer": "sgd", "warmup": 0, "clip": 1e6, "weight_decay": 0}
    whole, parts, steps = work(folder=tmp_path / "1", head=head), work(folder=tmp_path / "2", head=head), []
    for one in (whole, parts):
        one.model.config.hidden_dropout_prob = 0.0
        for module in one.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    fit(whole, Training(**plain, batch=12))
    fit(parts, Training(**plain, batch=6, accumulate=2), on_step=lambda *step: steps.append(step))
    assert steps == [(0, 1)]
    for name, tensor in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], tensor, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64\nvs 0"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        OSError(28, "No space left on device"),
    ],
)
def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr("transformers.Trainer._save_checkpoint", full)
    with pytest.raises(ArtifactError, match=r"can't be written \(.*make room") as caught:
        fit(work(folder=tmp_path), OPTIONS)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_training_stops_early_without_gain(tmp_path):
    rows = fit(work(folder=tmp_path), Training(epochs=20, learning_rate=1e-12, batch=4, patience=1))
    assert max(row["step"] for row in rows) < 20 * 3


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adamm"}, {"epochs": 0}, {"epochs": float("inf")}, {"learning_rate": -1.0}, {"warmup": 1.0},
        {"learning_rate": float("nan")}, {"patience": 0}, {"weight_decay": -5}, {"weight_decay": float("inf")},
        {"accumulate": 0}, {"clip": 0},
    ],
)  # fmt: skip
def test_refusals_name_the_option(options):
    with pytest.raises(RecipeError, match=next(iter(options))):
        Training(**options).check()


def test_outputs_come_in_the_order_of_the_examples():
    one = work()
    features = one.task.encode(one.data.train, one.tokenizer, answers=False)
    together = answers.outputs(one.model, one.task, features, 1, batch=5)
    for feature, output in zip(features, together, strict=True):
        (alone,) = answers.outputs(one.model, one.task, [feature], 1)
        assert output.shape == (len(feature["slots"]), 5)
        torch.testing.assert_close(torch.tensor(output), torch.tensor(alone), atol=1e-5, rtol=1e-5)


def test_bfloat16_is_of_matrix_products_only(tmp_path):
    """It learns other numbers than float32, which stay float32, and learns as much."""
    ends = {}
    for precision in ("float32", "bfloat16"):
        one = work(folder=tmp_path / precision)
        rows = fit(one, Training(epochs=6, learning_rate=2e-3, batch=4, precision=precision))
        assert {p.dtype for p in one.model.parameters()} == {torch.float32}
        ends[precision] = weights(one), [row["loss"] for row in rows if "loss" in row]
    assert not same(ends["float32"][0], ends["bfloat16"][0])
    assert ends["bfloat16"][1][-1] == pytest.approx(ends["float32"][1][-1], rel=0.1)
    with pytest.raises(RecipeError, match="precision is 'half'"):
        Training(precision="half").check()


def test_of_several_gpus_one_trains_and_the_objective_sees_the_model_itself(tmp_path, monkeypatch):
    prepare = training.TrainingArguments._setup_devices

    def two(arguments):
        device = prepare.__get__(arguments)
        arguments._n_gpu = 2
        return device

    once = cached_property(two)
    once.__set_name__(training.TrainingArguments, "_setup_devices")
    monkeypatch.setattr(training.TrainingArguments, "_setup_devices", once)
    one, seen = work(folder=tmp_path), []
    right = answers.task_objective(one.task)

    def objective(model, batch, chosen):
        seen.append(model)
        return right(model, batch, chosen)

    fit(one, OPTIONS, objective=objective)
    assert all(model is one.model for model in seen)
    assert seen


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_what_trained_on_a_gpu_stands_beside_its_teacher_again(tmp_path):
    one = work(folder=tmp_path, head="sequence")
    for method in (Distill(epochs=1, batch=4), Layerwise(epochs=1)):
        method.apply(one)
        assert one.model.device == one.teacher.model.device == torch.device("cpu")
