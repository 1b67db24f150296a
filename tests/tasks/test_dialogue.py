"""Dialogue: which turns are replies and what stands before them, bits by the chain rule, distinct-n by hand."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import sacrebleu
import torch
from transformers import AutoTokenizer, pipeline
from typer.testing import CliRunner

import laconic
from laconic import answers, artifact, cli, predict, prove, tasks, training
from laconic.data import records
from laconic.data import turns as chat
from laconic.data.variants import variants
from laconic.engines.torch import Torch
from laconic.errors import DataError, RecipeError
from laconic.measures import quality
from laconic.measures.memory import Memory
from laconic.tasks.dialogue import Dialogue, replies
from laconic.writing.said import Said, distinct
from tests.workshop import USED, tokenizer, work

CHAT = (
    "{% for m in messages %}{{ 'h' if m['role'] == 'user' else 'a' }} {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}a {% endif %}"
)


def talk(*said, names=("x", "y")):
    return {"turns": [{"speaker": names[i % len(names)], "text": text} for i, text in enumerate(said)]}


class Recorder:
    """A tokenizer, and the messages that it was given to put into words."""

    def __init__(self, reader):
        self.reader, self.told = reader, []

    def __getattr__(self, name):
        return getattr(self.reader, name)

    def __call__(self, *texts, **how):
        return self.reader(*texts, **how)

    def apply_chat_template(self, messages, **how):
        self.told.append(messages)
        return self.reader.apply_chat_template(messages, **how)


def rows(number):
    """The second speaker says the first word of what was said, backwards."""
    made = []
    for i in range(number):
        one, other = (" ".join(USED[(i * k + j) % len(USED)] for j in range(3)) for k in (3, 7))
        made.append(talk(one, one[:2][::-1], other, other[:2][::-1]))
    return made


def fresh(family, folder=None, number=24):
    given = work(family, folder, head="translate" if family in ("t5", "marian") else "lm")
    start = "[pad]" if family in ("t5", "marian") else None
    given.task = Dialogue(template=CHAT, length=6, turns=3, start=start)
    given.data.train[:], given.data.validation[:] = rows(number), rows(8)
    return given


def test_replies_are_the_second_speakers_and_stand_behind_what_was_said():
    reader = tokenizer()
    task = Dialogue(template=CHAT, length=6, turns=3)
    one = talk("ab ac", "ad", "ae", "af", "ab", names=("x", "y"))
    features = task.encode([talk("ab", "ac"), one], reader, answers=True)
    assert [f["example"] for f in features] == [[0], [1], [1]]
    text = [reader.decode(f["input_ids"]) for f in features]
    assert text == ["h ab a ac", "h ab ac a ad", "h ab ac a ad h ae a af"]  # but for the end, which is only said
    for feature, said in zip(features, ("ac", "ad", "af"), strict=True):
        assert feature["labels"] == feature["said"] == reader(said)["input_ids"]
        begin = feature["begins"][0]
        assert feature["input_ids"][begin:] == feature["said"][:-1]
        assert reader.decode(feature["input_ids"][:begin]).endswith(" a")


def test_turns_of_one_speaker_in_a_row_are_one_and_a_history_begins_with_the_other():
    reader, task = tokenizer(), Dialogue(template=CHAT, length=6, turns=2)
    one = {"turns": [{"speaker": s, "text": t} for s, t in zip("xxyxy", ("ab", "ac", "ad", "ae", "af"), strict=True)]}
    first, second = task.encode([one], reader, answers=False)
    assert reader.decode(first["input_ids"]) == "h ab ac a ad"
    assert reader.decode(second["input_ids"]) == "h ae a af"  # of the two turns before, one is the answerer's


CHATML = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
ALTERNATING = "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('user first') }}{% endif %}" + CHATML
DEAF = "{% for m in messages if m['role'] != 'system' %}{{ m['role'] }} {{ m['content'] }} {% endfor %}assistant "


def spoken(*turns):
    return {"turns": [{"speaker": speaker, "text": text} for speaker, text in turns]}


BRIEFED = spoken(("system", "ab ac"), ("user", "ad"), ("assistant", "ae"), ("user", "af"), ("assistant", "ab"))


@pytest.mark.parametrize(
    ("turns", "roles", "said"),
    [
        ([("system", "s"), ("user", "q"), ("assistant", "a")], "sua", ["a"]),
        ([("System", "s"), ("guest", "q"), ("host", "a"), ("guest", "r"), ("host", "b")], "suaua", ["a", "b"]),
        ([("assistant", "hi"), ("user", "q"), ("assistant", "a")], "aua", ["a"]),
        ([("host", "hi"), ("User", "q"), ("host", "a")], "aua", ["a"]),
        ([("Assistant", "hi"), ("guest", "q"), ("Assistant", "a"), ("Assistant", "b")], "auaa", ["a", "b"]),
        ([("USER", "q"), ("SYSTEM", "a"), ("USER", "r"), ("SYSTEM", "b")], "uaua", ["a", "b"]),
        ([("system", "hi"), ("user", "q"), ("system", "a")], "aua", ["a"]),  # who speaks again takes part
        ([("x", "q"), ("y", "a"), ("x", "r")], "uau", ["a"]),
    ],
)
def test_who_asks_and_who_answers(turns, roles, said):
    record = records.example(spoken(*turns), "dialogue", "here")
    assert not list(records.faults(record, "dialogue"))
    assert "".join(role[0] for role in chat.roles(record["turns"])) == roles
    assert replies(record) == said
    assert len(Dialogue(template=CHAT, length=6).encode([record], tokenizer(), answers=True)) == len(said)


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([("a", "q"), ("b", "a"), ("c", "b")], "3 speak ('a, b, c'); give turns of two speakers"),
        ([("user", "q"), ("assistant", "a"), ("system", "s"), ("user", "r")], "3 speak"),
        ([("system", "s"), ("user", "q")], "only one speaks"),
        ([("system", "s")], "only one speaks"),
        ([("assistant", "hi"), ("user", "q")], "'user' asks last, and nobody answers"),
    ],
)
def test_dialogues_without_one_who_asks_and_one_who_answers_are_refused(turns, words):
    (fault,) = records.faults(spoken(*turns), "dialogue")
    assert (fault.level, fault.field) == ("error", "turns")
    assert words in fault.message


def test_stored_chats_are_read():
    stored = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ]
    wanted = spoken(("system", "s"), ("user", "q"), ("assistant", "a"))
    assert records.example({"messages": stored, "id": 1}, "dialogue", "here") == wanted
    assert records.question({"messages": stored}, "here", "dialogue") == wanted
    with pytest.raises(DataError, match="field 'messages', turn 1 is None, not text"):
        records.example({"messages": [{"role": "assistant", "content": None}]}, "dialogue", "here")


@pytest.mark.parametrize("template", [Dialogue().template, CHATML, ALTERNATING])
def test_a_system_turn_is_the_templates_system_message(template):
    reader, task = Recorder(tokenizer()), Dialogue(template=template, length=6, turns=2)
    task.encode([BRIEFED], reader, answers=True)
    messages = [{"role": "system", "content": "ab ac"}, {"role": "user", "content": "ad"}]
    assert reader.told[-2] == messages
    assert reader.told[-1] == [*messages[:1], {"role": "user", "content": "af"}]  # of what is older it is kept


@pytest.mark.parametrize("template", [CHAT, NO_SYSTEM, DEAF])
def test_where_a_template_has_no_system_message_its_text_begins_the_first_turn(template):
    reader, task = Recorder(tokenizer()), Dialogue(template=template, length=6, turns=9)
    task.encode([BRIEFED], reader, answers=True)
    answered = [("user", "ab ac ad"), ("assistant", "ae"), ("user", "af")]
    assert reader.told[-1] == [{"role": role, "content": content} for role, content in answered]
    assert reader.told[-2] == reader.told[-1][:1]


def test_a_system_turn_stays_where_older_ones_go_and_goes_where_it_leaves_no_room():
    reader, task = tokenizer(), Dialogue(template=CHAT, length=6, turns=9)  # reads 32 tokens
    long = " ".join(USED[:12])
    briefed = spoken(("system", "ba"), ("user", long), ("assistant", "ad"), ("user", long), ("assistant", "ae"))
    *_, last = task.encode([briefed], reader, answers=False)
    assert reader.decode(last["input_ids"]) == f"h ba {long} a ae"
    assert last["cut"] == [1]
    endless = spoken(("system", " ".join(USED[i % 30] for i in range(60))), ("user", "ad"), ("assistant", "ae"))
    (only,) = task.encode([endless], reader, answers=False)
    assert reader.decode(only["input_ids"]) == "h ad a ae"
    assert only["cut"] == [1]


def test_the_oldest_turns_are_left_out_and_of_one_too_long_the_beginning():
    reader, task = tokenizer(), Dialogue(template=CHAT, length=6, turns=9)  # reads 32 tokens
    long = " ".join(USED[:12])
    *_, last = task.encode([talk(long, "ad", long, "ae")], reader, answers=False)
    assert reader.decode(last["input_ids"]) == f"h {long} a ae"
    (last,) = task.encode([talk(" ".join(USED[i % 30] for i in range(60)), "ad")], reader, answers=False)
    assert len(last["input_ids"]) <= 32
    assert reader.decode(last["input_ids"]).startswith("h ")
    assert reader.decode(last["input_ids"]).endswith(f"{USED[59 % 30]} a ad")


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_bits_are_those_of_the_chain_rule(family):
    given = fresh(family)
    one = talk("ab ac", "ad ae", "af", "ab")
    features = given.task.encode([one], given.tokenizer, answers=False)
    outputs = answers.outputs(given.model, given.task, features, 1)
    total = 0.0
    for before, said in (("h ab ac a", "ad ae"), ("h ab ac a ad ae h af a", "ab")):
        read, ids = given.tokenizer(before)["input_ids"], given.tokenizer(said)["input_ids"]
        for i, token in enumerate(ids):
            if family == "t5":
                batch = {"input_ids": torch.tensor([read]), "decoder_input_ids": torch.tensor([[1, *ids[:i]]])}
            else:
                batch = {"input_ids": torch.tensor([[*read[:-1], *ids[:i]]])}
            with torch.no_grad():
                logits = given.model(**batch).logits[0, -1].double()
            total -= float(logits.log_softmax(-1)[token]) / math.log(2)
    assert given.task.bits(outputs, features, [one]) == pytest.approx(total, rel=1e-4)
    figures = answers.evaluate(given.model, given.tokenizer, given.task, [one])
    assert figures["bits_per_byte"] == pytest.approx(total / 7, rel=1e-4)
    assert figures["saved"] == pytest.approx(1 - total / 56, rel=1e-4)
    assert figures["perplexity"] == pytest.approx(2 ** (total / 5), rel=1e-3)  # three words and two ends


def test_figures_by_hand():
    task, pair = Dialogue(), [talk("q", "the cat sat on the mat", "q", "a dog"), talk("q", "it is so good here")]
    said = [Said(("the cat sat on a mat", "a dog"), 30.0, 9), Said(("the cat",), 12.0, 6)]
    score = task.score(said, pair)
    true = ["the cat sat on the mat", "a dog", "it is so good here"]
    bleu = sacrebleu.corpus_bleu(["the cat sat on a mat", "a dog", "the cat"], [true]).score / 100
    assert score["bleu"] == pytest.approx(bleu)
    assert score["distinct_1"] == pytest.approx(7 / 10)  # the cat sat on a mat dog
    assert score["distinct_2"] == pytest.approx(6 / 10)
    assert distinct(["我们好", ""], 1) == 1
    assert distinct([""], 2) == 0
    assert distinct(["I know.", "I know", "i know,"], 1) == pytest.approx(5 / 6)  # I know. know i know,
    assert score["saved"] == pytest.approx(1 - 42 / (22 + 5 + 18) / 8)
    assert task.metric(np.array([[8.0, 1], [0, 1]])).tolist() == [0, 1]
    assert quality.flips(said, [replace(said[0], bits=1.0), Said(("x",), 12.0, 6)]) == 0.5


@pytest.mark.parametrize("family", ["llama", "marian"])
def test_it_learns_to_reply(family, tmp_path):
    given = fresh(family, tmp_path)
    before = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    training.fit(given, training.Training(epochs=40, learning_rate=1e-2, batch=16))
    after = answers.evaluate(given.model, given.tokenizer, given.task, given.data.validation)
    assert after["saved"] > before["saved"] + 0.3
    features = given.task.encode(given.data.validation, given.tokenizer, answers=False)
    raw = answers.complete(
        answers.outputs(given.model, given.task, features, 1), laconic.writing.Pen(given.model), given.task, features,
        given.tokenizer,
    )  # fmt: skip
    found = given.task.predict(raw, features, given.data.validation)
    right = [p.texts[k] == e["turns"][2 * k + 1]["text"] for p, e in zip(found, given.data.validation, strict=True)
             for k in (0, 1)]  # fmt: skip
    assert sum(right) > len(right) / 2 or family == "marian"  # which learns to look things up later


def test_records():
    raw = {"id": 3, "turns": [{"speaker": "user", "text": "hi", "acts": []}, {"speaker": "system", "text": "ho"}]}
    made = records.example(raw, "dialogue", "here")
    assert made == {"turns": [{"speaker": "user", "text": "hi"}, {"speaker": "system", "text": "ho"}]}
    assert not list(records.faults(made, "dialogue"))
    assert records.text(made, "dialogue") == "hi ho"
    for wrong in ("hi", [{"text": "a"}], ["a"], [{"speaker": "a", "text": 3}]):
        with pytest.raises(DataError, match=r"not turns|not text"):
            records.example({"turns": wrong}, "dialogue", "here")
    checks = [f.check for f in records.faults(talk("a", " ", names=("x",)), "dialogue")]
    assert checks == ["no reply", "empty text"]


def test_variants_of_a_dialogue_have_other_words_and_the_same_speakers():
    given = rows(20)
    made = variants(given, 1, 0)
    assert [[t["speaker"] for t in e["turns"]] for e in made] == [["x", "y"] * 2] * 20
    words = [(a, b) for e, f in zip(given, made, strict=True) for s, t in zip(e["turns"], f["turns"], strict=True)
             for a, b in zip(s["text"].split(), t["text"].split(), strict=True)]  # fmt: skip
    assert 0.05 < sum(a != b for a, b in words) / len(words) < 0.4


@pytest.mark.parametrize(
    ("options", "words"),
    [({"turns": 0}, "turns is 0"), ({"template": "hello"}, "template is 'hello'"), ({"length": 1}, "length is 1")],
)
def test_refusals(options, words):
    with pytest.raises(RecipeError, match=words):
        Dialogue(**options)


def test_a_typed_line_is_a_history():
    task = Dialogue(template=CHAT, length=6)
    (feature,) = task.encode([task.parse("ab ac\tad\tae")], tokenizer(), answers=False)
    assert tokenizer().decode(feature["input_ids"]) == "h ab ac a ad h ae a"
    assert "said" not in feature
    for line in ("ab\tac", "ab\t\tac"):
        with pytest.raises(DataError, match="turns"):
            task.parse(line)


CHATS = [
    ([("user", "ab")], ["h ab a"]),
    ([("system", "ac ad"), ("user", "ab")], ["h ac ad ab a"]),  # of which CHAT has no message
    ([("guest", "ab"), ("host", "ac"), ("guest", "ad"), ("guest", "ae")], ["h ab a ac h ad ae a"]),
    ([("assistant", "ab"), ("user", "ac")], ["h ac a"]),
    ([("user", "ab"), ("assistant", "ac"), ("user", "ad"), ("assistant", "ae")], ["h ab a", "h ab a ac h ad a"]),
]


@pytest.mark.parametrize(("turns", "read"), CHATS)
def test_of_a_chat_that_ends_with_who_asks_the_last_turn_is_answered(tmp_path, monkeypatch, turns, read):
    """From Python and on the command line alike; one that ends with who answers has all its replies written."""
    given, record = fresh("gpt2"), spoken(*turns)
    loaded = predict.Loaded(given.model, given.tokenizer, given.task, Torch(given.model), "")
    features = given.task.encode([records.awaited(record, "dialogue")], given.tokenizer, answers=False)
    prompts = [given.tokenizer.decode(f["input_ids"][: f["begins"][0]]) for f in features]
    assert prompts == read
    (said,) = loaded.predict([record])
    assert said["turns"] == [words for _, words in turns]
    assert len(said["replies"]) == len(read)
    (tmp_path / "asked.jsonl").write_text(json.dumps(record) + "\n")
    monkeypatch.setattr(predict, "load", lambda *_: loaded)
    ended = CliRunner().invoke(cli.app, ["predict", str(tmp_path), str(tmp_path / "asked.jsonl"), "-q"])
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout) == said


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    """Run folder and artifact of a small decoder made anew."""
    folder = tmp_path_factory.mktemp("talk")
    (folder / "data").mkdir()
    for split, number in {"train": 40, "validation": 8, "test": 8}.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows(number))
        (folder / "data" / f"{split}.jsonl").write_text(lines)
    (folder / "plan.yaml").write_text(
        "model: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 3, "
        "num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 128}\n"
        "tokenizer: {kind: bpe, vocabulary: 320}\n"
    )
    options = laconic.Training(epochs=2, learning_rate=5e-3, batch=8)
    laconic.train(folder / "plan.yaml", "dialogue", folder / "data", folder / "run", options=options, progress=False,
                  log=str, length=12)  # fmt: skip
    recipe = laconic.Recipe.read("balanced").override(["7.epochs=1", "7.batch=8"])
    laconic.compress(folder / "run", recipe, folder / "out", progress=False, log=str)
    return folder


def test_the_road_of_a_decoder(road, monkeypatch):
    monkeypatch.setattr("laconic.measures.memory.take", lambda *_: Memory(1, 2))  # a process of its own takes seconds
    held = artifact.load(road / "out").manifest.task
    assert tasks.describe(tasks.build(**held)) == held
    report = prove.compare(road / "out", road / "run", timed=False)
    assert report.main == "saved"
    assert report.after.bits.answers == sum(2 * 2 for _ in range(8))
    (said,) = predict.load(road / "out").predict("ab ac")
    assert said["turns"] == ["ab ac"]
    assert len(said["replies"]) == 1


def test_a_chat_outside_is_told_as_the_model_learnt_it(road):
    """As transformers' pipeline tells it, from the run folder, the loaded run and the artifact alike."""
    messages = [{"role": "user", "content": "ab ac"}]
    told = [
        reader.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        for reader in (
            AutoTokenizer.from_pretrained(road / "run"),
            laconic.load(road / "run").tokenizer,
            laconic.load(road / "out").tokenizer,
        )
    ]
    assert told == ["user: ab ac\nassistant:"] * 3
    loaded = laconic.load(road / "out", engine="torch")
    asked = pipeline("text-generation", model=loaded.model, tokenizer=loaded.tokenizer)
    (said,) = asked(messages, max_new_tokens=4, do_sample=False)
    assert said["generated_text"][-1]["role"] == "assistant"


def test_a_tokenizers_own_template_is_taken_and_kept(road, tmp_path):
    source = laconic.load(road / "run")
    source.tokenizer.chat_template = CHAT
    source.model.save_pretrained(tmp_path / "chat")
    source.tokenizer.save_pretrained(tmp_path / "chat")
    laconic.train(tmp_path / "chat", "dialogue", road / "data", tmp_path / "run", progress=False, log=str, length=12,
                  options=laconic.Training(epochs=1, batch=16))  # fmt: skip
    assert json.loads((tmp_path / "run" / "laconic.json").read_text())["task"]["template"] == CHAT


def test_where_nobody_asks_nothing_is_answered():
    given = fresh("gpt2")
    loaded = predict.Loaded(given.model, given.tokenizer, given.task, Torch(given.model), "")
    (said,) = loaded.predict([{"turns": [{"speaker": "assistant", "text": "hi"}]}])
    assert said == {"turns": ["hi"], "replies": []}
