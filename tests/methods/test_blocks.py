"""Blocks: the ones that do nothing go; spacing, lists and refusals."""

import pytest
import torch

from laconic import layers, scoring
from laconic.errors import RecipeError
from laconic.methods.blocks import Blocks
from laconic.testing import logits
from tests.workshop import work

PRENORM = [("gpt2", "tokens"), ("llama", "tokens"), ("t5", "sequence")]


@torch.no_grad()
def idle(w, block):
    """A block that adds nothing to the residual stream."""
    for a in (block.attention, block.cross):
        if a is not None:
            silence(w, a.o)
    silence(w, block.ffn.output)


def silence(w, path):
    parts = layers.take(w.model.get_submodule(path))
    parts.weight.zero_()
    if parts.bias is not None:
        parts.bias.zero_()


def marks(w, stack=0):
    return [
        layers.take(w.model.get_submodule(b.ffn.output)).weight.detach().clone() for b in w.anatomy.stacks[stack].blocks
    ]


def test_only_so_many_tokens_are_asked():
    w = work("bert")
    paths = [block.path for block in w.anatomy.stacks[0].blocks]
    whole, first = (scoring.influences(w, paths, 12, length) for length in (None, 1))
    assert whole != first
    assert scoring.angles(w, paths, 1, 12, 1) != scoring.angles(w, paths, 1, 12)
    kept = [Blocks(0.5, length=length)._kept(w, w.anatomy.stacks[0]) for length in (None, 1)]
    assert kept[0] != kept[1]


@pytest.mark.parametrize(("family", "head"), PRENORM)
def test_idle_blocks_go_and_the_function_stays(family, head):
    w = work(family, head=head)
    for stack in w.anatomy.stacks:
        idle(w, stack.blocks[1])
    before, said = marks(w), logits(w)
    depths = [s.depth for s in w.anatomy.stacks]
    Blocks(keep=0.6).apply(w)
    assert [s.depth for s in w.anatomy.stacks] == [max(1, round(0.6 * d)) for d in depths]
    assert all(a.equal(before[k]) for a, k in zip(marks(w), (0, 2), strict=True))
    torch.testing.assert_close(logits(w), said, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2", "llama"])
def test_influences_are_one_minus_the_cosine_between_hidden_states(family):
    w = work(family)
    paths = [block.path for block in w.anatomy.stacks[0].blocks]
    found = scoring.influences(w, paths, 1000)
    cosines = [[] for _ in paths]
    for row in w.task.encode(w.data.train, w.tokenizer, answers=False):
        with torch.no_grad():
            hidden = w.model(torch.tensor([row["input_ids"]]), output_hidden_states=True).hidden_states
        for i in range(len(paths) - 1):  # what a decoder gives behind its last block has been through the last norm
            cosines[i] += [
                1 - torch.cosine_similarity(a, b, dim=0).item()
                for a, b in zip(hidden[i][0], hidden[i + 1][0], strict=True)
            ]
    for path, slow in list(zip(paths, cosines, strict=True))[:-1]:
        assert found[path] == pytest.approx(sum(slow) / len(slow), rel=1e-3)


def test_blocks_in_a_row_that_undo_one_another_go_together():
    w = work("gpt2")
    shift = torch.randn(32, generator=torch.Generator().manual_seed(0)) * 20
    for block, sign in zip(w.anatomy.stacks[0].blocks[1:], (1, -1), strict=True):
        idle(w, block)
        layers.take(w.model.get_submodule(block.ffn.output)).bias.data.copy_(sign * shift)
    before, said = marks(w), logits(w)
    Blocks(keep=0.34, choose="angular").apply(w)
    assert [m.equal(before[0]) for m in marks(w)] == [True]
    torch.testing.assert_close(logits(w), said, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("run", [1, 2])
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_angles_are_those_between_hidden_states(family, run):
    w = work(family)
    paths = [block.path for block in w.anatomy.stacks[0].blocks]
    found = scoring.angles(w, paths, run, 1000)
    assert len(found) == 4 - run
    slow = []
    for row in w.task.encode(w.data.train, w.tokenizer, answers=False):
        with torch.no_grad():
            hidden = w.model(torch.tensor([row["input_ids"]]), output_hidden_states=True).hidden_states
        cosines = torch.cosine_similarity(hidden[0][0].double(), hidden[run][0].double(), dim=-1)  # (tokens,)
        slow += (torch.arccos(cosines) / torch.pi).tolist()
    assert found[0] == pytest.approx(sum(slow) / len(slow), rel=1e-3)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"choose": "even", "keep": 0.7}, [0, 2]),
        ({"choose": "first", "keep": 0.7}, [0, 1]),
        ({"blocks": [2, 1]}, [1, 2]),
        ({"choose": "even", "keep": 0.01}, [0]),
        ({"keep": 1.0}, [0, 1, 2]),
    ],
)
def test_which_blocks_stay(options, kept):
    w = work("bert")
    before = marks(w)
    Blocks(**options).apply(w)
    assert all(a.equal(before[k]) for a, k in zip(marks(w), kept, strict=True))


def test_albert_runs_its_block_fewer_times():
    w = work("albert")
    Blocks(keep=0.7).apply(w)
    assert w.anatomy.stacks[0].depth == 2
    assert logits(w).isfinite().all()


def test_a_block_that_is_not_there_is_named():
    with pytest.raises(RecipeError, match=r"blocks is \[0, 3\], but bert.encoder.layer has 3 blocks, 0 to 2"):
        Blocks(blocks=[0, 3]).apply(work("bert"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 0}, "keep is 0"),
        ({"choose": "last"}, "choose is 'last'"),
        ({"blocks": []}, "list different blocks"),
        ({"blocks": [1, 1]}, "list different"),
        ({"blocks": [-1]}, "counted from 0"),
        ({"samples": 0}, "samples is 0"),
        ({"blocks": [0], "keep": 0.9}, r"keep is 0.9, which nothing reads where blocks is \[0\]"),
        ({"blocks": [0], "choose": "angular"}, "choose is 'angular', which nothing reads"),
        ({"choose": "even", "samples": 3}, "samples is 3, which nothing reads where choose is 'even'"),
        ({"choose": "first", "length": 3}, "length is 3, which nothing reads where choose is 'first'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        Blocks(**options).check()
