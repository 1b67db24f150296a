"""What a teacher says, recorded and asked again, is the same, and lands at the example it was said of."""

import errno
import os

import pytest
import torch

from laconic import teacher
from laconic.errors import ArtifactError
from laconic.teacher import Ensemble, Live, Recorded, ask, layer_map
from tests.tiny import tiny
from tests.workshop import work


def asked(folder, head="tokens", **more):
    given = work("bert", folder, head=head)
    features = given.task.encode(given.data.train, given.tokenizer, answers=False)
    options = {"hidden": True, "attention": False, **more}
    return given, features, ask(given.teacher, features, [1, 3], folder / "teacher", **options)


def test_the_blocks_learn_from_evenly_spread_ones_and_the_last_from_the_last():
    assert layer_map(3, 12) == [4, 8, 12]
    assert layer_map(4, 6) == [2, 3, 4, 6]
    assert layer_map(2, 2) == [1, 2]


@pytest.mark.parametrize("head", ["tokens", "sequence"])
def test_recorded_and_live_say_the_same(tmp_path, head):
    given, features, recorded = asked(tmp_path, head)
    live = Live(given.teacher, features, [1, 3], hidden=True, attention=False)
    assert isinstance(recorded, Recorded)
    for chosen in ([0], [7, 2, 11], list(range(12))):
        a, b = recorded(chosen), live(chosen)
        torch.testing.assert_close(a.logits, b.logits, atol=1e-5, rtol=1e-5)
        for kept, fresh in zip(a.hidden, b.hidden, strict=True):
            assert kept.shape == (sum(len(features[i]["input_ids"]) for i in chosen), 32)
            torch.testing.assert_close(kept, fresh, atol=2e-3, rtol=2e-3)  # half precision


def test_a_teacher_that_is_asked_anew_speaks_as_it_was_recorded_whatever_the_students_precision(tmp_path):
    given, features, recorded = asked(tmp_path)
    live = Live(given.teacher, features, [1, 3], hidden=True, attention=False)
    with torch.autocast("cpu", torch.bfloat16):
        said = live([7, 2, 11]).logits
    torch.testing.assert_close(recorded([7, 2, 11]).logits, said, atol=1e-5, rtol=1e-5)


def test_what_is_said_is_the_models_own(tmp_path):
    given, features, recorded = asked(tmp_path)
    row = {k: torch.tensor([features[5][k]]) for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        said = given.teacher.model(**row, output_hidden_states=True)
    torch.testing.assert_close(recorded([5]).logits, said.logits[0, features[5]["slots"]], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(recorded([5]).hidden[1], said.hidden_states[3][0], atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("several", [False, True])
def test_an_ensembles_probabilities_are_the_mean_of_its_members(several):
    members = [tiny("bert", 5, "sequence"), tiny("bert", 5, "sequence")]
    with torch.no_grad():
        for parameter in members[1].parameters():
            parameter.mul_(1.5)
    given = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3, dtype=torch.int64)}
    shares = torch.sigmoid if several else lambda x: torch.softmax(x, -1)
    with torch.no_grad():
        apart = [shares(member(**given).logits) for member in members]
        together = shares(Ensemble(members, several=several)(**given).logits)
    assert float((apart[0] - apart[1]).abs().max()) > 1e-3
    torch.testing.assert_close(together, (apart[0] + apart[1]) / 2, atol=1e-6, rtol=1e-5)


def test_a_sure_ensemble_has_finite_logits():
    sure = tiny("bert", 2, "sequence")
    with torch.no_grad():
        sure.classifier.bias.copy_(torch.tensor([1e4, -1e4]))
    given = {"input_ids": torch.tensor([[5]]), "attention_mask": torch.ones(1, 1, dtype=torch.int64)}
    assert Ensemble([sure], several=True)(**given).logits.isfinite().all()


def test_maps_and_what_is_too_large_are_not_recorded(tmp_path, monkeypatch):
    assert isinstance(asked(tmp_path, attention=True)[2], Live)
    assert not (tmp_path / "teacher").exists()
    monkeypatch.setattr(teacher, "RECORD_BYTES", 100)
    assert isinstance(asked(tmp_path)[2], Live)
    assert isinstance(asked(tmp_path, hidden=False)[2], Recorded)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no room is set aside there")
def test_room_for_all_of_it_is_set_aside_before_the_first_word(tmp_path, monkeypatch):
    _, features, recorded = asked(tmp_path)
    file = tmp_path / "teacher" / "hidden.f16"
    tokens = sum(len(f["input_ids"]) for f in features)
    assert file.stat().st_size == recorded.states.nbytes == 2 * tokens * 32 * 2
    assert file.stat().st_blocks * 512 >= recorded.states.nbytes

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ArtifactError, match=r"hidden\.f16: can't be written .*No space left"):
        asked(tmp_path)
