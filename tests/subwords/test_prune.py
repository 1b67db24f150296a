import functools
import json
from collections import Counter

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from laconic import subwords
from laconic.errors import AnatomyError, RecipeError
from tests.subwords.built import KINDS, TEXT, USED, build, turned

ANY = st.text(
    st.sampled_from(sorted({c for line in TEXT for c in line} | set("éЖ#_▁\t@中字🙂\u0301")))
    | st.characters(codec="utf-8"),
    max_size=40,
)
KNOWN = st.lists(st.sampled_from(sorted({w for line in TEXT for w in line.split()})), max_size=8).map(" ".join)


def counted(tokenizer, lines=USED):
    return Counter(i for ids in tokenizer(lines)["input_ids"] for i in ids)


@functools.cache
def pair(kind):
    tokenizer = build(kind)
    small, ids = subwords.prune(tokenizer, counted(tokenizer))
    return tokenizer, small, ids


@pytest.mark.parametrize("kind", KINDS)
def test_training_text_is_cut_into_the_same_pieces(kind):
    tokenizer, small, ids = pair(kind)
    assert len(small) == len(ids) < len(tokenizer) - 20
    for line in USED:
        before, after = tokenizer(line)["input_ids"], small(line)["input_ids"]
        assert [ids[i] for i in after] == before
        assert small.convert_ids_to_tokens(after) == tokenizer.convert_ids_to_tokens(before)


@pytest.mark.parametrize("kind", KINDS)
def test_every_piece_keeps_its_name_and_no_row_is_taken_twice(kind):
    tokenizer, small, ids = pair(kind)
    assert small.convert_ids_to_tokens(range(len(ids))) == tokenizer.convert_ids_to_tokens(ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=ANY | KNOWN)
def test_any_text_still_encodes(kind, text):
    tokenizer, small, _ = pair(kind)
    before, after = tokenizer(text)["input_ids"], small(text)["input_ids"]
    assert tokenizer.decode(before, skip_special_tokens=True) == small.decode(after, skip_special_tokens=True)
    unknown = tokenizer.unk_token_id
    if unknown is not None and unknown not in before:
        assert small.unk_token_id not in after


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(lines=st.lists(ANY | KNOWN, min_size=1, max_size=4), extra=st.sampled_from([0, 7, 0.3]))
def test_whatever_the_training_text_is(kind, lines, extra):
    tokenizer = build(kind)
    small, ids = subwords.prune(tokenizer, counted(tokenizer, lines), extra=extra)
    for line in lines:
        assert [ids[i] for i in small(line)["input_ids"]] == tokenizer(line)["input_ids"]


@pytest.mark.parametrize("kind", KINDS)
def test_special_and_added_tokens_stay_what_they_are(kind):
    tokenizer, small, ids = pair(kind)
    assert small.special_tokens_map == tokenizer.special_tokens_map
    assert [ids[i] for i in small.all_special_ids] == tokenizer.all_special_ids
    added = {token.content: (i, token) for i, token in small.added_tokens_decoder.items()}
    for i, token in tokenizer.added_tokens_decoder.items():
        place, kept = added[token.content]
        assert ids[place] == i
        assert (kept.special, kept.lstrip, kept.rstrip, kept.normalized) == (
            token.special,
            token.lstrip,
            token.rstrip,
            token.normalized,
        )
    two = small("the sea", "die Brücke")["input_ids"]
    assert tokenizer.decode([ids[i] for i in two]) == small.decode(two)
    assert [ids[i] for i in two] == tokenizer("the sea", "die Brücke")["input_ids"]
    for name in ("model_max_length", "padding_side", "truncation_side", "model_input_names"):
        assert getattr(small, name) == getattr(tokenizer, name)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_read_again(kind, tmp_path):
    _, small, _ = pair(kind)
    small.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    for line in TEXT:
        assert again(line)["input_ids"] == small(line)["input_ids"]
    assert again.special_tokens_map == small.special_tokens_map
    assert again.model_max_length == 512


def ends(data):
    step = data["post_processor"] or {}
    for part in step.get("processors", [step]):
        yield from (tuple(part[key]) for key in ("cls", "sep") if key in part)
        for special in part.get("special_tokens", {}).values():
            yield from zip(special["tokens"], special["ids"], strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_wherever_the_special_tokens_stand(kind):
    tokenizer = turned(kind)
    counts = counted(tokenizer)
    if kind == "bert":
        tokenizer.backend_tokenizer.enable_padding(pad_id=tokenizer.pad_token_id, pad_token="[PAD]")
    small, ids = subwords.prune(tokenizer, counts)
    data = json.loads(small.backend_tokenizer.to_str())
    known = small.get_vocab()
    if kind == "bert":
        assert data["padding"]["pad_id"] == known["[PAD]"] == len(known) - 1
    named = list(ends(data))
    assert named or kind in ("gpt", "clip")
    assert all(known[piece] == i for piece, i in named)
    assert (small.padding_side, small.truncation_side) == ("left", "left")
    for line in USED:
        assert [ids[i] for i in small(line)["input_ids"]] == tokenizer(line)["input_ids"]
        assert small.tokenize(line) == build(kind).tokenize(line)
    assert [ids[i] for i in small.all_special_ids] == tokenizer.all_special_ids


@pytest.mark.parametrize("kind", KINDS)
def test_all_pieces_kept_changes_nothing(kind):
    tokenizer = build(kind)
    same, ids = subwords.prune(tokenizer, dict.fromkeys(range(len(tokenizer)), 1))
    assert same is tokenizer
    assert ids == list(range(len(tokenizer)))


@pytest.mark.parametrize("kind", KINDS)
def test_required_ids_are_kept(kind):
    tokenizer, _, ids = pair(kind)
    missing = sorted(set(range(len(tokenizer))) - set(ids))
    _, more = subwords.prune(tokenizer, counted(tokenizer), required=missing[-2:])
    assert set(missing[-2:]) <= set(more)


def test_a_required_piece_can_be_made():
    tokenizer = build("gpt")
    spare = set(range(len(tokenizer))) - set(counted(tokenizer)) - set(tokenizer.added_tokens_decoder)
    wanted = max(spare, key=lambda i: tokenizer.decode([i]).isascii() * len(tokenizer.decode([i])))
    word = tokenizer.decode([wanted])
    assert len(word) > 4
    assert tokenizer(word)["input_ids"] == [wanted]
    small, ids = subwords.prune(tokenizer, {}, required=[wanted])
    assert [ids[i] for i in small(word)["input_ids"]] == [wanted]


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_is_the_most_and_the_common_come_first(kind):
    tokenizer, _, all_used = pair(kind)
    counts = counted(tokenizer)
    _, least = subwords.prune(tokenizer, {})
    room = (len(least) + len(all_used)) // 2
    small, ids = subwords.prune(tokenizer, counts, tokens=room)
    assert len(least) <= len(ids) <= room == len(small) or kind in ("gpt", "roberta", "llama", "clip")
    for line in TEXT:
        small(line)
    free = [i for i in ids if i not in least]
    gone = [i for i in counts if i not in ids]
    assert free
    assert gone
    if kind in ("bert", "t5", "t5_bytes"):  # in BPE a piece with many parts may have to make way for a rarer one
        assert min(counts[i] for i in free) >= max(counts[i] for i in gone)
    with pytest.raises(RecipeError, match=f"give at least {len(least)}"):
        subwords.prune(tokenizer, counts, tokens=len(least) - 1)


def test_min_count_drops_what_is_rarer():
    tokenizer = build("bert")
    counts = counted(tokenizer)
    _, ids = subwords.prune(tokenizer, counts, min_count=2)
    _, least = subwords.prune(tokenizer, {})
    assert set(ids) - set(least) == {i for i in counts if counts[i] >= 2} - set(least)


@pytest.mark.parametrize("kind", KINDS)
def test_extra_pieces_come_in_the_originals_order(kind):
    tokenizer, _, ids = pair(kind)
    _, more = subwords.prune(tokenizer, counted(tokenizer), extra=5)
    new = sorted(set(more) - set(ids))
    assert len(new) >= 5
    rest = sorted(set(range(len(tokenizer))) - set(ids))
    if kind in ("t5", "t5_bytes"):
        assert new == rest[:5]
    _, half = subwords.prune(tokenizer, counted(tokenizer), extra=0.5)
    assert len(half) - len(ids) == pytest.approx(len(rest) / 2, rel=0.35)


@pytest.mark.parametrize("kind", KINDS)
def test_only_seen_characters(kind):
    tokenizer, _, ids = pair(kind)
    small, fewer = subwords.prune(tokenizer, counted(tokenizer), characters="seen")
    assert len(fewer) < len(ids) or kind in ("gpt", "roberta")  # bytes are always an alphabet
    for line in USED:
        assert [fewer[i] for i in small(line)["input_ids"]] == tokenizer(line)["input_ids"]
    if kind in ("gpt", "roberta", "llama", "t5_bytes"):
        for line in TEXT:
            found = small(line)["input_ids"]
            assert small.unk_token_id is None or small.unk_token_id not in found
            assert small.decode(found, skip_special_tokens=True) == tokenizer.decode(
                tokenizer(line)["input_ids"], skip_special_tokens=True
            )


def test_pieces_that_bert_never_makes_are_dropped():
    tokenizer, _, ids = pair("bert")
    words = {tokenizer.convert_ids_to_tokens(i) for i in ids}
    vocabulary = dict(json.loads(tokenizer.backend_tokenizer.to_str())["model"]["vocab"])
    backend = Tokenizer(
        models.WordPiece(
            {**vocabulary, "##!": len(vocabulary), "##京": len(vocabulary) + 1, "[odd]": len(vocabulary) + 2},
            unk_token="[UNK]",
        )
    )
    backend.normalizer, backend.pre_tokenizer = (
        tokenizer.backend_tokenizer.normalizer,
        pre_tokenizers.BertPreTokenizer(),
    )
    backend.post_processor = tokenizer.backend_tokenizer.post_processor
    wider = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token="[MASK]",
    )
    small, _ = subwords.prune(wider, counted(wider), extra=0.999)
    assert {"##!", "##京", "[odd]"}.isdisjoint(small.get_vocab())
    assert words <= set(small.get_vocab())


def test_pieces_of_characters_that_are_no_pieces_stay():
    vocabulary = {p: i for i, p in enumerate(["[UNK]", "a", "##a", "b", "##b", "aq", "##bq", "##ab", "qa"])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    small, ids = subwords.prune(tokenizer, {})
    assert set(small.get_vocab()) == set(vocabulary) - {"##ab"}
    for word in ("aq", "abq", "qab"):
        assert [ids[i] for i in small(word)["input_ids"]] == tokenizer(word)["input_ids"]


def test_rules_with_a_prefix_inside_words():
    pieces = ["<unk>", "a", "##a", "b", "##b", "c", "##c", "##ab", "cab", "##bc", "##abc"]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    rules = [("##a", "##b"), ("c", "##ab"), ("##b", "##c"), ("##ab", "##c")]
    backend = Tokenizer(models.BPE(vocabulary, rules, unk_token="<unk>", continuing_subword_prefix="##"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    assert tokenizer.tokenize("cab abc") == ["cab", "a", "##bc"]
    small, _ = subwords.prune(tokenizer, {vocabulary["cab"]: 1})
    assert set(vocabulary) - set(small.get_vocab()) == {"##bc", "##abc"}
    assert small.tokenize("cab abc") == ["cab", "a", "##b", "##c"]
    small, _ = subwords.prune(tokenizer, {vocabulary["##abc"]: 1})
    assert set(vocabulary) - set(small.get_vocab()) == {"cab", "##bc"}
    assert small.tokenize("babc") == tokenizer.tokenize("babc") == ["b", "##abc"]


def test_unigram_pieces_of_characters_that_are_no_pieces_stay():
    rows = [("<unk>", 0.0), ("a", -1.0), ("ax", -3.0), ("aa", -2.0), ("b", -9.0)]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram(rows, unk_id=0)), unk_token="<unk>")
    small, _ = subwords.prune(tokenizer, {})
    assert set(small.get_vocab()) == {"<unk>", "a", "ax", "b"}
    assert small.tokenize("axaa") == ["ax", "a", "a"]


def test_whole_words_without_rules_stay():
    vocabulary = {p: i for i, p in enumerate(["<unk>", "a", "b", "ab", "abab", "zy"])}
    backend = Tokenizer(models.BPE(vocabulary, [("a", "b")], unk_token="<unk>", ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    small, _ = subwords.prune(tokenizer, {vocabulary["abab"]: 1})
    assert small.tokenize("abab zy ab") == ["abab", "zy", "a", "b"]


def test_the_least_likely_piece_stays_so_that_the_unknown_costs_the_same():
    rows = [("<unk>", 0.0), ("a", -1.0), ("ax", -9.0), ("b", -2.0), ("bb", -40.0)]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram(rows, unk_id=0)), unk_token="<unk>")
    small, ids = subwords.prune(tokenizer, {1: 1, 2: 1, 3: 1})
    assert ids == [0, 1, 2, 3, 4]
    rows[4] = ("bb", -3.0)
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram(rows, unk_id=0)), unk_token="<unk>")
    small, ids = subwords.prune(other, {1: 1, 2: 1, 3: 1})
    assert ids == [0, 1, 2, 3]
    assert small.tokenize("axab") == other.tokenize("axab")


def test_tokenizers_that_cannot_spell_are_refused():
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "the": 1, "sea": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    with pytest.raises(AnatomyError, match="a WordLevel tokenizer can't be cut"):
        subwords.prune(tokenizer, {1: 1})


def small_model(family, size):
    common = {"vocab_size": size, "pad_token_id": 0}
    if family == "bert":
        config = transformers.BertConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=128,
            **common,
        )
        return transformers.BertForMaskedLM(config)
    if family == "gpt":
        config = transformers.GPT2Config(
            n_embd=16, n_layer=2, n_head=2, n_positions=128, bos_token_id=0, eos_token_id=0, **common
        )
        return transformers.GPT2LMHeadModel(config)
    config = transformers.T5Config(
        d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, decoder_start_token_id=0, **common
    )
    return transformers.T5ForConditionalGeneration(config)


@pytest.mark.parametrize("family", ["bert", "gpt", "t5"])
def test_logits_of_training_text_are_the_originals(family):
    tokenizer, small, ids = pair(family)
    torch.manual_seed(0)
    model, cut = small_model(family, len(tokenizer)).eval(), small_model(family, len(ids)).eval()
    rows = {k: v[ids] if v.ndim and len(v) == len(tokenizer) else v for k, v in model.state_dict().items()}
    cut.load_state_dict(rows)
    for line in USED:
        before, after = tokenizer(line, return_tensors="pt"), small(line, return_tensors="pt")
        extra = [{"decoder_input_ids": x["input_ids"]} for x in (before, after)] if family == "t5" else [{}, {}]
        with torch.no_grad():
            wanted = model(input_ids=before["input_ids"], **extra[0]).logits[..., ids]
            assert torch.equal(cut(input_ids=after["input_ids"], **extra[1]).logits, wanted)
