"""The published table, beaten small: CoNLL-2003, original and every built-in recipe, test read once.

No paper: the worked example. `python -m benchmarks.conll2003`; a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import laconic
from benchmarks import pages, peers_onnx, record, sizes, task_pages
from laconic import data, prove, trained
from laconic.contracts import Example
from laconic.measures import latency, quality, size
from laconic.recipe import Recipe, built_in

TEACHERS = (  # seeds are 0, 1, 2; the page says what each reached on validation
    laconic.Training(epochs=5, learning_rate=3e-4, batch=32),
    laconic.Training(epochs=5, learning_rate=2e-4, batch=32),
    laconic.Training(epochs=5, learning_rate=2e-4, batch=16),
)
TRAINING = laconic.Training(epochs=4, learning_rate=2e-4, batch=32)
UNLABELLED = "ag_news"  # its training texts, without their labels: news as well, eight years younger
PUBLISHED = {"name": "published BERT", "tool": "guide", "bytes": 433_000_000, "micro_f1": 0.973, "macro_f1": 0.909}
PEER = "original, ONNX Runtime int8"  # exported, fused and quantized as its makers advise
PEER_NARROW = f"{PEER}, one thread"
THREADS = 2
OURS = "original, laconic's engine"
WAYS = {  # figure's ending: the ways to run the original that it is measured against, the best of them
    "": ["original"],
    "_vs_ort_int8": [PEER, PEER_NARROW],
    "_vs_fastest": ["original", PEER, PEER_NARROW, OURS],
}
SPEED = (
    "Real test sentences, one run, medians of seven rounds. Times faster than the original in PyTorch (float32, two "
    "threads), in ONNX Runtime int8 (with the better number of threads), and in the fastest of all ways, Laconic's own "
    "int8 engine among them."
)
PRECISION = "bfloat16"  # of training, where no other is asked for
DATASET, MODEL = "conll2003", "all-minilm-l6-v2"


def main() -> None:
    """Train, compress by every recipe, judge all on test in one go, time all in one go, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", action="append", help="only these recipes; by default every built-in one")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default=PRECISION, help="of training")
    given = parser.parse_args()
    recipes, precision = given.recipe or built_in(), given.precision
    source, base = record.folder("LACONIC_DATA", DATASET), record.runs() / DATASET
    teachers, original = train(precision)
    folders = {"original": original}
    for name in recipes:
        folders[name] = laconic.compress(original, in_precision(Recipe.read(name), precision), base / name).folder
    examples = data.read_split(source, trained.read(original).task, "test")
    judged = judge(folders, examples)
    times = speeds(judged, base / "peer")
    weighed = sizes.compare(judged["original"].model, base / "peer")
    rows = [*rows_of(judged, times, examples), PUBLISHED]
    rows += [{"name": f"size: {k}", "tool": k, "bytes": v} for k, v in weighed.items()]
    held = {"tool": "onnxruntime", "bytes": weighed["ONNX Runtime int8"]}
    rows += [{"name": name, **held, **speed(times[name], times)} for name in (PEER, PEER_NARROW)]
    rows.append({"name": OURS, "tool": "laconic", "engine": "onnxruntime", **speed(times[OURS], times)})
    tables = [learned(teachers, original, precision), *sections(rows, judged, examples)]
    rows += [{"name": t.name, "tool": "transformers", "validation_entity_f1": reached(t)} for t in teachers]
    record.write("conll2003", [{"model": MODEL, "dataset": DATASET, **row} for row in rows], tables)
    pages.write(task_pages.written())


def train(precision: str) -> tuple[list[Path], Path]:
    """The run folders of the teachers, and of the original that learnt their mean answer."""
    teachers = [teacher(i, precision) for i in range(len(TEACHERS))]
    texts = record.folder("LACONIC_DATA", UNLABELLED) / "train.jsonl"
    return teachers, learn("original", TRAINING, precision, teachers=teachers, unlabelled=texts)


def teacher(number: int, precision: str) -> Path:
    """The run folder of one teacher."""
    return learn(f"teacher-{number}", TEACHERS[number], precision, seed=number)


def learn(name: str, options: laconic.Training, precision: str, **given: Any) -> Path:
    """The run folder of that name."""
    model, source = record.folder("LACONIC_MODELS", MODEL), record.folder("LACONIC_DATA", DATASET)
    options = replace(options, precision=precision)
    return laconic.train(model, "ner", source, record.runs() / DATASET / name, options=options, **given)


def in_precision(recipe: Recipe, precision: str) -> Recipe:
    """The recipe with its training in that precision."""
    places = [i for i, step in enumerate(recipe.steps, 1) if step.method == "distill"]
    return recipe.override([f"{i}.precision={precision}" for i in places])


def reached(run: Path) -> float:
    """A run folder's entity F1 on validation."""
    return float(trained.read(run).record["validation"]["entity_f1"])


def learned(teachers: list[Path], original: Path, precision: str) -> tuple[str, str, list[list[str]]]:
    """How the original came about."""
    rows = [["model", "epochs", "learning rate", "batch", "entity F1, validation"]]
    for folder, options in [*zip(teachers, TEACHERS, strict=True), (original, TRAINING)]:
        rows.append([folder.name, f"{options.epochs:g}", f"{options.learning_rate:g}", f"{options.batch}"])
        rows[-1].append(f"{reached(folder):.4f}")
    why = ", for time" if precision == "bfloat16" else ""
    remark = (
        f"The teachers learnt the labels; the original learnt their mean answer, to the training texts and to those of "
        f"{UNLABELLED}, whose labels are not read. All training is in {precision} (`--precision {precision}`; in "
        f"recipes `--set N.precision={precision}` for each `distill`){why}."
    )
    return "Training", remark, rows


def judge(folders: dict[str, Path], examples: list[Example]) -> dict[str, prove.Candidate]:
    """Every model's answers to the test examples: the original in PyTorch, artifacts in the fastest engine."""
    return {
        name: prove.candidate(name, folder, examples, "torch" if name == "original" else "auto")
        for name, folder in folders.items()
    }


def speeds(judged: dict[str, prove.Candidate], peer: Path) -> dict[str, latency.Latency]:
    """Times of all in one run, against the fastest way to run the original."""
    first = judged["original"]
    exported = peers_onnx.export_int8(first.model, peer)
    pad = first.tokenizer.pad_token_id or 0
    contestants = [
        latency.Contestant(name, partial(peers_onnx.Session, exported, threads), first.features, pad)
        for name, threads in ((PEER, THREADS), (PEER_NARROW, 1))
    ]
    contestants += [prove.contestant(name, one, one.engine) for name, one in judged.items()]
    contestants.append(prove.contestant(OURS, first, "onnxruntime"))
    return latency.take(contestants, threads=THREADS, texts=512, rounds=7)


def speed(one: latency.Latency, times: dict[str, latency.Latency]) -> dict[str, float]:
    """Times of one as flat figures, against ways to run the original; the peer with the better number of threads."""
    found = {"p50_seconds": one.p50_seconds, "p95_seconds": one.p95_seconds}
    found["sentences_per_second"] = one.sentences_per_second
    for suffix, names in WAYS.items():
        found[f"speedup_batch1{suffix}"] = min(times[n].p50_seconds for n in names) / one.p50_seconds
        most = max(times[n].sentences_per_second for n in names)
        found[f"speedup_batch32{suffix}"] = one.sentences_per_second / most
    return found


def rows_of(
    judged: dict[str, prove.Candidate], times: dict[str, latency.Latency], examples: list[Example]
) -> list[dict[str, Any]]:
    """One flat record per model."""
    rows = []
    first = judged["original"]
    for name, one in judged.items():
        found = quality.take(first.task, examples, first.predictions, one.predictions)
        score = found.after
        row = {"name": name, "tool": "laconic" if name != "original" else "transformers", "engine": one.engine}
        row |= {"bytes": size.folder_bytes(one.folder), "score": score[found.main]}
        row |= {key: score[key] for key in ("micro_f1", "macro_f1", "entity_f1")}
        row |= {"difference": found.difference.value, "low": found.difference.low, "high": found.difference.high}
        row |= {"flipped_sentences": found.flips, "flipped_words": found.token_flips}
        row |= {"cross_entropy_bits": one.task.bits(one.outputs, one.features, examples)}
        row |= {"engine_agreement": prove.agreement(one, examples)}
        rows.append({**row, **speed(times[name], times)})
    return rows


def sections(
    rows: list[dict[str, Any]], judged: dict[str, prove.Candidate], examples: list[Example]
) -> list[tuple[str, str, list[list[str]]]]:
    """The page's tables."""
    models = [["model", "bytes", "micro F1", "macro F1", "entity F1", "difference (95%)", "words changed"]]
    speed = [["model", "engine", "ms, batch 1", "sentences/s, batch 32"]]
    speed[0] += [f"x {way}, {batch}" for way in ("PyTorch", "int8", "fastest") for batch in (1, 32)]
    weighed = [["format", "bytes"]]
    for row in rows:
        if "micro_f1" in row:
            cells = [row["name"], f"{row['bytes']:,}", f"{row['micro_f1']:.4f}", f"{row['macro_f1']:.4f}"]
            if "entity_f1" in row:
                cells += [
                    f"{row['entity_f1']:.4f}",
                    f"{row['difference']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]",
                ]
                cells.append(f"{row['flipped_words']:.2%}")
            models.append(cells + [""] * (7 - len(cells)))
        if "p50_seconds" in row:
            speed.append([row["name"], row.get("engine", row["tool"]), f"{row['p50_seconds'] * 1e3:.2f}"])
            speed[-1] += [f"{row['sentences_per_second']:.0f}"]
            speed[-1] += [f"{row[f'speedup_batch{batch}{way}']:.2f}" for way in WAYS for batch in (1, 32)]
        if row["name"].startswith("size: "):
            weighed.append([row["tool"], f"{row['bytes']:,}"])
    weighed += [
        [f"laconic {row['name']}", f"{row['bytes']:,}"] for row in rows if row["tool"] == "laconic" and "bytes" in row
    ]
    tables = [
        ("Models", "Per token over nine tags (micro, macro) and per entity, on test, read once.", models),
        ("Speed", SPEED, speed),
        ("Size", "The same fine-tuned original in the formats people use, and ours with tokenizer and all.", weighed),
    ]
    return tables + [tag_table(name, one, examples) for name, one in judged.items()]


def tag_table(name: str, one: prove.Candidate, examples: list[Example]) -> tuple[str, str, list[list[str]]]:
    """Precision, recall, F1 and support of every tag."""
    table = one.task.score(one.predictions, examples)["table"]
    rows = [["tag", "precision", "recall", "F1", "support"]]
    for tag, line in table.items():
        rows.append([tag, *(f"{line[key]:.4f}" for key in ("precision", "recall", "f1")), f"{line['support']:.0f}"])
    return f"Tags: {name}", "", rows


if __name__ == "__main__":
    main()
