"""What cannot be a model is refused in a line that names it, before anything is made."""

import pytest
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from laconic import finetune, machine
from laconic.errors import RecipeError
from laconic.pretrain import blueprint, config
from tests.pretrain.test_pretrain import BERT, LLAMA, T5, plan, run

WRONG = [
    (LLAMA, "hidden_size", -32), (LLAMA, "hidden_size", 0), (LLAMA, "hidden_size", 32.5), (LLAMA, "hidden_size", True),
    (LLAMA, "intermediate_size", -1), (LLAMA, "num_attention_heads", 0), (LLAMA, "num_key_value_heads", 0),
    (LLAMA, "max_position_embeddings", -5), (LLAMA, "head_dim", 0), (T5, "d_ff", 0), (T5, "d_kv", -8),
    (BERT, "type_vocab_size", 0), ({"model_type": "gpt2"}, "n_embd", 0), ({"model_type": "gpt2"}, "n_layer", 0),
]  # fmt: skip


@pytest.fixture
def stories(tmp_path):
    path = tmp_path / "stories.txt"
    path.write_text("\n\n".join(f"Cat {i} sat." for i in range(300)), encoding="utf-8")
    return path


@pytest.mark.parametrize(("model", "key", "value"), WRONG)
def test_a_size_that_is_none_is_refused_by_name(model, key, value):
    with pytest.raises(RecipeError, match=rf"here: model: {key} is {value}; give a whole number of at least 1"):
        plan({**model, key: value})


def test_sizes_that_may_be_left_open_and_what_is_no_size_are_taken():
    for more in ({"num_key_value_heads": None}, {"tie_word_embeddings": False}):
        plan({**LLAMA, **more})
    plan({"model_type": "qwen2", "hidden_size": 32, "num_attention_heads": 4, "max_window_layers": 0})


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"hidden_act": "nope"}, r"can't build it \(hidden_act is 'nope'; KeyError: 'nope'\)"),
        ({"hidden_size": 10**8}, r"weights take [\d,]+ bytes to train by adamw, and there are [\d,]+ bytes of memory"),
    ],
)
def test_what_cannot_be_built_or_held_is_refused_and_leaves_nothing(stories, tmp_path, wrong, says):
    with pytest.raises(RecipeError, match=says):
        run(stories, tmp_path / "model", chosen=plan({**LLAMA, **wrong}))
    about = tmp_path / "model.yaml"
    text = "".join(f"  {key}: {value}\n" for key, value in {**LLAMA, **wrong}.items())
    about.write_text(f"model:\n{text}tokenizer:\n  vocabulary: 300\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=says):
        finetune.train(about, "lm", stories, tmp_path / "run", progress=False, log=str)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.yaml", "stories.txt"]


@pytest.mark.parametrize(("optimizer", "copies"), [("adamw", 4), ("sgd", 3)])
def test_room_by_hand(monkeypatch, optimizer, copies):
    """A weight of 4 bytes, as large a gradient, and two sums or one; processes that deal it out have as much each."""
    described = config.architecture(LLAMA, {"vocab_size": 100})
    made = blueprint.blank(AutoModelForCausalLM, described, "model")
    count = 100 * 32 + 2 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48 + 2 * 32) + 32
    assert made.num_parameters() == count
    monkeypatch.setattr(machine, "memory", lambda: copies * 4 * count)
    blueprint.fits(made, optimizer, "model")
    monkeypatch.setattr(machine, "memory", lambda: copies * 4 * count - 1)
    with pytest.raises(RecipeError, match=f"{count:,} weights take {copies * 4 * count:,} bytes"):
        blueprint.fits(made, optimizer, "model")
    blueprint.fits(made, optimizer, "model", 2)


@pytest.mark.parametrize(
    ("auto", "model", "sought"), [(AutoModelForMaskedLM, BERT, 32), (AutoModelForCausalLM, LLAMA, 2048)]
)
def test_reach(auto, model, sought):
    made = blueprint.blank(auto, config.architecture(model, {"vocab_size": 100, "pad_token_id": 0}), "model")
    assert blueprint.reach(made) == sought
    blueprint.spans(made, sought)
    with pytest.raises(RecipeError, match=f"block is {sought + 1} tokens and the model has {sought} positions"):
        blueprint.spans(made, sought + 1)
