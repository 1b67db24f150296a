"""A report with everything in it; the figures are invented, and odd enough to be told apart."""

from dataclasses import replace

from laconic.maths.bootstrap import Interval
from laconic.measures.bits import Bits
from laconic.measures.latency import Latency, Spread
from laconic.measures.memory import Memory
from laconic.measures.size import Layer, Size
from laconic.report.record import Curve, Report, Row, Trace, Weighed

TAGS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC", "micro", "macro", "weighted")


def table(shift: float) -> dict[str, dict[str, float]]:
    rows = {}
    for i, tag in enumerate(TAGS):
        f1 = 0.9931 - 0.0317 * i + shift * (i % 4 - 1)
        rows[tag] = {"precision": f1 - 0.0071, "recall": f1 + 0.0053, "f1": f1, "support": 38323.0 / (1 + i)}
    return rows


def full() -> Report:
    before = Row(
        name="original",
        engine="onnxruntime int8",
        size=Size(
            91_348_211,
            22_713_216,
            22_713_216,
            1_449_551_462,
            128,
            32.17,
            {
                "embeddings": 47_710_000,
                "attention": 14_196_000,
                "ffn": 28_351_000,
                "head": 13_800,
                "other": 61_000,
            },
        ),
        score={"entity_f1": 0.8871, "micro_f1": 0.9782, "macro_f1": 0.8803, "table": table(0.0)},
        latency=Latency(0.004117, 0.009713, 341.7, 32, 256, 5, 2, Spread(1.0, 1.0, 1.0), Spread(1.0, 1.0, 1.0)),
        memory=Memory(412_700_160, 633_911_296),
        bits=Bits(46435, 0.1213, 5632.6, 730_785_688, 730_791_320.6, "tag"),
    )
    after = Row(
        name="balanced",
        engine="onnxruntime int8",
        size=Size(
            4_218_377,
            17_311_744,
            9_713_216,
            541_551_462,
            128,
            1.949,
            {
                "embeddings": 1_913_000,
                "attention": 811_000,
                "ffn": 1_004_000,
                "head": 5_100,
                "other": 52_000,
            },
        ),
        score={"entity_f1": 0.8824, "micro_f1": 0.9771, "macro_f1": 0.8811, "table": table(-0.0047)},
        differences={
            "entity_f1": Interval(-0.0047, -0.0091, -0.0006, 0.95, 1000),
            "macro_f1": Interval(0.0008, -0.0052, 0.0063, 0.95, 1000),
        },
        flips=0.0613,
        token_flips=0.0087,
        agreement=0.9871,
        latency=Latency(0.001634, 0.003719, 683.1, 32, 256, 5, 2, Spread(2.52, 2.41, 2.67), Spread(1.999, 1.91, 2.07)),
        memory=Memory(413_700_160, 497_353_728),
        bits=Bits(46435, 0.1279, 5939.0, 33_747_016, 33_752_955.0, "tag"),
    )
    torch = Row(
        name="original",
        engine="torch float32",
        latency=Latency(
            0.02713, 0.04471, 88.3, 32, 256, 5, 2, Spread(0.152, 0.147, 0.159), Spread(0.258, 0.251, 0.266)
        ),
    )
    steps = [
        Trace("vocabulary", {"keep_used": True}, 61_327_000, 0.9063, 3.7),
        Trace("ffn", {"keep": 0.5, "importance": "taylor"}, 44_711_000, 0.8713, 41.3),
        Trace("distill", {"epochs": 3, "learning_rate": 0.0002}, 44_711_000, 0.9047, 1713.0),
        Trace("quantize", {"bits": 4, "group": 32, "where": "all"}, 4_218_377, 0.9021, 93.1),
    ]
    part = ("embeddings", "attention", "ffn", "head", "other")
    layers = [
        Layer(f"bert.layer.{i}", part[i % 5], "quantized", 147_456, 91_337 + i, 147_456, 589_824, 41_213 + i)
        for i in range(9)
    ]
    points = [(float(i), 2.71 / (i + 1.3)) for i in range(40)]
    curves = [
        Curve("Loss while healing", "training", "step", "loss", points),
        Curve("Loss while healing", "validation", "step", "loss", [(x, y * 1.17 + 0.03) for x, y in points[::4]]),
    ]
    return Report(
        task="ner",
        model="all-minilm-l6-v2",
        dataset="conll2003",
        recipe="balanced",
        seed=17,
        main="entity_f1",
        rows=[before, torch, after],
        split="test",
        examples=3453,
        steps=steps,
        layers=layers,
        curves=curves,
        sizes=[
            Weighed("float16 safetensors", 45_431_000),
            Weighed("float16, zstd -19", 41_713_000, "zstd 1.5"),
            Weighed("ONNX int8", 23_117_000, "dynamic, per channel"),
        ],
        environment={"torch": "2.13.0", "CPU": "Xeon, two cores", "threads": "2"},
        commands=["laconic compress runs/ner --recipe balanced -o out/", "laconic evaluate out/ --against runs/ner"],
        notes=["The test split was read once."],
        created="2026-11-23",
    )


def least() -> Report:
    return Report(
        task="classify",
        model="m",
        dataset="d",
        recipe="r",
        seed=0,
        main="accuracy",
        rows=[Row("original"), Row("small")],
    )


def scored(before: float, after: float) -> Report:
    rows = [Row("original", score={"accuracy": before}), Row("small", score={"accuracy": after})]
    return replace(least(), rows=rows)
