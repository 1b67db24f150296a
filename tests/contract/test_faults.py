"""Methods with a planted fault: each is caught by the check that is there for it, and a sound one passes."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from laconic import layers, testing
from laconic.contracts import PROPERTIES, Sketch
from laconic.layers.dense import Dense
from tests.workshop import work


@dataclass(frozen=True)
class Sound:
    keep: float = 0.5

    needs: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[frozenset[str]] = frozenset({"narrow"})
    keeps: ClassVar[frozenset[str]] = PROPERTIES

    def check(self) -> None:
        """Anything goes."""

    def forecast(self, sketch: Sketch) -> Sketch:
        return sketch

    def apply(self, work) -> None:
        for block in work.anatomy.stacks[0].blocks:
            kept = max(1, int(self.keep * block.ffn.size))
            if kept < block.ffn.size:
                work.anatomy.remove_neurons(block, range(kept, block.ffn.size))


@dataclass(frozen=True)
class Idle(Sound):
    def apply(self, work) -> None:
        """Claims to narrow, and does nothing."""


@dataclass(frozen=True)
class Fixed(Sound):
    def apply(self, work) -> None:
        Sound(0.5).apply(work)


@dataclass(frozen=True)
class Harmful(Sound):
    def apply(self, work) -> None:
        with torch.no_grad():
            next(work.model.parameters()).mul_(1.01)


@dataclass(frozen=True)
class Hooked(Sound):
    def apply(self, work) -> None:
        work.model.register_forward_hook(lambda *_: None)


@dataclass(frozen=True)
class Sleeper(Sound):
    def apply(self, work) -> None:
        work.model.eval()


@dataclass(frozen=True)
class Slope(Sound):
    def apply(self, work) -> None:
        next(work.model.parameters()).sum().backward()


@dataclass(frozen=True)
class Dice(Sound):
    def apply(self, work) -> None:
        with torch.no_grad():
            next(work.model.parameters()).add_(torch.rand((), generator=torch.Generator().manual_seed(next(SEEDS))))


@dataclass(frozen=True)
class Forgotten(Sound):
    """Computes with numbers that are not stored."""

    makes: ClassVar[frozenset[str]] = frozenset()

    def apply(self, work) -> None:
        path = work.anatomy.stacks[0].blocks[0].ffn.output
        layer = Dense.of(work.model.get_submodule(path))
        plain = layer.forward
        layer.forward = lambda x: 1.01 * plain(x)
        layers.swap(work.model, path, layer)


@dataclass(frozen=True)
class Undoing(Sound):
    """Says that it keeps what is narrow, and widens."""

    def apply(self, work) -> None:
        work.model = work.teacher.model


SEEDS = iter(range(10**6))


def test_a_sound_method_passes(tmp_path):
    testing.declared_is_done(Sound(), work)
    testing.harmless_at_zero(Sound(), work)
    testing.same_twice(Sound(), work)
    testing.every_option_matters(Sound(), work)
    testing.nothing_left_behind(Sound(), work)
    testing.round_trip(Sound(), work, tmp_path / "artifact")


@pytest.mark.parametrize(
    ("check", "method", "words"),
    [
        (testing.declared_is_done, Idle(), "makes narrow, but"),
        (testing.harmless_at_zero, Harmful(), "moves the logits"),
        (testing.same_twice, Dice(), "not deterministic"),
        (testing.every_option_matters, Fixed(), r"changes anything of \['keep'\]"),
        (testing.nothing_left_behind, Hooked(), "'hooks': 1"),
        (testing.nothing_left_behind, Sleeper(), r"'training': \[False\]"),
        (testing.nothing_left_behind, Slope(), "'gradients': 1"),
    ],
)
def test_a_fault_is_caught(check, method, words):
    with pytest.raises(AssertionError, match=words):
        check(method, work)


def test_idleness_is_caught_on_the_way_to_disk_too(tmp_path):
    with pytest.raises(AssertionError, match="makes narrow, but"):
        testing.round_trip(Idle(), work, tmp_path / "artifact")


def test_numbers_that_are_not_stored_are_caught(tmp_path):
    with pytest.raises(AssertionError, match="loaded logits differ"):
        testing.round_trip(Forgotten(), work, tmp_path / "artifact")


def test_a_step_that_undoes_another_is_caught(monkeypatch):
    monkeypatch.setattr(testing.Recipe, "check", lambda self: [])
    with pytest.raises(AssertionError, match="undoing undid what sound made narrow"):
        testing.pairs(Sound(), Undoing(), ("sound", "undoing"), work)
