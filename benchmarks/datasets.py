"""Which data sets `benchmarks.tasks` runs, and how each.

No paper: a table.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

import laconic
from benchmarks import record
from benchmarks.pretrain import planned
from laconic import data
from laconic.data import utf8
from laconic.pretrain import config, pretrain

ENCODER, DECODER = "all-minilm-l6-v2", "tinystories-656k"
PASSAGE = 2000  # characters of a play after which the next speech begins another
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@dataclass(frozen=True)
class Files:
    """Which file of a data set is which split, where it is not by their names; whole texts are cut into `passages`."""

    train: str
    test: str | None = None  # which is drawn
    validation: str | None = None  # likewise
    passages: bool = False

    def source(self, folder: Path, base: Path) -> Path:
        """The folder that is read in place of the data set's own."""
        made = base / "data"
        made.mkdir(parents=True, exist_ok=True)
        for split, name in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            if name is not None:
                lines = list(utf8.stream(folder / f"{name}.jsonl"))
                if self.passages:
                    lines = [
                        json.dumps({"text": part}) for line in lines for part in passages(json.loads(line)["text"])
                    ]
                (made / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return made

    def __str__(self) -> str:
        held = {"validation": self.validation} if self.validation else {}
        held["test"] = self.test
        rest = (f"{split} {f'from {name}' if name else 'drawn from it'}" for split, name in held.items())
        return ", ".join([f"training from {self.train}", *rest])


def passages(whole: str) -> list[str]:
    """Plays in passages of whole speeches."""
    parts: list[list[str]] = [[]]
    for speech in whole.split("\n\n"):
        if sum(map(len, parts[-1])) > PASSAGE:
            parts.append([])
        parts[-1].append(speech)
    return ["\n\n".join(part) for part in parts]


@dataclass(frozen=True)
class Setting:
    """How a data set is run."""

    task: str
    training: laconic.Training
    bar: float | None = None  # that the original has to reach
    model: str | Callable[[str], Path] = ENCODER  # its folder's name, or what makes or describes it, of the precision
    options: dict[str, Any] = field(default_factory=dict)  # of the task
    changes: tuple[str, ...] = ()  # to the recipe, as `laconic compress --set` takes them
    files: Files | None = None
    unlabelled: Callable[[Path], Path] | None = None  # makes or names the texts that stand by without their answers
    data: str | None = None  # the data set's folder, where it is run a second time by another name
    precision: str = "bfloat16"  # of training, and of pretraining a model for it


def _training(epochs: float, learning_rate: float, batch: int = 32) -> laconic.Training:
    return laconic.Training(epochs=epochs, learning_rate=learning_rate, batch=batch)


CHINESE: dict[str, Any] = {
    "model": {
        "model_type": "bert", "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
        "num_attention_heads": 4, "max_position_embeddings": 256,
    },
    "tokenizer": {"kind": "wordpiece", "vocabulary": 5000},
    "training": {"block": 64, "batch": 64, "steps": 800, "learning_rate": 4e-4, "warmup": 0.1},
}  # fmt: skip
ABSTRACTS: dict[str, Any] = {
    "model": {
        "model_type": "t5", "d_model": 256, "d_kv": 64, "d_ff": 512, "num_layers": 4, "num_decoder_layers": 3,
        "num_heads": 4, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": True,
    },
    "tokenizer": {"kind": "unigram", "vocabulary": 6000},
    "training": {"block": 384, "batch": 12, "steps": 1500, "learning_rate": 2e-3},
}  # fmt: skip
LONGER = ("7.epochs=8", "7.variants=2")  # for small data: they are heard more often
LARGER = ("3.keep=0.84", "4.keep=0.67")  # blocks and neurons, where few examples cannot teach a smaller one
DEEP = ("3=null", "4.keep=0.75")  # all blocks, where they cannot teach one that is less deep
WORDS = ("1.min_count=1", "1.extra=15000")  # and hold too few words to tell which others will come
WHOLE = (  # of a decoder of two small blocks no block and no neuron is cut, and all has 4 bits
    "2=null", "3=null", "4=null", "6.bits=4", "7.batch=8", "7.variants=0", "7.learning_rate=0.0005",
)  # fmt: skip
ANEW = ("1.min_count=1", "4.keep=0.75", "7.learning_rate=0.001", "7.variants=0")  # for a vocabulary of the task's own


def intents(_: Path) -> Path:
    """Other people's requests."""
    return record.folder("LACONIC_DATA", "clinc150") / "train.jsonl"


def questions(base: Path) -> Path:
    """The questions of SQuAD as texts."""
    made, texts = base / "questions.jsonl", []
    for name in ("train", "validation"):
        rows = utf8.stream(record.folder("LACONIC_DATA", "squad_v1") / f"{name}.jsonl")
        texts += [json.dumps({"text": json.loads(row)["question"]}) + "\n" for row in rows]
    base.mkdir(parents=True, exist_ok=True)
    made.write_text("".join(texts), encoding="utf-8")
    return made


def chinese(precision: str) -> Path:
    """A small BERT of Chinese, pretrained on the training texts of both Chinese data sets, for want of a larger one."""
    texts = []
    for name, kind in (("waimai_10k_zh", "classify"), ("resume_ner_zh", "ner")):
        texts += ["".join(e["tokens"]) if kind == "ner" else e["text"] for e in _examples(name, kind)]
    return _pretrained("chinese-bert", "mlm", planned(CHINESE, precision), texts)


def marian(_: str) -> Path:
    """The description of an encoder-decoder that is trained for translation from nothing."""
    made = record.runs() / "multi30k_en_de" / "marian.yaml"
    made.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(EXAMPLES / "train" / "marian.yaml", made)
    return made


def abstracts(precision: str) -> Path:
    """A small T5, pretrained on the training documents and summaries of SciTLDR, for want of a larger one."""
    texts = [text for e in _examples("scitldr", "summarize") for text in (e["document"], e["summary"])]
    return _pretrained("abstracts-t5", "span-corruption", planned(ABSTRACTS, precision), texts)


def stories(precision: str) -> Path:
    """The T5 of examples/pretrain, pretrained on the training texts of TinyStories, for want of a larger one."""
    described = yaml.safe_load((EXAMPLES / "pretrain" / "t5.yaml").read_text(encoding="utf-8"))
    texts = [e["text"] for e in _examples("tinystories", "lm")]
    return _pretrained("stories-t5", "span-corruption", planned(described, precision), texts)


def _examples(name: str, task: str) -> list[Any]:
    return list(data.read_splits(record.folder("LACONIC_DATA", name), task, progress=False).train)


def _pretrained(name: str, objective: str, plan: config.Plan, texts: list[str]) -> Path:
    """The folder of a model that is pretrained, if it is not there, on texts each of which is a paragraph."""
    base = record.runs() / name
    base.mkdir(parents=True, exist_ok=True)
    (base / "text.txt").write_text("\n\n".join(" ".join(text.split()) for text in texts), encoding="utf-8")
    return pretrain(objective, plan, base / "text.txt", base / "model")


OFFICIAL = Files("train", "validation")  # whose test answers are not public
VALIDATED = Files("validation", "test")  # whose training file is not here
PLAYS = Files("train", "validation", passages=True)
PHRASES = Files("train", "test", "validation")  # of sentences, as GLUE has it, without the file of the sentences
SETTINGS: dict[str, Setting] = {
    "sst2": Setting("classify", _training(3, 1e-4), 0.90, files=PHRASES),
    "banking77": Setting("classify", _training(8, 2e-4, 16), 0.92, unlabelled=intents),
    "trec": Setting("classify", _training(8, 2e-4), 0.95, changes=WORDS + LARGER + LONGER, unlabelled=questions),
    "ag_news": Setting("classify", _training(4, 2e-4), 0.91),
    "waimai_10k_zh": Setting(
        "classify", _training(4, 3e-4, 16), model=chinese, changes=("7.epochs=6",), precision="float32",
    ),
    "resume_ner_zh": Setting(
        "ner", _training(6, 3e-4, 16), model=chinese, changes=("7.epochs=6",), precision="float32",
    ),
    "clinc150": Setting("classify", _training(8, 2e-4), precision="float32"),
    "financial_phrasebank": Setting("classify", _training(6, 2e-4), changes=WORDS + DEEP + LONGER),
    "wnut17": Setting("ner", _training(5, 2e-4), changes=(*WORDS, *DEEP, "5.bits=5", "6.bits=4")),
    "semeval2010_task8": Setting("relation", _training(8, 2e-4), 0.80, changes=WORDS + LONGER),
    "squad_v1": Setting(
        "qa", _training(5, 2e-4, 16), 0.65, options={"context": 384}, files=OFFICIAL,
        changes=WORDS + DEEP,  # of 4,400 questions four blocks lose 6 points
    ),
    "multi30k_en_de": Setting(
        "translate", replace(_training(16, 1e-3, 64), warmup=0.08), 0.28, model=marian,
        options={"beams": 4, "length": 64, "loss_name": "label_smoothing"},
        changes=(*ANEW, "3=null", "6.bits=4", "7.epochs=6", "7.batch=64"),
    ),
    "scitldr": Setting(
        "summarize", _training(10, 1e-3, 16), model=abstracts, options={"length": 64},
        changes=(*ANEW, "7.batch=16"),
    ),
    "tinystories": Setting(
        "lm", _training(2, 3e-4, 8), model=DECODER, changes=WHOLE, files=Files("train"), precision="float32",
    ),
    "tiny_shakespeare": Setting(
        "lm", _training(4, 5e-4, 8), model=DECODER, changes=WHOLE, files=PLAYS, precision="float32",
    ),
    "tiny_shakespeare_mlm": Setting(
        "mlm", _training(3, 5e-4, 16), data="tiny_shakespeare", options={"context": 256}, files=PLAYS,
        changes=("1.min_count=1", *DEEP, "7.batch=16", "7.variants=0"),  # distill leaves out texts of words that go
    ),
    "tinystories_span_corruption": Setting(
        "span_corruption", _training(2, 1e-3), model=stories, data="tinystories", options={"context": 128},
        changes=ANEW, files=Files("train"),
    ),
    "wikitext2": Setting(
        "lm", _training(1, 5e-4, 8), model=DECODER, changes=(*WHOLE, "7.epochs=1"), precision="float32",
    ),
    "arc_easy": Setting(
        "choice", _training(3, 3e-4), model=DECODER, options={"prompt": "Question: {}\nAnswer:"}, changes=WHOLE,
        precision="float32",
    ),
    "arc_easy_encoder": Setting(
        "choice", _training(3, 3e-4), data="arc_easy", options={"prompt": "Question: {}\nAnswer:"}, changes=LARGER
    ),
    "openbookqa": Setting("choice", _training(3, 3e-4), model=DECODER, changes=WHOLE, precision="float32"),
    "piqa": Setting("choice", _training(3, 3e-4), model=DECODER, changes=WHOLE, files=Files("validation")),
    "lambada": Setting(
        "choice", _training(2, 3e-4), model=DECODER, changes=WHOLE, files=VALIDATED, precision="float32",
    ),
    "dailydialog": Setting(
        "dialogue", _training(3, 5e-4, 16), model=DECODER, options={"length": 64}, changes=WHOLE, files=VALIDATED,
        precision="float32",
    ),
    "trec_control": Setting(
        "control", _training(6, 5e-4, 16), model=DECODER, data="trec", options={"length": 24}, changes=WHOLE
    ),
    "humaneval": Setting(
        "code", _training(6, 5e-4, 8), model=DECODER, options={"length": 256}, changes=WHOLE, files=Files("test"),
        precision="float32",
    ),
    "sgd_dialogues": Setting(
        "dialogue", _training(1, 5e-4, 16), model=DECODER, options={"length": 64}, changes=(*WHOLE, "7.epochs=1"),
        precision="float32",
    ),
}  # fmt: skip
