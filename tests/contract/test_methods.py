"""Every method in methods/ keeps the contract, on tiny models; there is no list to extend."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from laconic import methods, testing
from laconic.contracts import NEEDS, PARTS, PROPERTIES, Teacher, Work
from laconic.errors import AnatomyError, RecipeError
from laconic.recipe import meet
from tests.tiny import tiny
from tests.workshop import TAGS, tokenizer, work

NAMES = methods.names()
METHODS = {name: testing.small(methods.kind(name)) for name in NAMES}
MAKERS = [name for name in NAMES if METHODS[name].makes]
TRAINERS = [name for name in NAMES if "training" in METHODS[name].needs]
FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "llama", "t5")
LANGUAGE = ("gpt2", "llama")
WRITERS = ("t5", "marian", "bart")
WITHOUT = {("positions", "llama"), ("positions", "t5")}  # their positions are not learned
WITHOUT |= {("rotate", family) for family in (*FAMILIES, *WRITERS) if family != "llama"}  # not pre-norm with RMS norms
WHOLE = {"separable"}  # reads other positions, and a decoder that writes sees one at a time
SHAPES = ("gpt_neox", "opt", "phi3", "gemma3_text")  # fused otherwise, side by side, flat, normed again
SHAPED = ("awq", "blocks", "gptq", "heads", "neurons", "positions", "rotate", "rtn", "smoothquant")
SHAPED += ("vocabulary", "wanda", "width")
WITHOUT |= {("rotate", family) for family in SHAPES if family != "phi3"}
FITTING = {"rotate": "llama", "smoothquant": "llama"}  # the family for checks that need one only; bert for the others
UNSEEN = {name: ["patience"] for name in TRAINERS}  # ends training early, for which 2 epochs are too few
UNSEEN["blocks"] = ["length"]  # of so few blocks the same go; its own tests have a model where others do
SHARE = 4  # of the pairs, the part that is tried every time; each method is first and second in some
PAIRS = [
    pytest.param(first, second, marks=() if (i + j) % SHARE == 0 else pytest.mark.slow)
    for (i, first), (j, second) in itertools.product(enumerate(MAKERS), repeat=2)
]
HEALED = [
    pytest.param(first, second, marks=() if (i + j) % (2 * SHARE) == 0 else pytest.mark.slow)
    for (i, first), (j, second) in itertools.product(enumerate(MAKERS), enumerate(n for n in NAMES if n not in MAKERS))
]
REFUSED = {  # maker and what makes nothing after it: words of the error
    ("hash", "lora"): "adds to weights, and step 1 .hash. leaves none",
    ("kmeans", "lora"): "adds to weights, and step 1 .kmeans. leaves none",
    ("convolve", "smoothquant"): "no linear of this model can be smoothed: .*are held in a form that can't be scaled",
    ("separable", "smoothquant"): "no linear of this model can be smoothed: .*are held in a form that can't be scaled",
    ("width", "layerwise"): "hidden states are 16 wide and the original's 32; use distill",
}

APART = [  # pairs that only where they reach makes sound; what is done to a head the methods' own tests show
    (name, narrowed, second)
    for name, second in itertools.product(NAMES, NAMES)
    if hasattr(METHODS[name], "where") and hasattr(METHODS[second], "touches")
    for narrowed in testing.others(METHODS[name], "where")
    if narrowed.where != "head"
    and not meet(narrowed, METHODS[second])
    and (narrowed.makes - METHODS[second].keeps or METHODS[second].makes - narrowed.keeps)
]
APART = [
    pytest.param(
        *pair, id=f"{pair[0]}-{pair[1].where}-{pair[2]}", marks=() if i % (2 * SHARE) == 0 else pytest.mark.slow
    )
    for i, pair in enumerate(APART)
]

SPLIT = [  # pairs that only their own `where` keeps apart
    (first, one, second, other)
    for first, second in itertools.product(NAMES, NAMES)
    if hasattr(METHODS[first], "where") and hasattr(METHODS[second], "where")
    for one, other in itertools.product(
        testing.others(METHODS[first], "where"), testing.others(METHODS[second], "where")
    )
    if "head" not in (one.where, other.where) and not meet(one, other) and one.makes - other.keeps
]
SPLIT = [
    pytest.param(
        *pair, id=f"{pair[0]}-{pair[1].where}-{pair[2]}-{pair[3].where}",
        marks=() if i % (6 * SHARE) == 0 or {pair[0], pair[2]} == {"activations", "svd"} else pytest.mark.slow,
    )
    for i, pair in enumerate(SPLIT)
]  # fmt: skip


@pytest.fixture
def fresh(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], Work]:
    names = [request.node.callspec.params.get(key) for key in ("name", "second")]
    return maker(next((FITTING[name] for name in names if name in FITTING), "bert"), tmp_path)


def maker(family: str, folder: Path, head: str = "tokens") -> Callable[[], Work]:
    counter: Iterator[int] = itertools.count()
    return lambda: work(family, folder / str(next(counter)), head=head)


def taught(folder: Path) -> Callable[[], Work]:
    """A teacher that says something else than the model."""
    teacher = Teacher(tiny("bert", len(TAGS), seed=1), tokenizer())
    fresh = maker("bert", folder)
    return lambda: replace(fresh(), teacher=teacher)


@pytest.mark.parametrize("name", NAMES)
def test_declarations_are_known_words(name):
    method = METHODS[name]
    assert method.needs <= NEEDS
    assert method.makes | method.keeps <= PROPERTIES
    assert getattr(method, "touches", PARTS) <= PARTS
    method.check()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name, family, tmp_path):
    if (name, family) not in WITHOUT and (name not in TRAINERS or family == "bert"):
        testing.round_trip(METHODS[name], maker(family, tmp_path), tmp_path / "artifact")


@pytest.mark.parametrize("family", LANGUAGE)
@pytest.mark.parametrize("name", NAMES)
def test_language_models(name, family, tmp_path):
    """With their own head, which is as wide as the vocabulary, and tied to the embeddings in GPT-2."""
    if (name, family) not in WITHOUT and name not in WHOLE:
        testing.round_trip(METHODS[name], maker(family, tmp_path, "lm"), tmp_path / "artifact")


@pytest.mark.parametrize("family", SHAPES)
@pytest.mark.parametrize("name", SHAPED)
def test_decoders_of_other_shapes(name, family, tmp_path):
    """Those methods that see how a block is built; what does not fit is refused in words."""
    fresh = maker(family, tmp_path, "lm")
    if (name, family) in WITHOUT:
        with pytest.raises(AnatomyError, match=f"{family} can't be rotated"):
            METHODS[name].apply(fresh())
        return
    testing.round_trip(METHODS[name], fresh, tmp_path / "artifact")
    testing.harmless_at_zero(METHODS[name], fresh)


@pytest.mark.parametrize("family", WRITERS)
@pytest.mark.parametrize("name", NAMES)
def test_encoder_decoders_that_write(name, family, tmp_path):
    """With the head that says the next word, on texts that are read and others that are written."""
    if (name, family) not in WITHOUT:
        testing.round_trip(METHODS[name], maker(family, tmp_path, "translate"), tmp_path / "artifact")


@pytest.mark.parametrize("family", ["t5", "bart"])
@pytest.mark.parametrize("name", TRAINERS)
def test_encoder_decoders_that_classify_learn(name, family, tmp_path):
    """They read one text in both stacks."""
    testing.round_trip(METHODS[name], maker(family, tmp_path, "sequence"), tmp_path / "artifact")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", MAKERS)
def test_harmless_at_zero(name, family, tmp_path):
    testing.harmless_at_zero(METHODS[name], maker(family, tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_same_twice(name, fresh):
    testing.same_twice(METHODS[name], fresh)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_matters(name, fresh, tmp_path):
    others = maker("gpt2", tmp_path / "gpt2"), taught(tmp_path / "taught")
    models = (fresh,) if name in FITTING else (fresh, *others)
    testing.every_option_matters(METHODS[name], *models, unseen=UNSEEN.get(name, ()))


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_pairs(first, second, fresh):
    testing.pairs(METHODS[first], METHODS[second], (first, second), fresh)


@pytest.mark.parametrize(("first", "second"), HEALED)
def test_what_makes_nothing_keeps_what_was_made(first, second, fresh):
    words = REFUSED.get((first, second))
    with pytest.raises((RecipeError, AnatomyError), match=words) if words else contextlib.nullcontext():
        testing.pairs(METHODS[first], METHODS[second], (first, second), fresh)


@pytest.mark.parametrize(("first", "narrowed", "second"), APART)
def test_pairs_on_other_parts(first, narrowed, second, fresh):
    testing.pairs(narrowed, METHODS[second], (first, second), fresh)
    testing.pairs(METHODS[second], narrowed, (second, first), fresh)


@pytest.mark.parametrize(("first", "one", "second", "other"), SPLIT)
def test_pairs_that_split_a_model(first, one, second, other, fresh):
    testing.pairs(one, other, (first, second), fresh)


@pytest.mark.parametrize("block", range(3))
def test_any_block_may_stay_of_those_that_are_cut_unevenly(block, tmp_path):
    uneven = replace(METHODS["neurons"], scope="global")
    testing.pairs(uneven, methods.kind("blocks")(blocks=[block]), ("neurons", "blocks"), maker("bert", tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_left_behind(name, fresh):
    testing.nothing_left_behind(METHODS[name], fresh)
