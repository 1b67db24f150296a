"""Heads: dead ones go first and nothing changes, in every family; slopes against brute force."""

import pytest
import torch

from laconic import layers, scoring
from laconic.calibration import sums
from laconic.errors import RecipeError
from laconic.methods.heads import Heads
from laconic.testing import logits
from tests.workshop import work

FAMILIES = [
    ("bert", "tokens"),
    ("roberta", "tokens"),
    ("distilbert", "tokens"),
    ("gpt2", "tokens"),
    ("llama", "tokens"),
    ("gpt_neox", "lm"),
    ("phi3", "lm"),
    ("opt", "lm"),
    ("albert", "tokens"),
    ("electra", "sequence"),
    ("t5", "sequence"),
    ("bart", "sequence"),
]


def attentions(anatomy):
    blocks = [block for stack in anatomy.stacks for block in stack.blocks]
    return [a for b in blocks for a in (b.attention, b.cross) if a is not None]


@torch.no_grad()
def kill_heads(model, attention, heads):
    layers.take(model.get_submodule(attention.o)).weight[:, attention.columns(heads)] = 0  # (out, in)


@pytest.mark.parametrize(("family", "head"), FAMILIES)
@pytest.mark.parametrize("importance", ["taylor", "fisher", "activation"])
def test_dead_heads_go_and_the_function_stays(family, head, importance):
    w = work(family, head=head)
    for i, a in enumerate(attentions(w.anatomy)):
        kill_heads(w.model, a, [0, 1] if a.kv_heads < a.heads or family == "t5" else [i % 4, (i + 2) % 4])
    said = logits(w)
    Heads(keep=0.5, importance=importance).apply(w)
    assert {a.heads for a in attentions(w.anatomy)} == {2}
    torch.testing.assert_close(logits(w), said, rtol=1e-4, atol=1e-4)


def test_scores_are_the_slopes_of_the_loss_in_gates_that_scale_a_head(monkeypatch):
    w = work("bert", number=6)
    sites = {b.attention.o: b.attention.head_size for b in w.anatomy.stacks[0].blocks}
    found, squares = (scoring.gates(w, sites, samples=100, squared=squared) for squared in (False, True))
    monkeypatch.setattr(scoring, "BATCH", 1)

    def losses():
        return torch.stack([loss.detach() for loss, _, _ in scoring._runs(w, [], 100)]).double()  # (examples,)

    for path, size in sites.items():
        weight, step = w.model.get_submodule(path).weight.data, 1e-2
        for h in range(4):
            columns = slice(h * size, (h + 1) * size)
            kept = weight[:, columns].clone()
            weight[:, columns] = kept * (1 + step)
            up = losses()
            weight[:, columns] = kept * (1 - step)
            slope = (up - losses()) / (2 * step)
            weight[:, columns] = kept
            assert found[path][h].item() == pytest.approx(slope.abs().sum().item(), rel=2e-2)
            assert squares[path][h].item() == pytest.approx(slope.square().sum().item(), rel=2e-2)


def test_scores_do_not_follow_the_batches(monkeypatch):
    w = work("bert")
    sites = {b.attention.o: b.attention.head_size for b in w.anatomy.stacks[0].blocks}
    whole = scoring.gates(w, sites, samples=100)
    monkeypatch.setattr(scoring, "BATCH", 5)
    for path, scores in scoring.gates(w, sites, samples=100).items():
        torch.testing.assert_close(scores, whole[path], rtol=1e-4, atol=1e-6)


def test_global_scope_takes_heads_where_they_are_dead_and_leaves_every_block_one():
    w = work("bert")
    first, second, _ = attentions(w.anatomy)
    kill_heads(w.model, first, [0, 1, 2, 3])
    kill_heads(w.model, second, [1, 2])
    said = logits(w)
    Heads(keep=0.6, scope="global").apply(w)  # 7 of 12
    assert [a.heads for a in attentions(w.anatomy)] == [1, 2, 4]
    torch.testing.assert_close(logits(w), said, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_reconstruction_is_the_least_squares_fit_on_the_heads_that_stay(family):
    w = work(family, number=60)
    path = attentions(w.anatomy)[0].o
    before, kept = layers.take(w.model.get_submodule(path)), work(family, number=60)
    weight, bias = before.weight.detach().clone(), before.bias
    x, gave = inputs(w, path)
    for reconstruct, at in ((True, w), (False, kept)):
        Heads(keep=0.5, reconstruct=reconstruct).apply(at)
    cut = layers.take(kept.model.get_submodule(path)).weight.detach()
    stay = [i for i in range(weight.shape[1]) if any(weight[:, i].equal(c) for c in cut.T)]  # columns as they were
    ones = [x[:, stay]] if bias is None else [x[:, stay], torch.ones(len(x), 1, dtype=x.dtype)]
    slow = torch.linalg.lstsq(torch.cat(ones, 1), gave).solution.T  # (out, kept), the bias last
    found = layers.take(w.model.get_submodule(path))
    given = x[:, stay] @ found.weight.detach().double().T + (0 if bias is None else found.bias.detach().double())
    fitted = torch.cat(ones, 1) @ slow.T
    assert float((given - gave).square().sum()) <= 1.02 * float((fitted - gave).square().sum())
    plain = x[:, stay] @ cut.double().T + (0 if bias is None else bias.detach().double())
    assert float((given - gave).square().sum()) < 0.9 * float((plain - gave).square().sum())


def inputs(w, path):
    """What enters and leaves a layer, each (tokens, channels) in float64."""
    pairs = [
        (sums.tokens(s.given, mask).double(), sums.tokens(s.gave, mask).double())
        for seen, mask in scoring._passes(w, [path], 1000)
        for s in seen[path]
    ]
    return tuple(torch.cat(side) for side in zip(*pairs, strict=True))


def test_heads_that_share_a_key_go_together():
    w = work("llama")
    Heads(keep=0.5).apply(w)
    assert [(a.heads, a.kv_heads) for a in attentions(w.anatomy)] == [(2, 1)] * 3


def test_gradients_are_reached_below_frozen_parameters():
    w = work("bert")
    Heads(keep=0.5).apply(w)
    frozen = work("bert")
    frozen.model.requires_grad_(False)
    Heads(keep=0.5).apply(frozen)
    assert logits(frozen).equal(logits(w))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 0.0}, "keep is 0.0; give a fraction above 0 and at most 1"),
        ({"keep": 1.2}, "keep is 1.2"),
        ({"importance": "size"}, "importance is 'size'; choose one of taylor, fisher, activation"),
        ({"scope": "all"}, "scope is 'all'; choose one of block, global"),
        ({"samples": 0}, "samples is 0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        Heads(**options).check()
