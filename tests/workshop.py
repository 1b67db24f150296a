"""A small Work for method tests: a tiny model, a word tokenizer that fits it, a task and its examples."""

import copy
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from laconic.contracts import Splits, Task, Teacher, Work
from laconic.tasks.classify import Classify
from laconic.tasks.ner import NER
from tests.tiny import VOCABULARY, tiny

TAGS = ("O", "B-A", "I-A", "B-B", "I-B")
WORDS = [f"w{i}" for i in range(4, VOCABULARY)]


def tokenizer() -> PreTrainedTokenizerFast:
    """One piece a word, [eos] at the end; ids as in tests/tiny.py."""
    words = {"[unk]": 0, "[pad]": 1, "[bos]": 2, "[eos]": 3, **{word: i for i, word in enumerate(WORDS, 4)}}
    made = Tokenizer(models.WordLevel(words, unk_token="[unk]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(single="$A [eos]", special_tokens=[("[eos]", 3)])
    special = {"unk_token": "[unk]", "pad_token": "[pad]", "bos_token": "[bos]", "eos_token": "[eos]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **special, model_max_length=32)


def examples(head: str, number: int, seed: int = 0) -> list[dict]:
    """Word salads of 3 to 9 words; the answer follows from the words."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for i in range(number):
        picked = torch.randint(0, len(WORDS), (3 + i % 7,), generator=generator).tolist()
        if head == "tokens":
            rows.append({"tokens": [WORDS[w] for w in picked], "tags": [("O", "B-A", "B-B")[w % 3] for w in picked]})
        else:
            rows.append({"text": " ".join(WORDS[w] for w in picked), "label": TAGS[picked[0] % len(TAGS)]})
    return rows


def task(head: str) -> Task:
    """Tags or a label of each text."""
    return NER(TAGS) if head == "tokens" else Classify(TAGS)


def work(
    family: str = "bert", folder: Path | None = None, *, head: str = "tokens", number: int = 12, seed: int = 0
) -> Work:
    """The same Work each time it is asked for; the teacher is a model of its own with the same weights."""
    rows = examples(head, number, seed)
    splits, model = Splits(rows, rows[: number // 2], "0" * 64), tiny(family, len(TAGS), head)
    teacher = Teacher(copy.deepcopy(model), tokenizer())
    return Work(
        model,
        tokenizer(),
        task(head),
        splits,
        teacher,
        seed,
        folder or Path("unused"),
        False,
        lambda _: None,
    )
