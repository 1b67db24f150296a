import json

import pytest
import torch

from laconic import effects, testing
from laconic.contracts import Sketch, Splits, Work
from laconic.data.batching import model_inputs, pad
from laconic.errors import RecipeError
from laconic.methods.vocabulary import Vocabulary
from laconic.tasks.classify import Classify
from laconic.tasks.ner import NER
from tests.subwords.built import USED, build
from tests.tiny import tiny

TOKENIZERS = {
    "bert": "bert",
    "distilbert": "bert",
    "roberta": "roberta",
    "gpt2": "gpt",
    "llama": "llama",
    "t5": "t5",
    "bart": "roberta",
}


def fresh(family="bert", folder=None, head="tokens", lines=USED):
    """A Work whose tokenizer spells; its model has a row for each piece and 5 more."""
    tokenizer = build(TOKENIZERS[family])
    model = tiny(family, 3, head)
    config = model.config
    config.vocab_size = len(tokenizer) + 5
    for name in ("pad", "bos", "eos"):
        setattr(config, f"{name}_token_id", getattr(tokenizer, f"{name}_token_id"))
    torch.manual_seed(0)
    model = type(model)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    if head == "tokens":
        task, train = (
            NER(("O", "B-A", "I-A")),
            [{"tokens": line.split(), "tags": ["O"] * len(line.split())} for line in lines],
        )
    else:
        task, train = Classify(("x", "y", "z")), [{"text": line, "label": "x"} for line in lines]
    return Work(model, tokenizer, task, Splits(train, train[:2], "0"), None, 0, folder, log=lambda _: None)


def said(work):
    features = work.task.encode(work.data.train, work.tokenizer, answers=False)
    batch = pad(features, work.tokenizer.pad_token_id or 0)
    with torch.no_grad():
        return work.model(**model_inputs(batch)).logits, batch


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "gpt2", "llama", "t5", "bart"])
def test_what_the_model_says_of_the_training_text_stays(family):
    work = fresh(family, head="sequence" if family != "bert" else "tokens")
    work.data.train[:] = [work.data.train[0]]  # alone, so that nothing depends on padding
    before, batch = said(work)
    rows = work.anatomy.vocabulary
    old = work.tokenizer
    Vocabulary().apply(work)
    after, smaller = said(work)
    assert torch.equal(after, before)
    assert len(work.tokenizer) == work.anatomy.vocabulary == work.model.config.vocab_size < rows - 5
    assert old.convert_ids_to_tokens(batch["input_ids"][0]) == work.tokenizer.convert_ids_to_tokens(
        smaller["input_ids"][0]
    )


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_padded_batches_say_the_same(family):
    work = fresh(family, head="sequence")
    before, _ = said(work)
    Vocabulary().apply(work)
    torch.testing.assert_close(said(work)[0], before, rtol=0, atol=1e-6)


def test_the_configuration_gets_the_new_ids():
    work = fresh("gpt2", head="lm", lines=["the sea"])
    config, old = work.model.config, work.tokenizer
    used = old("the sea")["input_ids"][0]
    never = len(old) + 2  # a row without a piece
    config.bad_words_ids, config.suppress_tokens, config.decoder_start_token_id = (
        [[used], [old.pad_token_id, used]],
        [used],
        never,
    )
    config.forced_eos_token_id, config.sep_token_id = -1, used
    work.model.generation_config.eos_token_id = [old.eos_token_id, used]
    work.task = Classify(("x",))
    Vocabulary().apply(work)
    new = work.tokenizer
    place = new("the sea")["input_ids"][0]
    assert place != used
    assert (config.pad_token_id, config.eos_token_id) == (new.pad_token_id, new.eos_token_id)
    assert config.pad_token_id != old.pad_token_id
    assert config.bad_words_ids == [[place], [new.pad_token_id, place]]
    assert config.suppress_tokens == [place]
    assert (config.sep_token_id, config.decoder_start_token_id, config.forced_eos_token_id) == (place, None, -1)
    assert work.model.generation_config.eos_token_id == [new.eos_token_id, place]


def test_ids_that_the_configuration_names_are_kept():
    work = fresh("bert")
    kept = build("bert").convert_tokens_to_ids("shells")
    work.model.config.sep_token_id = kept
    Vocabulary().apply(work)
    assert work.tokenizer.convert_ids_to_tokens(work.model.config.sep_token_id) == "shells"


def test_nothing_changes_when_every_piece_is_kept():
    work = fresh("gpt2", head="sequence")
    tokenizer, rows = work.tokenizer, work.anatomy.vocabulary
    before = effects.measure(work.model)
    Vocabulary(extra=10**6).apply(work)
    assert work.tokenizer is tokenizer
    assert work.anatomy.vocabulary == rows
    assert work.idle == f"all {len(tokenizer)} pieces are used or asked for"
    assert effects.measure(work.model) == before


def test_only_training_text_counts():
    work = fresh("bert")
    work.data.validation[:] = [{"tokens": ["shells"], "tags": ["O"]}]
    work.data.train[:] = [{"tokens": ["fox"], "tags": ["O"]}]
    lines = []
    work.log = lines.append
    Vocabulary().apply(work)
    known = work.tokenizer.get_vocab()
    assert "fox" in known
    assert "shells" not in known
    old, new = (len(t("shells")["input_ids"]) for t in (build("bert"), work.tokenizer))
    assert (
        f"{len(known)} of {len(build('bert'))} pieces are kept; validation text takes {new / old - 1:.1%} more"
        in lines[0]
    )


def test_options_reach_the_tokenizer():
    sizes = {}
    for name, options in {
        "plain": {},
        "seen": {"characters": "seen"},
        "twice": {"min_count": 2},
        "more": {"extra": 9},
    }.items():
        work = fresh("bert")
        Vocabulary(**options).apply(work)
        sizes[name] = len(work.tokenizer)
    assert sizes["seen"] < sizes["plain"]
    assert sizes["twice"] < sizes["plain"]
    assert sizes["more"] == sizes["plain"] + 9
    work = fresh("bert")
    Vocabulary(tokens=sizes["plain"] - 7).apply(work)
    assert len(work.tokenizer) == sizes["plain"] - 7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tokens": 0}, "tokens is 0"),
        ({"min_count": 0}, "min_count is 0"),
        ({"extra": -1}, "extra is -1"),
        ({"extra": 2.7}, "extra is 2.7; give a whole number of pieces, or a share below 1"),
        ({"characters": "some"}, "all, seen"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        Vocabulary(**options).check()
    Vocabulary(tokens=9, min_count=3, extra=0.5, characters="seen").check()


def test_forecast():
    sketch = Sketch(30522, 384, 6, 1.0, 1.0, 514, 1.0)
    assert Vocabulary().forecast(sketch).vocabulary == 30522
    assert Vocabulary(tokens=9000).forecast(sketch).vocabulary == 9000
    known = Sketch(1000, 384, 6, 1.0, 1.0, 514, 1.0, used_tokens=400)
    assert Vocabulary().forecast(known).vocabulary == 400
    assert Vocabulary(extra=0.5).forecast(known).vocabulary == 700
    assert Vocabulary(extra=100).forecast(known).vocabulary == 500
    assert Vocabulary(extra=5000).forecast(known).vocabulary == 1000
    assert Vocabulary(tokens=300).forecast(known).vocabulary == 300


def test_the_promises_of_a_method(tmp_path):
    method = Vocabulary()
    testing.declared_is_done(method, fresh)
    testing.harmless_at_zero(method, fresh)
    testing.nothing_left_behind(method, fresh)
    testing.round_trip(method, fresh, tmp_path / "out")
    testing.same_twice(method, fresh)


def test_the_artifact_holds_the_small_tokenizer_only(tmp_path):
    work = fresh("bert")
    Vocabulary().apply(work)
    work.tokenizer.save_pretrained(tmp_path)
    data = json.loads((tmp_path / "tokenizer.json").read_text())
    assert len(data["model"]["vocab"]) == len(work.tokenizer)
    assert {p.name for p in tmp_path.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}


def test_pieces_of_texts_without_labels_are_kept_too():
    plain, more = fresh(lines=USED[:2]), fresh(lines=USED[:2])
    more.data.unlabelled.extend({"tokens": line.split()} for line in USED[2:])
    for one in (plain, more):
        Vocabulary().apply(one)
    texts = more.data.unlabelled
    shorter, longer = (
        sum(len(f["input_ids"]) for f in one.task.encode(texts, one.tokenizer, answers=False)) for one in (more, plain)
    )
    assert shorter < longer
    assert len(more.tokenizer) > len(plain.tokenizer)
