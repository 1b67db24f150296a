"""Translation: bits against the chain rule, writing against slow searches, BLEU and chrF against sacrebleu."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import sacrebleu
import torch

import laconic
from laconic import answers, artifact, predict, prove, tasks, training, writing
from laconic.data.batching import masks, pad
from laconic.errors import AnatomyError, DataError, RecipeError
from laconic.measures.memory import Memory
from laconic.tasks.translate import Translate
from tests.workshop import USED, examples, tokenizer, work

PAIRS = [
    {"source": " ".join(USED[:4]), "target": f"{USED[7]} {USED[9]} xy"},
    {"source": USED[3], "target": " ".join(USED[20:25])},
    {"source": " ".join(USED[5:11]), "target": USED[8]},
]
DECODER = Translate(prompt="{} ad", length=8)
SAID = ["the cat sat on the mat .", "a dog", "nothing at all is right here today", "Das ist gut."]
TRUE = ["the cat sat on a mat .", "a dog ran far away", "ein ganz anderer Satz", "Das ist gut."]


def task(family):
    return DECODER if family in ("gpt2", "llama") else Translate(start="[pad]", length=8)


def fresh(family, **more):
    return replace(work(family, head="translate", **more), task=task(family))


def next_logits(model, before, said):
    """Logits of the next token, with nothing padded: an encoder-decoder has read `before`, a decoder begins with it."""
    if model.config.is_encoder_decoder:
        given = {"input_ids": torch.tensor([before]), "decoder_input_ids": torch.tensor([[1, *said]])}
    else:
        given = {"input_ids": torch.tensor([[*before, *said]])}
    with torch.no_grad():
        return model(**given).logits[0, -1].double()


def asked(family, source):
    """Ids that are read before the answer."""
    reader = tokenizer()
    ids = reader(source if family not in ("gpt2", "llama") else f"{source} ad")["input_ids"]
    return ids if family not in ("gpt2", "llama") else ids[:-1]


@pytest.mark.parametrize("family", ["t5", "marian", "bart", "gpt2", "llama"])
def test_bits_are_those_of_the_chain_rule(family):
    given = fresh(family)
    features = given.task.encode(PAIRS, given.tokenizer, answers=False)
    rows = answers.outputs(given.model, given.task, features, 1)
    for pair, row in zip(PAIRS, rows, strict=True):
        ids = given.tokenizer(pair["target"])["input_ids"]  # ends in [eos]
        before = asked(family, pair["source"])
        slow = [-float(next_logits(given.model, before, ids[:i]).log_softmax(-1)[ids[i]]) for i in range(len(ids))]
        assert row * math.log(2) == pytest.approx(slow, rel=1e-4, abs=1e-4)
    lost = 8 * 2  # "xy" has no piece
    assert given.task.bits(rows, features, PAIRS) == pytest.approx(sum(float(r.sum()) for r in rows) + lost)


@pytest.mark.parametrize("family", ["t5", "marian", "gpt2", "llama"])
def test_greedy_writing_says_the_likeliest_token_each_time(family):
    given = fresh(family)
    features = given.task.encode(PAIRS, given.tokenizer, answers=False)
    texts = writing.texts(writing.Pen(given.model), features, given.tokenizer, given.task.writing)
    for pair, (text,) in zip(PAIRS, texts, strict=True):
        before, said = asked(family, pair["source"]), []
        while len(said) < 8 and 3 not in said:
            said.append(int(next_logits(given.model, before, said).argmax()))
        assert text.strip() == given.tokenizer.decode(said, skip_special_tokens=True).strip()


def test_many_beams_find_the_likeliest_of_all_short_answers():
    """With as many beams as there are tokens, two tokens are searched through."""
    given = fresh("marian")
    source = PAIRS[0]["source"]
    before = asked("marian", source)
    first = next_logits(given.model, before, []).log_softmax(-1)
    found = [(float(first[3]), [3])]
    for a in filter(lambda token: token != 3, range(100)):
        second = next_logits(given.model, before, [a]).log_softmax(-1)
        found.append((float(first[a] + second.max()) / 2, [a, int(second.argmax())]))
    best = max(found, key=lambda pair: pair[0])
    how = replace(given.task, length=2, beams=100).writing
    features = given.task.encode([{"source": source}], given.tokenizer, answers=False)
    ((text,),) = writing.texts(writing.Pen(given.model), features, given.tokenizer, how)
    assert text.strip() == given.tokenizer.decode(best[1], skip_special_tokens=True).strip()


def test_writing_leaves_the_model_as_it_was():
    given = fresh("llama")
    given.model.train()
    held, state = given.model.generation_config, torch.random.get_rng_state()
    features = given.task.encode(PAIRS, given.tokenizer, answers=False)
    how = writing.Writing(4, samples=3, temperature=0.9)
    first = writing.texts(writing.Pen(given.model), features, given.tokenizer, how)
    assert first == writing.texts(writing.Pen(given.model), features, given.tokenizer, how)
    assert [len(t) for t in first] == [3, 3, 3]
    assert len({t for texts in first for t in texts}) > 3  # drawn, not the likeliest
    assert given.model.generation_config is held
    assert given.model.training
    assert state.equal(torch.random.get_rng_state())


def test_what_is_written_ends_where_the_positions_do():
    given = fresh("gpt2")
    features = [{"input_ids": [2] * 38, "attention_mask": [1] * 38, "begins": [38]}]  # of 40 positions
    said = writing.Pen(given.model)(pad(features, 1), writing.settings(given.task.writing, given.tokenizer))
    assert len(said[0]) == 2


def test_the_two_sides_of_a_batch_are_never_of_one_width():
    features = Translate(start="[pad]").encode(
        [{"source": "ab ac ad", "target": "ab ac ad"}, {"source": "ab", "target": "ab"}], tokenizer(), answers=True
    )
    batch = pad(features, 1)
    assert batch["input_ids"].shape == (2, 4)
    assert batch["decoder_input_ids"].shape == batch["slots"].shape == batch["labels"].shape == (2, 5)
    read, written = masks(batch)
    assert read.sum(1).tolist() == written.sum(1).tolist() == [4, 2]
    assert batch["decoder_input_ids"][0].tolist() == [1, *batch["input_ids"][0, :3].tolist(), 1]


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_labels_are_what_the_loss_is_of_and_change_nothing_else(family):
    given = fresh(family)
    features = given.task.encode(PAIRS, given.tokenizer, answers=True)
    bare = given.task.encode(PAIRS, given.tokenizer, answers=False)
    assert bare == [{k: v for k, v in f.items() if k != "labels"} for f in features]
    rows = answers.outputs(given.model, given.task, features, 1)
    batch = training._Batches(features, training.Training(epochs=1, batch=99), 1, 0)[0]
    loss = answers.task_objective(given.task)(given.model, *batch)
    nats = sum(float(r.sum()) for r in rows) * math.log(2)
    assert loss.item() == pytest.approx(nats / sum(map(len, rows)), rel=1e-5)


def test_long_texts_are_cut_and_what_is_cut_off_an_answer_is_charged():
    reader = tokenizer()  # reads 32 tokens
    pair = {"source": " ".join(USED[i % 30] for i in range(90)), "target": " ".join(USED[:20])}
    (one,) = Translate(start="[pad]", length=6).encode([pair], reader, answers=False)
    assert len(one["input_ids"]) <= 32
    assert one["said"] == [*reader(pair["target"])["input_ids"][:5], 3]
    assert one["uncoded"] == [15 * 3]  # words of two letters, each with a space
    (two,) = DECODER.encode([pair], reader, answers=False)
    assert len(two["input_ids"]) <= 32
    ad = reader("ad")["input_ids"][0]
    assert two["input_ids"][two["begins"][0] - 1] == ad  # the end of the prompt is never cut off


def test_figures_are_those_of_sacrebleu():
    one, rows = Translate(), [{"source": "x", "target": t} for t in TRUE]
    score = one.score(SAID, rows)
    assert score["bleu"] == pytest.approx(sacrebleu.corpus_bleu(SAID, [TRUE]).score / 100)
    assert score["chrf"] == pytest.approx(sacrebleu.corpus_chrf(SAID, [TRUE]).score / 100)
    summed = np.stack([one.counts(SAID, rows)[list(some)].sum(0) for some in ((0, 1), (1,), (2, 2), (0, 3, 3))])
    for share, some in zip(one.metric(summed), ((0, 1), (1,), (2, 2), (0, 3, 3)), strict=True):
        said, true = [SAID[i] for i in some], [TRUE[i] for i in some]
        assert share == pytest.approx(sacrebleu.corpus_bleu(said, [true]).score / 100)


def test_chinese_is_cut_by_character():
    rows = [{"source": "x", "target": "我们今天去北京看天安门。"}]
    said = ["我们今天去上海看天安门。"]
    assert Translate().score(said, rows)["bleu"] == 0
    zh = Translate(tokenize="zh").score(said, rows)["bleu"]
    assert zh == pytest.approx(sacrebleu.corpus_bleu(said, [[rows[0]["target"]]], tokenize="zh").score / 100)
    assert zh > 0.4


@pytest.mark.parametrize("family", ["t5", "llama"])
def test_it_learns(family, tmp_path):
    given = replace(fresh(family, number=24), folder=tmp_path)
    before = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    training.fit(given, training.Training(epochs=60, learning_rate=1e-2, batch=8))
    after = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    assert after["bits"] < 0.8 * before["bits"]
    assert after["chrf"] > before["chrf"] + 0.1
    assert given.task.metric(np.array([2, 3, 2, 1, 0, 0, 2, 1, 0, 0])) == 0  # too short for words in fours


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": ("x",)}, "has none"), ({"prompt": "say"}, "prompt is 'say'"), ({"length": 1}, "length is 1"),
        ({"beams": 0}, "beams is 0"), ({"tokenize": "14a"}, "tokenize is '14a'"), ({"loss_name": "x"}, "no loss 'x'"),
    ],
)  # fmt: skip
def test_refusals(options, words):
    with pytest.raises(RecipeError, match=words):
        Translate(**options)


def test_a_tokenizer_that_ends_nothing_is_refused():
    reader = tokenizer()
    reader.eos_token = None
    with pytest.raises(RecipeError, match="no token that ends a text"):
        DECODER.encode(PAIRS, reader, answers=False)


def test_a_description_builds_the_same_task():
    one = Translate(start="<pad>", beams=4, prompt="to German: {}")
    assert tasks.build(**tasks.describe(one)) == one
    assert tasks.named(["beams=4", "prompt='a: {}'"]) == {"beams": 4, "prompt": "a: {}"}
    with pytest.raises(RecipeError, match="sets no option"):
        tasks.named(["beams"])


PLAN = """
model: {model_type: marian, d_model: 32, encoder_layers: 3, decoder_layers: 3, encoder_attention_heads: 4,
  decoder_attention_heads: 4, encoder_ffn_dim: 64, decoder_ffn_dim: 64, max_position_embeddings: 48, dropout: 0.0,
  scale_embedding: true}
tokenizer: {kind: bpe, vocabulary: 400}
"""
STEPS = [
    {"positions": {}}, {"blocks": {"keep": 0.67, "samples": 8}}, {"neurons": {"keep": 0.5, "samples": 8}},
    {"gptq": {"bits": 4, "samples": 8}}, {"rtn": {"bits": 6, "where": "embeddings"}},
    {"distill": {"epochs": 1, "batch": 8, "attention": 1.0}}, "half",
]  # fmt: skip


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """A `run` of a model made anew for the task, and the artifact `out` of all of it."""
    folder = tmp_path_factory.mktemp("road")
    (folder / "data").mkdir()
    for seed, (split, number) in enumerate({"train": 60, "validation": 12, "test": 12}.items()):
        lines = "".join(json.dumps(row) + "\n" for row in examples("translate", number, seed))
        (folder / "data" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    (folder / "plan.yaml").write_text(PLAN)
    options = laconic.Training(epochs=6, learning_rate=5e-3, batch=8)
    more = {"progress": False, "log": str, "length": 24, "beams": 2}
    laconic.train(folder / "plan.yaml", "translate", folder / "data", folder / "run", options=options, **more)
    laconic.compress(folder / "run", laconic.Recipe.parse({"steps": STEPS}), folder / "out", progress=False, log=str)
    return folder


def test_the_artifact_of_an_encoder_decoder_says_its_task_and_is_measured(road, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    opened = artifact.load(road / "out")
    assert opened.manifest.task["start"] == "<pad>"
    assert opened.manifest.shape
    assert len(opened.model.model.decoder.layers) == 2
    report = prove.compare(road / "out", road / "run", timed=False)
    assert report.main == "bleu"
    rows = [json.loads(line) for line in (road / "data" / "test.jsonl").read_text().splitlines()]
    assert report.after.bits.answers == sum(len(row["target"].encode()) for row in rows)
    said = predict.load(road / "out").predict([row["source"] for row in rows])
    bleu = sacrebleu.corpus_bleu([s["translation"] for s in said], [[r["target"] for r in rows]]).score / 100
    assert report.after.score["bleu"] == pytest.approx(bleu)


T5 = """
model: {model_type: t5, d_model: 32, d_kv: 8, d_ff: 64, num_layers: 3, num_decoder_layers: 3, num_heads: 4,
  feed_forward_proj: gated-gelu, tie_word_embeddings: true}
tokenizer: {kind: unigram, vocabulary: 200}
"""


@pytest.mark.parametrize("plan", [PLAN, T5], ids=["marian", "t5"])
def test_balanced_makes_either_side_smaller(plan, road, tmp_path):
    (tmp_path / "plan.yaml").write_text(plan)
    options = laconic.Training(epochs=2, learning_rate=5e-3, batch=8)
    laconic.train(tmp_path / "plan.yaml", "translate", road / "data", tmp_path / "run", options=options,
                  progress=False, log=str, length=24)  # fmt: skip
    recipe = laconic.Recipe.read("balanced").override(["7.epochs=1", "7.batch=8"])
    result = laconic.compress(tmp_path / "run", recipe, tmp_path / "out", progress=False, log=str)
    made = artifact.load(tmp_path / "out")
    before, after = laconic.load(tmp_path / "run").model, made.model
    depths = [stack.depth for stack in laconic.anatomy.Anatomy(after).stacks]
    assert depths == [2, 2]
    assert after.config.vocab_size < before.config.vocab_size
    stored = sum(held for _, _, held in artifact.weigh(tmp_path / "out"))
    assert stored < sum(p.numel() for p in before.parameters()) * 4 / 6
    assert {"bleu", "chrf", "bits"} <= set(result.validation)


def test_writing_is_what_is_timed(road):
    rows = [json.loads(line) for line in (road / "data" / "test.jsonl").read_text().splitlines()]
    one = prove.candidate("x", road / "run", rows, "torch")
    timed = prove.contestant("x", one, "torch")
    batch = {k: v.numpy() for k, v in pad(list(timed.features[:2]), timed.pad_id).items()}
    ids = timed.open().run(batch)
    assert [one.tokenizer.decode(i, skip_special_tokens=True).strip() for i in ids] == one.predictions[:2]


def test_a_model_made_anew_is_the_same_again_and_another_with_another_plan(road, tmp_path):
    options = laconic.Training(epochs=1, batch=16)
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)

    def made(name):
        log: list[str] = []
        laconic.train(plan, "translate", road / "data", tmp_path / name, options=options, progress=False,
                      log=log.append, length=8)  # fmt: skip
        return (tmp_path / name / "model.safetensors").read_bytes(), log

    assert made("a")[0] == made("b")[0]
    assert "already" in made("a")[1][0]
    plan.write_text(PLAN.replace("vocabulary: 400", "vocabulary: 380"))
    with pytest.raises(DataError, match="holds another run"):
        made("a")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("vocabulary: 400", "vocabulary: 9"), "needs at least"), (("marian", "marion"), "did you mean 'marian'"),
        (("tokenizer:", "training: {epochs: 3}\ntokenizer:"), "takes as options"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_work_is_refused(road, tmp_path, change, words):
    (tmp_path / "plan.yaml").write_text(PLAN.replace(*change))
    with pytest.raises(RecipeError, match=words):
        laconic.train(tmp_path / "plan.yaml", "translate", road / "data", tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_texts_without_answers_are_refused(road, tmp_path):
    with pytest.raises(DataError, match="texts without answers are for"):
        laconic.compress(
            road / "run", laconic.Recipe.parse({"steps": ["half"]}), tmp_path / "o", steps=tmp_path / "s",
            unlabelled=road / "data" / "train.jsonl", progress=False, log=str,
        )  # fmt: skip


def test_a_text_longer_than_the_positions_is_cut(road):
    assert predict.load(road / "out").predict("ab " * 200)[0]["source"] == "ab " * 200
    with pytest.raises(AnatomyError):
        laconic.anatomy.Anatomy(artifact.load(road / "out").model).trim_positions(10**6)
