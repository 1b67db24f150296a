"""A small Work for method tests: a tiny model, a WordPiece tokenizer that fits it, a task and its examples."""

import copy
import itertools
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from laconic.contracts import Splits, Task, Teacher, Work
from laconic.tasks.classify import Classify
from laconic.tasks.lm import LM
from laconic.tasks.ner import NER
from laconic.tasks.translate import Translate
from tests.tiny import VOCABULARY, tiny

TAGS = ("O", "B-A", "I-A", "B-B", "I-B")
LETTERS = "abcdefghijklm"
SPECIAL = ("[unk]", "[pad]", "[bos]", "[eos]")  # ids as in tests/tiny.py
SPELLING = (*LETTERS, *(f"##{letter}" for letter in LETTERS))
PAIRS = tuple("".join(pair) for pair in itertools.permutations(LETTERS, 2))
WORDS = PAIRS[: VOCABULARY - len(SPECIAL) - len(SPELLING)]  # of a to f first, and any letter second
USED = [word for word in WORDS if not set(word) & set("jklm")]  # what the examples are made of


def tokenizer(*, masks: bool = False) -> PreTrainedTokenizerFast:
    """One piece a known word, letter by letter else, [eos] at the end; with a [mask] for the last word or without."""
    mask = {"mask_token": "[mask]"} if masks else {}
    words = (*WORDS[:-1], "[mask]") if masks else WORDS
    pieces = {piece: i for i, piece in enumerate((*SPECIAL, *SPELLING, *words))}
    made = Tokenizer(models.WordPiece(pieces, unk_token="[unk]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(single="$A [eos]", special_tokens=[("[eos]", 3)])
    special = {"unk_token": "[unk]", "pad_token": "[pad]", "bos_token": "[bos]", "eos_token": "[eos]", **mask}
    return PreTrainedTokenizerFast(tokenizer_object=made, **special, model_max_length=32)


def examples(head: str, number: int, seed: int = 0) -> list[dict]:
    """Word salads of 3 to 9 words; the answer follows from the words."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for i in range(number):
        picked = torch.randint(0, len(USED), (3 + i % 7,), generator=generator).tolist()
        if head == "tokens":
            rows.append({"tokens": [USED[w] for w in picked], "tags": [("O", "B-A", "B-B")[w % 3] for w in picked]})
        elif head == "translate":
            words = [USED[w] for w in picked]
            rows.append({"source": " ".join(words), "target": " ".join(word[::-1] for word in words[:5])})
        elif head == "lm":
            rows.append({"text": " ".join(USED[w] for w in picked)})
        else:
            rows.append({"text": " ".join(USED[w] for w in picked), "label": TAGS[picked[0] % len(TAGS)]})
    return rows


def task(head: str) -> Task:
    """Tags of each text, its label, the text itself, or another text."""
    found = {"tokens": NER(TAGS), "sequence": Classify(TAGS), "lm": LM()}
    return found.get(head) or Translate(start="[pad]", length=8)


def work(
    family: str = "bert", folder: Path | None = None, *, head: str = "tokens", number: int = 12, seed: int = 0
) -> Work:
    """The same Work each time it is asked for; the teacher is a copy of its model."""
    rows, model = examples(head, number, seed), tiny(family, len(TAGS), "lm" if head == "translate" else head)
    splits = Splits(rows, rows[: number // 2], "0" * 64)
    teacher = Teacher(copy.deepcopy(model), tokenizer())
    folder = folder or Path("unused")
    return Work(model, tokenizer(), task(head), splits, teacher, seed, folder, progress=False, log=lambda _: None)
