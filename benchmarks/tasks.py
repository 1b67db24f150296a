"""A data set of each task: original and the recipe `balanced`, test read once.

No paper: measurement. `python -m benchmarks.tasks --dataset NAME` runs one and replaces its rows alone; a killed run
goes on where it was. `--untimed` only trains and compresses and leaves the rows as they are, so that time can be taken
later on a quiet machine. `--precision float32` trains and pretrains in that, where a processor has no arithmetic of 16
bits.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import laconic
from benchmarks import record
from benchmarks.conll2003 import in_precision, judge
from benchmarks.pretrain import planned
from laconic import data, prove, trained
from laconic.measures import quality, size
from laconic.pretrain import pretrain
from laconic.recipe import Recipe
from laconic.tasks.lm import BYTE

ENCODER, DECODER, RECIPE = "all-minilm-l6-v2", "tinystories-656k", "balanced"
PASSAGE = 2000  # characters of a play after which the next speech begins another
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SMALLER = 8  # times smaller than the original that `balanced` has to be
WITHIN = 0.010  # of the original's score
WITHIN_BITS = 0.02  # of the original's bits per byte


@dataclass(frozen=True)
class Files:
    """Which file of a data set is which split, where it is not by their names; whole texts are cut into `passages`."""

    train: str
    test: str | None = None  # which is drawn
    passages: bool = False

    def source(self, folder: Path, base: Path) -> Path:
        """The folder that is read in place of the data set's own."""
        made = base / "data"
        made.mkdir(parents=True, exist_ok=True)
        for split, name in (("train", self.train), ("test", self.test)):
            if name is not None:
                lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
                if self.passages:
                    lines = [
                        json.dumps({"text": part}) for line in lines for part in passages(json.loads(line)["text"])
                    ]
                (made / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return made

    def __str__(self) -> str:
        return f"training from {self.train}, test {f'from {self.test}' if self.test else 'drawn from it'}"


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


def _training(epochs: float, learning_rate: float, batch: int = 32) -> laconic.Training:
    return laconic.Training(epochs=epochs, learning_rate=learning_rate, batch=batch, precision="bfloat16")


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
    "training": {"block": 384, "batch": 12, "steps": 3000, "learning_rate": 2e-3},
}  # fmt: skip
LONGER = ("7.epochs=8", "7.variants=2")  # for small data: they are heard more often
LARGER = ("3.keep=0.84", "4.keep=0.67")  # blocks and neurons, where few examples cannot teach a smaller one
WORDS = ("1.min_count=1", "1.extra=15000")  # and hold too few words to tell which others will come
WHOLE = (  # of a decoder of two small blocks no block and no neuron is cut, and all has 4 bits
    "2=null", "3=null", "4=null", "6.bits=4", "7.batch=8", "7.variants=0", "7.learning_rate=0.0005",
)  # fmt: skip
ANEW = ("1.min_count=1", "4.keep=0.75", "7.learning_rate=0.001", "7.variants=0")  # for a vocabulary of the task's own


def questions(base: Path) -> Path:
    """The questions of SQuAD as texts."""
    made, texts = base / "questions.jsonl", []
    for name in ("train", "validation"):
        rows = (record.folder("LACONIC_DATA", "squad_v1") / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        texts += [json.dumps({"text": json.loads(row)["question"]}) + "\n" for row in rows]
    base.mkdir(parents=True, exist_ok=True)
    made.write_text("".join(texts), encoding="utf-8")
    return made


def chinese(precision: str) -> Path:
    """A small BERT of Chinese, pretrained on the training texts of both Chinese data sets, for want of a larger one."""
    base = record.runs() / "chinese-bert"
    base.mkdir(parents=True, exist_ok=True)
    texts = []
    for name, kind in (("waimai_10k_zh", "classify"), ("resume_ner_zh", "ner")):
        read = data.read_splits(record.folder("LACONIC_DATA", name), kind, progress=False).train
        texts += ["".join(e["tokens"]) if kind == "ner" else " ".join(e["text"].split()) for e in read]
    (base / "text.txt").write_text("\n\n".join(texts), encoding="utf-8")
    return pretrain("mlm", planned(CHINESE, precision), base / "text.txt", base / "model")


def marian(_: str) -> Path:
    """The description of an encoder-decoder that is trained for translation from nothing."""
    made = record.runs() / "multi30k_en_de" / "marian.yaml"
    made.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(EXAMPLES / "train" / "marian.yaml", made)
    return made


def abstracts(precision: str) -> Path:
    """A small T5, pretrained on the training documents and summaries of SciTLDR, for want of a larger one."""
    base = record.runs() / "abstracts-t5"
    base.mkdir(parents=True, exist_ok=True)
    read = data.read_splits(record.folder("LACONIC_DATA", "scitldr"), "summarize", progress=False).train
    texts = [" ".join(text.split()) for e in read for text in (e["document"], e["summary"])]
    (base / "text.txt").write_text("\n\n".join(texts), encoding="utf-8")
    return pretrain("span-corruption", planned(ABSTRACTS, precision), base / "text.txt", base / "model")


OFFICIAL = Files("train", "validation")  # whose test answers are not public
VALIDATED = Files("validation", "test")  # whose training file is not here
PLAYS = Files("train", "validation", passages=True)
SETTINGS: dict[str, Setting] = {
    "trec": Setting("classify", _training(8, 2e-4), 0.95, changes=WORDS + LARGER + LONGER, unlabelled=questions),
    "ag_news": Setting("classify", _training(4, 2e-4), 0.91),
    "waimai_10k_zh": Setting("classify", _training(4, 3e-4, 16), model=chinese, changes=("7.epochs=6",)),
    "resume_ner_zh": Setting("ner", _training(6, 3e-4, 16), model=chinese, changes=("7.epochs=6",)),
    "clinc150": Setting("classify", _training(8, 2e-4)),
    "financial_phrasebank": Setting("classify", _training(6, 2e-4), changes=WORDS + LONGER),
    "wnut17": Setting("ner", _training(5, 2e-4), changes=WORDS + LONGER),
    "semeval2010_task8": Setting("relation", _training(8, 2e-4), 0.80, changes=WORDS + LONGER),
    "squad_v1": Setting(
        "qa", _training(6, 2e-4), 0.65, options={"context": 384}, files=OFFICIAL, changes=(*WORDS, "7.epochs=4")
    ),
    "multi30k_en_de": Setting(
        "translate", replace(_training(16, 1e-3, 64), warmup=0.08), 0.28, model=marian,
        options={"beams": 4, "length": 64, "loss_name": "label_smoothing"},
        changes=(*ANEW, "6.bits=4", "7.epochs=10", "7.batch=64"),
    ),
    "scitldr": Setting(
        "summarize", _training(10, 1e-3, 16), model=abstracts, options={"length": 64},
        changes=(*ANEW, "7.batch=16"),
    ),
    "tinystories": Setting("lm", _training(2, 3e-4, 8), model=DECODER, changes=WHOLE, files=Files("train")),
    "tiny_shakespeare": Setting("lm", _training(4, 5e-4, 8), model=DECODER, changes=WHOLE, files=PLAYS),
    "wikitext2": Setting("lm", _training(1, 5e-4, 8), model=DECODER, changes=(*WHOLE, "7.epochs=1")),
    "arc_easy": Setting(
        "choice", _training(3, 3e-4), model=DECODER, options={"prompt": "Question: {}\nAnswer:"}, changes=WHOLE
    ),
    "openbookqa": Setting("choice", _training(3, 3e-4), model=DECODER, changes=WHOLE),
    "piqa": Setting("choice", _training(3, 3e-4), model=DECODER, changes=WHOLE, files=Files("validation")),
    "lambada": Setting("choice", _training(2, 3e-4), model=DECODER, changes=WHOLE, files=VALIDATED),
    "dailydialog": Setting(
        "dialogue", _training(3, 5e-4, 16), model=DECODER, options={"length": 64}, changes=WHOLE, files=VALIDATED
    ),
    "sgd_dialogues": Setting(
        "dialogue", _training(1, 5e-4, 16), model=DECODER, options={"length": 64}, changes=(*WHOLE, "7.epochs=1")
    ),
}  # fmt: skip


def main() -> None:
    """Train, compress, judge on test, time, and write the page with what other runs left of other data sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", action="append", choices=list(SETTINGS), help="only these; by default every one")
    parser.add_argument("--untimed", action="store_true", help="only train and compress")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16", help="of training")
    given = parser.parse_args()
    for name in given.dataset or SETTINGS:
        folders = made(name, given.precision)
        if not given.untimed:
            publish(name, [row | {"precision": given.precision} for row in measured(name, folders)])


def made(name: str, precision: str) -> dict[str, Path]:
    """Run folder and artifact of one data set."""
    setting, base = SETTINGS[name], record.runs() / name
    folder = record.folder("LACONIC_DATA", name)
    source = setting.files.source(folder, base) if setting.files else folder
    model = (
        record.folder("LACONIC_MODELS", setting.model) if isinstance(setting.model, str) else setting.model(precision)
    )
    original = laconic.train(
        model, setting.task, source, base / "original",
        options=replace(setting.training, precision=precision), **setting.options,
    )  # fmt: skip
    prove.check_test(original)
    texts = setting.unlabelled(base) if setting.unlabelled else None
    recipe = in_precision(Recipe.read(RECIPE).override(list(setting.changes)), precision)
    laconic.compress(original, recipe, base / RECIPE, unlabelled=texts)
    return {"original": original, RECIPE: base / RECIPE}


def measured(name: str, folders: dict[str, Path]) -> list[dict[str, Any]]:
    """A row for each model, by its answers to the test split and its time."""
    setting, origin = SETTINGS[name], trained.read(folders["original"])
    examples = data.read_split(origin.data(None), origin.task, "test", seed=origin.seed)
    judged = judge(folders, examples)
    times = prove.speeds(list(judged.values()))
    first, rows = judged["original"], []
    whole = size.folder_bytes(first.folder)
    for model, one in judged.items():
        found = quality.take(first.task, examples, first.predictions, one.predictions)
        held = size.folder_bytes(one.folder)
        row = {"dataset": name, "task": setting.task, "name": model, "engine": one.engine}
        row |= {"model": setting.model if isinstance(setting.model, str) else setting.model.__name__}
        row |= {"changes": " ".join(setting.changes) if model == RECIPE else "", **scored(found)}
        row |= {"bytes": held, "times_smaller": whole / held}
        row |= {"flips": found.flips, "engine_agreement": prove.agreement(one, examples)}
        row |= {"speedup_batch1": times[model].single_speedup.median}
        row |= {"speedup_batch32": times[model].batch_speedup.median, "examples": len(examples), "bar": setting.bar}
        row |= {key: value for key, value in found.after.items() if isinstance(value, float)}
        rows.append(row | record.origin())
    return rows


def scored(found: quality.Quality) -> dict[str, Any]:
    """The main figure and its difference to the original's; bits per byte in place of the share of them saved."""
    change = found.difference
    if found.main != "saved":
        held = {"metric": found.main, "score": found.after[found.main]}
        return held | {"difference": change.value, "low": change.low, "high": change.high}
    held = {"metric": "bits_per_byte", "score": found.after["bits_per_byte"]}
    return held | {
        "difference": 0.0 - BYTE * change.value,
        "low": 0.0 - BYTE * change.high,
        "high": 0.0 - BYTE * change.low,
    }


def publish(name: str, rows: list[dict[str, Any]]) -> None:
    """Put the rows of one data set in the place of those that stand in the file, and make the page of all."""
    held = record.RESULTS / "tasks.json"
    before = json.loads(held.read_text(encoding="utf-8"))["rows"] if held.is_file() else []
    kept = [row for row in before if row["dataset"] != name] + rows
    order = list(SETTINGS)
    kept.sort(key=lambda row: order.index(row["dataset"]) if row["dataset"] in order else len(order))
    record.write("tasks", kept, [("Models", REMARK, table(kept)), ("Recipes", HOW, recipes(kept))])


REMARK = (
    "Test is read once, after all choices. Differences are to the original, with their paired bootstrap interval of "
    "95 %. Of bits per byte less is better, of the other figures more. The last column says whether the original "
    f"reaches the bar that was set for it, and `{RECIPE}` is {SMALLER} times smaller and at most {100 * WITHIN:g} "
    f"points worse, of bits per byte {WITHIN_BITS:.0%}. As PyTorch: the share of answers that PyTorch gives as well "
    "with the same weights. Training, and the pretraining of a model made for it, is in the precision a row says; "
    "bfloat16 is for time, where the processor has its arithmetic. Each row has its commit and date; the line above is "
    "that of the last one."
)
HOW = (
    f"What `--set` changed in `{RECIPE}`, whose steps are vocabulary, positions, blocks, neurons, bits of linears and "
    f"of embeddings, distill and half; `null` leaves a step out. {DECODER} was trained on stories for children: what "
    "it chooses and answers shows what compression changed, not what a language model knows."
)


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The page's table, its header first."""
    header = ["data", "task", "model", "metric", "score", "difference (95%)", "bytes", "times smaller"]
    lines = [[*header, "as PyTorch", "x PyTorch, 1", "x PyTorch, 32", "precision", "commit", "as asked"]]
    for row in rows:
        change = f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
        line = [row["dataset"], row["task"], row["name"], row["metric"], f"{row['score']:.4f}", change]
        line += [f"{row['bytes']:,}", f"{row['times_smaller']:.1f}", f"{row['engine_agreement']:.1%}"]
        line += [f"{row['speedup_batch1']:.1f}", f"{row['speedup_batch32']:.1f}"]
        line += [row.get("precision", "bfloat16"), row["commit"][:8], verdict(row)]
        lines.append(line)
    return lines


def recipes(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Of every data set, which files are its splits and how its recipe was changed."""
    lines = [["data", "begins with", "files", "test examples", "changes"]]
    for row in (row for row in rows if row["name"] == RECIPE):
        setting = SETTINGS[row["dataset"]]
        changes = " ".join(f"`{change}`" for change in row.get("changes", " ".join(setting.changes)).split())
        files = str(setting.files or "its own")
        lines.append([row["dataset"], row["model"], files, f"{row['examples']:,}", changes])
    return lines


def verdict(row: dict[str, Any]) -> str:
    """Whether a row is what was asked of it."""
    if row["name"] == "original":
        return "" if row["bar"] is None else ("yes" if row["score"] >= row["bar"] else f"no: {row['bar']:g}")
    near = row["difference"] >= -WITHIN
    if row["metric"] == "bits_per_byte":
        near = row["difference"] <= WITHIN_BITS * (row["score"] - row["difference"])
    return "yes" if near and row["times_smaller"] >= SMALLER else "no"


if __name__ == "__main__":
    main()
