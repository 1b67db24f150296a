"""Hidden width: dimensions that no norm lets through go first, in every family."""

import pytest
import torch

from laconic import layers
from laconic.errors import RecipeError
from laconic.methods.width import Width, readers
from laconic.testing import logits
from tests.tiny import HIDDEN
from tests.workshop import work

FAMILIES = [
    ("bert", "tokens"),
    ("bert", "sequence"),
    ("roberta", "tokens"),
    ("distilbert", "tokens"),
    ("gpt2", "tokens"),
    ("llama", "tokens"),
    ("albert", "tokens"),
    ("electra", "tokens"),
    ("t5", "sequence"),
    ("bart", "sequence"),
]


def norms(w):
    return [m for m in w.model.modules() if type(m).__name__.endswith("Norm") and m.weight.shape == (w.anatomy.hidden,)]


@torch.no_grad()
def silence(w, dims):
    """No norm lets these dimensions through."""
    for norm in norms(w):
        norm.weight[dims] = 0
        if getattr(norm, "bias", None) is not None:
            norm.bias[dims] = 0


def words(w):
    return layers.take(w.model.get_submodule(w.anatomy.word_embedding)).weight.detach().clone()


@pytest.mark.parametrize(("family", "head"), FAMILIES)
@pytest.mark.parametrize("importance", ["taylor", "fisher", "activation"])
def test_silent_dimensions_are_those_that_go(family, head, importance):
    w = work(family, head=head)
    dead = torch.randperm(HIDDEN, generator=torch.Generator().manual_seed(1))[:12].tolist()
    silence(w, dead)
    mark = w.model.get_submodule(w.anatomy.stacks[0].blocks[0].ffn.output)
    before = layers.take(mark).weight.detach().clone()  # (hidden, neurons)
    Width(keep=20 / HIDDEN, importance=importance, multiple=4).apply(w)
    kept = [d for d in range(HIDDEN) if d not in dead]
    after = layers.take(w.model.get_submodule(w.anatomy.stacks[0].blocks[0].ffn.output)).weight
    assert after.equal(before[kept])
    assert w.anatomy.hidden == 20
    assert logits(w).isfinite().all()


@torch.no_grad()
def test_with_an_empty_residual_the_function_stays_up_to_the_norms_own_count():
    w = work("llama")
    dead = [3, 4, 9, 20, 21, 22, 30, 31]
    silence(w, dead)
    w.model.get_submodule(w.anatomy.word_embedding).weight[:, dead] = 0
    for block in w.anatomy.stacks[0].blocks:
        for path in (block.attention.o, block.ffn.output):
            w.model.get_submodule(path).weight[dead] = 0
    said = logits(w)
    Width(keep=0.75, multiple=8).apply(w)
    for norm in norms(w):
        norm.weight *= (24 / HIDDEN) ** -0.5  # the root mean square is over 24 dimensions, of 32 before
    torch.testing.assert_close(logits(w), said, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "gpt2", "llama", "albert", "electra", "t5"])
def test_readers_see_every_norm_of_the_residual_stream(family):
    w = work(family, number=4)
    made, read = [], []  # tensors are held, so that no address is given out twice
    handles = [n.register_forward_hook(lambda *a: made.append(a[2])) for n in norms(w)]
    modules = [w.model.get_submodule(path) for path in readers(w.anatomy)]
    handles += [m.register_forward_pre_hook(lambda _, a: read.append(a[0])) for m in modules]
    logits(w)
    for handle in handles:
        handle.remove()
    assert made
    assert {x.data_ptr() for x in made} <= {x.data_ptr() for x in read}


@pytest.mark.parametrize(
    ("keep", "multiple", "expected"), [(0.5, 8, 16), (0.6, 8, 16), (0.3, 4, 8), (0.01, 8, 8), (1.0, 5, 32)]
)
def test_what_is_kept_is_a_multiple(keep, multiple, expected):
    w = work("bert")
    Width(keep=keep, multiple=multiple).apply(w)
    assert w.anatomy.hidden == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": 2}, "keep is 2"),
        ({"multiple": 0}, "multiple is 0"),
        ({"importance": ""}, "importance is ''"),
        ({"samples": 0}, "samples is 0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        Width(**options).check()
