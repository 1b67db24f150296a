"""A small BERT that sorts sentences of eight words into two classes, and the Work around it."""

import copy
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from laconic.contracts import Sketch, Splits, Teacher, Work
from laconic.tasks.classify import Classify

WORDS = [f"w{i}" for i in range(40)]


def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    made = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32)


def model(blocks: int = 2, seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=42, hidden_size=32, num_hidden_layers=blocks, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=32, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    made = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


def examples(count: int, seed: int) -> list[dict[str, str]]:
    """The class is whether the first words outnumber the last ones."""
    rng = np.random.default_rng(seed)
    chosen = [rng.integers(0, 40, rng.integers(3, 9)).tolist() for _ in range(count)]
    return [{"text": " ".join(WORDS[i] for i in c), "label": "ab"[int(np.mean(c) > 19.5)]} for c in chosen]


def work(folder: Path, made: nn.Module | None = None) -> Work:
    torch.set_num_threads(1)
    made = made or model()
    splits = Splits(examples(64, 1), examples(16, 2), "digest")
    teacher = Teacher(copy.deepcopy(made), tokenizer())
    return Work(made, tokenizer(), Classify(("a", "b")), splits, teacher, 0, folder, False, lambda _: None)


def logits(at: Work) -> torch.Tensor:
    features = at.task.encode(at.data.train, at.tokenizer, answers=False)
    with torch.no_grad():
        return torch.cat([at.model(input_ids=torch.tensor([f["input_ids"]])).logits for f in features])


def sketch() -> Sketch:
    return Sketch(vocabulary=1000, hidden=64, blocks=2, attention=16384, ffn=32768, positions=100, rest=500)
