"""Train a tokenizer on text: byte-level BPE, WordPiece or Unigram, with the special tokens that a kind of model needs.

Sennrich et al. 2016, arXiv:1508.07909 (BPE), on bytes as Radford et al. 2019 (GPT-2) do; Wu et al. 2016,
arXiv:1609.08144 (WordPiece); Kudo 2018, arXiv:1804.10959 (Unigram). BPE on bytes spells every text, Chinese too;
WordPiece sets Chinese characters apart as BERT does; Unigram sees text as a run of characters, spaces among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from laconic.errors import RecipeError
from laconic.pretrain import unigram
from laconic.pretrain.config import Tokens
from laconic.pretrain.corpus import Texts

SAMPLE = 200_000_000  # characters a tokenizer is trained on: more change its pieces little
SENTINELS = [f"<extra_id_{i}>" for i in range(100)]
SPECIAL: dict[str, dict[str, Any]] = {  # what it is for -> the special tokens, in order of their ids
    "causal": {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "masked": {
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
    },
    "seq2seq": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
    "sentinels": {
        "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "extra_special_tokens": SENTINELS,
    },
}  # fmt: skip
WITHIN = "##"  # before a piece that does not begin a word
PAD = 0  # id of the padding token, the first of all these
AROUND = {
    "causal": "bos_token $A", "masked": "cls_token $A sep_token",
    "seq2seq": "$A eos_token", "sentinels": "$A eos_token",
}  # fmt: skip
"""What stands around one text, by the names of its special tokens."""


def train(tokens: Tokens, texts: Texts, kind: str, longest: int) -> PreTrainedTokenizerFast:
    """A tokenizer trained on the first SAMPLE characters of the texts, with special tokens of a kind of SPECIAL.

    It cuts behind `longest` tokens. The same texts give the same tokenizer.
    """
    named = SPECIAL[kind]
    special = [t for value in named.values() for t in (value if isinstance(value, list) else [value])]
    least = len(special) + (256 if tokens.kind == "bpe" else 1)
    if tokens.vocabulary < least:
        raise RecipeError(f"tokenizer: vocabulary is {tokens.vocabulary}; {tokens.kind} needs at least {least}")
    made = BUILD[tokens.kind](tokens, texts, special, named["unk_token"])
    made.add_special_tokens([AddedToken(t, special=True) for t in special])
    around = " ".join(named.get(word, word) for word in AROUND[kind].split())
    pairs = [(t, made.token_to_id(t)) for t in special if t in around.split()]
    made.post_processor = processors.TemplateProcessing(single=around, special_tokens=pairs)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made, model_max_length=longest, clean_up_tokenization_spaces=False, **named
    )


def told(reader: PreTrainedTokenizerFast) -> dict[str, Any]:
    """What of a model's configuration follows from its tokenizer."""
    return {
        "vocab_size": len(reader),
        **{f"{n}_token_id": getattr(reader, f"{n}_token_id") for n in ("pad", "bos", "eos")},
    }


def _bpe(tokens: Tokens, texts: Texts, special: list[str], _: str) -> Tokenizer:
    made = Tokenizer(models.BPE())
    if tokens.lowercase:
        made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=tokens.vocabulary, special_tokens=special, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    made.train_from_iterator(_sample(texts), trainer)
    return made


def _wordpiece(tokens: Tokens, texts: Texts, special: list[str], unknown: str) -> Tokenizer:
    """Trained twice: pairs that occur alike often are merged by their ids, which the trainer gives to the characters
    within words in the order of a hash map, unless it is told which there are.
    """
    within: list[str] = []
    for size in (1, tokens.vocabulary):
        made = Tokenizer(models.WordPiece(unk_token=unknown))
        made.normalizer = normalizers.BertNormalizer(lowercase=tokens.lowercase)
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=[*special, *within], show_progress=False)
        made.train_from_iterator(_sample(texts), trainer)
        pieces = made.get_vocab(with_added_tokens=False)
        within = sorted(piece for piece in pieces if piece.startswith(WITHIN) and len(piece) == len(WITHIN) + 1)
    bare = Tokenizer(models.WordPiece(pieces, unk_token=unknown))  # what is told so is taken for special tokens
    bare.normalizer, bare.pre_tokenizer, bare.decoder = made.normalizer, made.pre_tokenizer, made.decoder
    return bare


def _unigram(tokens: Tokens, texts: Texts, special: list[str], unknown: str) -> Tokenizer:
    made = Tokenizer(models.Unigram())
    if tokens.lowercase:
        made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    words: Counter[str] = Counter()
    for text in _sample(texts):
        plain = made.normalizer.normalize_str(text) if made.normalizer else text
        words.update(word for word, _ in made.pre_tokenizer.pre_tokenize_str(plain))
    for piece in special:
        words.pop(piece, None)
    found = unigram.train(words, tokens.vocabulary - len(special))
    made.model = models.Unigram([(piece, 0.0) for piece in special] + found, special.index(unknown))
    made.decoder = decoders.Metaspace()
    return made


BUILD: dict[str, Callable[[Tokens, Texts, list[str], str], Tokenizer]] = {
    "bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram,
}  # fmt: skip


def _sample(texts: Texts) -> Iterator[str]:
    taken = 0
    for text in texts():
        yield text
        taken += len(text)
        if taken >= SAMPLE:
            return
