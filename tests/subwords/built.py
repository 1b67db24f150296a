"""Small tokenizers of every kind, trained on text in this file.

No paper: fixtures.
"""

import functools
import json

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXT = [
    "The quick brown fox jumps over the lazy dog, and the other foxes jumped after it.",
    "She sells sea shells by the sea shore; the shells she sells are surely sea shells.",
    "Die Straßenbahn fährt über die Brücke, größere Häuser säumen die Straße.",
    "Übermäßig schöne Grüße aus München, Köln und Düsseldorf!",
    "我们在北京大学学习自然语言处理。北京很大。",
    "Thanks a lot 😀😀 see you soon 🚀!",
    "def add(a, b):\n    return a + b  # adds two numbers\n\nfor i in range(10): print(add(i, i))",
    "Unbelievable, unthinkable, unworkable: the unhappiness of unhappy unbelievers.",
]
USED = [TEXT[0], TEXT[2], "the sea shells 😀 北京", "return add(a, b)"]
"""What the task's training text is: part of what the tokenizers were trained on."""


def _bert() -> Tokenizer:
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    backend.train_from_iterator(
        TEXT, trainers.WordPieceTrainer(show_progress=False, vocab_size=400, special_tokens=special)
    )
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return backend


def _gpt() -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        show_progress=False, vocab_size=420, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"]
    )
    backend.train_from_iterator(TEXT, trainer)
    backend.add_special_tokens(["<pad>", "<|user|>"])
    return backend


def _roberta() -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(show_progress=False, vocab_size=420, initial_alphabet=alphabet, special_tokens=special),
    )
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return backend


def _llama() -> Tokenizer:
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    backend.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(
            show_progress=False, vocab_size=480, special_tokens=special, limit_alphabet=60, max_token_length=8
        ),
    )
    backend = _plain_bytes(backend)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return backend


def _clip() -> Tokenizer:
    backend = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.BPEDecoder("</w>")
    trainer = trainers.BpeTrainer(
        show_progress=False, vocab_size=300, special_tokens=["<unk>", "<pad>"], end_of_word_suffix="</w>"
    )
    backend.train_from_iterator(TEXT, trainer)
    return backend


def _t5(fallback: bool) -> Tokenizer:
    special = ["<pad>", "</s>", "<unk>", *((f"<0x{i:02X}>" for i in range(256)) if fallback else ())]
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.train_from_iterator(
        TEXT, trainers.UnigramTrainer(show_progress=False, vocab_size=600, special_tokens=special, unk_token="<unk>")
    )
    backend = _plain_bytes(backend)
    parts = [decoders.ByteFallback(), decoders.Metaspace(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(parts if fallback else parts[1:2])
    backend.add_special_tokens(["<extra_0>", "<extra_1>"])
    ends = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    backend.post_processor = processors.Sequence([ends])
    return backend


def _plain_bytes(backend: Tokenizer) -> Tokenizer:
    """The trainer knows bytes only as special tokens; as in SentencePiece, they are ordinary pieces here."""
    data = json.loads(backend.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if not token["content"].startswith("<0x")]
    data["model"]["byte_fallback"] = "<0x00>" in str(data["model"]["vocab"])
    return Tokenizer.from_str(json.dumps(data))


NAMED = {
    "bert": {
        "unk_token": "[UNK]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
    "gpt": {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<pad>"},
    "roberta": {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    },
    "llama": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "clip": {"unk_token": "<unk>", "pad_token": "<pad>"},
    "t5": {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
    "t5_bytes": {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"},
}
KINDS = tuple(NAMED)


@functools.cache
def build(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer of `kind` (of KINDS); the same one for every caller, so leave it as it is."""
    makers = {"bert": _bert, "gpt": _gpt, "roberta": _roberta, "llama": _llama, "clip": _clip}
    backend = makers[kind]() if kind in makers else _t5(fallback=kind == "t5_bytes")
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **NAMED[kind])


@functools.cache
def turned(kind: str) -> PreTrainedTokenizerFast:
    """The tokenizer of `kind` with its pieces numbered backwards, padding and truncating on the left."""
    data = json.loads(build(kind).backend_tokenizer.to_str())
    model, last = data["model"], len(data["model"]["vocab"]) - 1
    if model["type"] == "Unigram":
        model["vocab"], model["unk_id"] = model["vocab"][::-1], last - model["unk_id"]
        new = {piece: i for i, (piece, _) in enumerate(model["vocab"])}
    else:
        model["vocab"] = new = {piece: last - i for piece, i in model["vocab"].items()}
    for token in data["added_tokens"]:
        token["id"] = new.get(token["content"], token["id"])
    data["added_tokens"].sort(key=lambda token: token["id"])
    ends = data["post_processor"] or {}
    for end in ends.get("processors", [ends]):
        end.update({key: [end[key][0], new[end[key][0]]] for key in ("cls", "sep") if key in end})
        for special in end.get("special_tokens", {}).values():
            special["ids"] = [new[piece] for piece in special["tokens"]]
    data["padding"] = None
    sides = {"padding_side": "left", "truncation_side": "left"}
    backend = Tokenizer.from_str(json.dumps(data))
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **sides, **NAMED[kind])
