"""Tiny checkpoints with a WordPiece tokenizer, made in code."""

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, GPT2Config, PreTrainedTokenizerFast

WORDS = ["the", "cat", "sat", "on", "mat", "a", "b", "c", "##a", "##b", "##c", "##d", "x"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def tokenizer(most=16):
    vocabulary = {word: i for i, word in enumerate(SPECIAL + WORDS)}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=most, **names)


def bert_config():
    return BertConfig(
        vocab_size=len(SPECIAL + WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=20,
    )


def gpt2_config():
    return GPT2Config(vocab_size=len(SPECIAL + WORDS), n_embd=16, n_layer=2, n_head=2, n_positions=24)


def saved(folder, kind, config, with_tokenizer=True):
    """The model `kind(config)`, every parameter moved, saved with a tokenizer; returns the model."""
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    if with_tokenizer:
        tokenizer().save_pretrained(folder)
    return model
