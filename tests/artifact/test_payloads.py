"""Small tensors in payloads: never longer than all of a name together, or each alone, and all back bit for bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from laconic.artifact import payloads, store
from laconic.maths import grid

SPARE = 24  # bytes by which what a payload costs in the index and the header may be misjudged


def on_grid(seed: int, bits: int, symmetric: bool, rows: int, columns: int) -> torch.Tensor:
    """Codes of normal weights whose rows are of different sizes; an asymmetric zero is where the weights have it."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=generator) * torch.rand(rows, 1, generator=generator)
    weight += 0 if symmetric else float(torch.randn((), generator=generator))
    scale, zero = grid.fit(weight, bits, "tensor", symmetric)
    return grid.codes(weight, scale, zero, bits, "tensor")


@st.composite
def models(draw) -> dict[str, torch.Tensor]:
    """Layers of codes of any widths, with biases and scales."""
    held = {}
    for i in range(draw(st.integers(1, 8))):
        seed, bits, symmetric = draw(st.integers(0, 2**32)), draw(st.integers(2, 8)), draw(st.booleans())
        shape = draw(st.sampled_from([(1, 3), (9, 40), (64, 64), (130, 120)]))
        held[f"layers.{i}.codes"] = on_grid(seed, bits, symmetric, *shape)
        held[f"layers.{i}.bias"] = torch.randn(shape[0], generator=torch.Generator().manual_seed(seed))
        held[f"layers.{i}.weight"] = torch.randn(shape[: draw(st.integers(1, 2))]) * draw(st.sampled_from([0.0, 1e-3]))
    return held


def ways(monkeypatch, held):
    """(bytes, payloads) of the containers of all of a name together and of each alone."""
    for way in (lambda some: [payloads.joined(some)], lambda some: [payloads.joined([one]) for one in some]):
        with monkeypatch.context() as changed:
            changed.setattr(store, "shortest", way)
            container = store.encode(held)
        yield container, len(store.index_of(container).streams)


@settings(max_examples=40, deadline=None)
@given(models())
def test_no_container_is_longer_than_of_all_together_or_each_alone(held):
    container = store.encode(held)
    assert container == store.encode(held)
    mine = len(store.index_of(container).streams)
    with pytest.MonkeyPatch.context() as monkeypatch:
        for other, number in ways(monkeypatch, held):
            assert len(container) <= len(other) + SPARE * (mine + number)
            opened = store.decode(other)
            assert all(torch.equal(opened[name], tensor) for name, tensor in held.items())
    opened = store.decode(container)
    assert all(torch.equal(opened[name], tensor) for name, tensor in held.items())


def test_codes_of_one_width_share_and_those_of_others_do_not(monkeypatch):
    held = {f"{i}.codes": on_grid(i, (3, 6)[i % 2], True, 30, 30) for i in range(12)}
    container = store.encode(held)
    sharing = {entry.name: entry.stream for entry in store.index_of(container).entries}
    assert {sharing[f"{i}.codes"] for i in range(0, 12, 2)} == {0}
    assert {sharing[f"{i}.codes"] for i in range(1, 12, 2)} == {1}
    assert all(len(container) < 0.95 * len(other) for other, _ in ways(monkeypatch, held))


def test_few_numbers_share_whatever_they_are():
    held = {f"{i}.codes": on_grid(i, 2 + i % 7, i % 2 == 0, 1, 12) for i in range(20)}
    assert len(store.index_of(store.encode(held)).streams) == 1
