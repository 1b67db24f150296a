"""Distillation: its losses written out slowly, the places it compares, and a teacher that a student must find again."""

import copy
import math
from collections import Counter
from dataclasses import replace

import pytest
import torch

from laconic import answers, subwords
from laconic.contracts import Teacher
from laconic.errors import RecipeError
from laconic.methods.distill import Distill, Places, attention_loss, soft_loss, state_loss, without_dropout
from tests.tiny import FAMILIES, tiny, tiny_logits
from tests.workshop import USED, examples, tokenizer, work


def test_the_soft_loss_is_hintons():
    student, teacher, temperature = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, -1.0]]), 2.0
    p, q = ([math.exp(x / temperature) for x in row[0].tolist()] for row in (teacher, student))
    p, q = ([x / sum(row) for x in row] for row in (p, q))
    slowly = temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert float(soft_loss(student, teacher, temperature)) == pytest.approx(slowly, rel=1e-5)
    assert float(soft_loss(teacher, teacher, temperature)) == pytest.approx(0, abs=1e-7)


def test_the_soft_loss_of_labels_that_hold_together_is_a_sum_of_two_sided_ones():
    student, teacher, temperature = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, -1.0]]), 2.0
    p, q = ([1 / (1 + math.exp(-x / temperature)) for x in row[0].tolist()] for row in (teacher, student))
    both = [(a, b) for x, y in zip(p, q, strict=True) for a, b in ((x, y), (1 - x, 1 - y))]
    slowly = temperature**2 * sum(a * math.log(a / b) for a, b in both)
    assert float(soft_loss(student, teacher, temperature, several=True)) == pytest.approx(slowly, rel=1e-5)
    shifted = student + 1  # softmax would not see it; every label is likelier now
    assert float(soft_loss(shifted, teacher, temperature, several=True)) > slowly


def test_the_state_loss_is_in_units_of_the_teacher():
    teacher = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    assert float(state_loss(torch.zeros(2, 2), teacher)) == pytest.approx(1)
    assert float(state_loss(teacher, teacher)) == 0
    turned = torch.tensor([[3.0, 4.0, 0.0], [0.0, 5.0, 0.0]])  # the same cosines in another width
    assert float(state_loss(turned, teacher)) == pytest.approx(0, abs=1e-7)


def test_the_attention_loss_leaves_padding_out():
    teacher = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]])  # (batch, tokens, tokens)
    student = torch.tensor([[[0.25, 0.75], [0.1, 0.9]]])
    first = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert float(attention_loss(student, teacher, [torch.tensor([[True, False]])])) == pytest.approx(first, rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_dropped_while_a_student_trains_and_as_much_as_before_afterwards(family):
    model = tiny(family, head="lm").train()
    for module in model.modules():  # those of some families drop nothing unless asked
        for name in [n for n, share in vars(module).items() if "drop" in n and isinstance(share, float)]:
            setattr(module, name, 0.3)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3
    assert not torch.equal(tiny_logits(model, family), tiny_logits(model, family))
    with without_dropout(model):
        assert torch.equal(tiny_logits(model, family), tiny_logits(model, family))
    assert not torch.equal(tiny_logits(model, family), tiny_logits(model, family))


def test_places_are_all_tokens_or_the_first_pieces():
    own = [{"input_ids": [1] * 4, "slots": [0, 2]}, {"input_ids": [1] * 3, "slots": [0, 1]}]
    other = [{"input_ids": [1] * 3, "slots": [0, 1]}, {"input_ids": [1] * 3, "slots": [0, 1]}]
    places = Places(own, other)
    here, there = places([1, 0])
    assert here.tolist() == [0, 1, 2, 3, 5]
    assert there.tolist() == [0, 1, 2, 3, 4]
    assert places.alike([1])
    assert not places.alike([0, 1])
    texts = Places([{"input_ids": [1] * 4}], [{"input_ids": [1] * 3}])
    assert [p.tolist() for p in texts([0])] == [[0], [0]]


def test_lost_words_are_those_of_one_piece_before_and_several_after():
    old = tokenizer()
    new, _ = subwords.prune(old, Counter({i: 1 for piece, i in old.get_vocab().items() if piece != "fa"}))
    assert subwords.lost_words(old, old) == []
    assert subwords.lost_words(old, new) == ["fa"]
    some, _ = subwords.prune(old, Counter({old.convert_tokens_to_ids("ab"): 1}))
    assert {"ac", "ba"} <= set(subwords.lost_words(old, some))
    assert "ab" not in subwords.lost_words(old, some)


@pytest.mark.parametrize("variants", [0, 1])
def test_a_student_finds_its_teacher_again(variants, tmp_path):
    """Moved off its teacher and with words spelled out, it comes nearer on the training texts."""
    given = work("bert", tmp_path, number=24)
    old = given.tokenizer
    new, kept = subwords.prune(
        old,
        Counter({i: 9 for e in given.data.train[:12] for i in old(e["tokens"], is_split_into_words=True)["input_ids"]}),
    )
    given.anatomy.keep_vocabulary(kept)
    given = replace(given, tokenizer=new)
    with torch.no_grad():
        for parameter in given.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    before = far(given)
    Distill(epochs=20, learning_rate=3e-3, batch=8, variants=variants).apply(given)
    assert far(given) < 0.7 * before


def test_texts_without_labels_are_learnt_too(tmp_path):
    """With so few labelled examples that they teach little, the student comes nearer on the texts it was given."""
    given = work("bert", tmp_path, number=24)
    texts = [{"tokens": e["tokens"]} for e in examples("tokens", 24, seed=1)]
    heard = given.task.encode(texts, given.teacher.tokenizer, answers=False)
    tags = given.task.predict(answers.outputs(given.teacher.model, given.task, heard, 1), heard, texts)
    judged = [{**text, "tags": row} for text, row in zip(texts, tags, strict=True)]  # the best is the nearest
    few = replace(given.data, train=given.data.train[:2], validation=judged)
    with torch.no_grad():
        for parameter in given.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    on_texts = replace(given, data=replace(few, train=texts))
    before = far(on_texts)
    start = copy.deepcopy(given.model)
    Distill(epochs=20, learning_rate=3e-3, batch=8).apply(replace(given, data=few))
    alone = far(on_texts)
    given.model.load_state_dict(start.state_dict())
    Distill(epochs=20, learning_rate=3e-3, batch=8).apply(replace(given, data=replace(few, unlabelled=texts)))
    assert far(on_texts) < 0.7 * min(alone, before)


def far(given) -> float:
    """Mean squared distance of the logits from the teacher's."""
    said = []
    for model, reader in ((given.model, given.tokenizer), (given.teacher.model, given.teacher.tokenizer)):
        features = given.task.encode(given.data.train, reader, answers=False)
        said.append(torch.cat([torch.from_numpy(row) for row in answers.outputs(model, given.task, features, 1)]))
    return float((said[0] - said[1]).square().mean())


def test_texts_that_one_of_them_must_cut_off_are_left_out(tmp_path):
    given = work("bert", tmp_path, number=24)
    short = copy.deepcopy(given.tokenizer)
    short.model_max_length = 8
    said = []
    taught = replace(given, teacher=Teacher(given.teacher.model, short), log=said.append)
    Distill(epochs=1, batch=4).apply(taught)  # would fail where the number of words differs
    long = sum(len(e["tokens"]) >= 8 for e in examples("tokens", 24))  # beside words there is the end
    assert long > 0
    assert any(line.startswith(f"distill: {long} of 24 texts are left out") for line in said), said


def test_a_long_text_is_learnt_window_by_window(tmp_path):
    given, said = work("bert", tmp_path, number=4), []
    words = [USED[i * 7 % len(USED)] for i in range(50)]  # 32 tokens are read
    rows = [{"tokens": words, "tags": ["O", "B-A"] * 25}, *given.data.train]
    given = replace(given, data=replace(given.data, train=rows), log=said.append)
    with torch.no_grad():
        for parameter in given.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    before = far(given)
    Distill(epochs=8, learning_rate=3e-3, batch=4).apply(given)
    assert far(given) < 0.7 * before
    assert not any("left out" in line for line in said)


def test_with_no_text_left_it_says_so(tmp_path):
    given = work("bert", tmp_path)
    short = copy.deepcopy(given.tokenizer)
    short.model_max_length = 2
    with pytest.raises(RecipeError, match="text"):
        Distill(epochs=1, batch=4).apply(replace(given, teacher=Teacher(given.teacher.model, short)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"logits": 0, "hidden": 0}, "every part of the loss weighs 0"),
        ({"hidden": -1}, "hidden is -1"),
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": 1e300}, "give a number from 0.01 to 10"),
        ({"labels": 10**30}, "a part of the loss weighs 0 to 1,000,000"),
        ({"variants": 1, "labels": 1}, "without labels"),
        ({"optimizer": "lion"}, "optimizer is 'lion'"),
        ({"logits": 0.0, "temperature": 5.0}, "temperature is 5.0, which nothing reads where logits is 0.0"),
    ],
)
def test_what_can_not_work_is_refused(options, words):
    with pytest.raises(RecipeError, match=words):
        Distill(**options).check()


def test_without_a_teacher_it_says_so(tmp_path):
    with pytest.raises(RecipeError, match="needs a teacher"):
        Distill().apply(replace(work("bert", tmp_path), teacher=None))
