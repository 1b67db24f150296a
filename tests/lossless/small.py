"""Small causal models, each with a tokenizer of another kind.

No paper: fixtures.
"""

import functools

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from laconic.lossless.causal import Causal
from laconic.tasks.lm import LM
from tests.subwords.built import build

WIDTH = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@functools.cache
def causal(kind: str = "gpt", family: str = "llama", seed: int = 0, context: int = 24) -> Causal:
    """Sharp but not certain: a random head that is scaled up."""
    tokenizer = build(kind)
    torch.manual_seed(seed)
    size = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id}
    if family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, **size))
    else:
        model = LlamaForCausalLM(LlamaConfig(max_position_embeddings=64, tie_word_embeddings=False, **WIDTH, **size))
        model.lm_head.weight.data *= 20
    return Causal(f"{family} of {kind}", model.eval(), tokenizer, LM(context=context, overlap=0.25), None)
