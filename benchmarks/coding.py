"""The same tensors under Laconic's store, zstd, xz and NNCodec: bytes, and megabytes of dense weights a second.

No paper: measurement. `python -m benchmarks.coding`; `--pages` writes the page from the rows there are. General coders
get codes one a byte or packed, whichever is smaller at a quick level; NNCodec gets codes less the commonest one. All
work on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import lzma
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zstandard

from benchmarks import record
from benchmarks.peers import nncodec
from laconic import checkpoint, layers
from laconic.artifact import store
from laconic.contracts import Method, Splits, Work
from laconic.methods.gptq import GPTQ
from laconic.methods.half import Half
from laconic.methods.magnitude import Magnitude
from laconic.methods.rate import Rate
from laconic.methods.rtn import RTN
from laconic.tasks.classify import Classify

MODELS = ("tinystories-656k", "all-minilm-l6-v2")
SAMPLES = 64
SETTINGS: dict[str, list[Method]] = {
    **{f"rtn {bits} bits": [RTN(bits)] for bits in (2, 3, 4, 8)},
    "gptq 4 bits": [RTN(4, where="embeddings"), GPTQ(4, samples=SAMPLES)],
    "rate 0.015": [Rate(price=0.015, samples=SAMPLES)],
    "rate 0.06": [Rate(price=0.06, samples=SAMPLES)],
    "magnitude 50%, rtn 4 bits": [Magnitude(0.5), RTN(4)],
    "magnitude 2:4, rtn 4 bits": [Magnitude(0.5, scope="2:4"), RTN(4)],
    "magnitude 50%, float16": [Magnitude(0.5), Half()],
    "float16": [Half()],
    "bfloat16": [],
}
HALVES, HALF = ("float16", "bfloat16"), 0.75  # settings of checkpoints, and the most of their size that is to be left
LESS = {"zstd -19": 0.15, "nncodec": 0.05}  # tool -> the part of its bytes that Laconic is to save
Tensors = dict[str, torch.Tensor]


def main() -> None:
    """Every model under every setting and tool; write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", action="store_true", help="only write the page from the rows there are")
    if parser.parse_args().pages:
        record.renew("coding", sections)
        return
    torch.set_num_threads(1)
    rows = []
    for model, setting in itertools.product(MODELS, SETTINGS):
        found = compare(made(model, setting))
        for row in found:
            row = {"model": model, "setting": setting, **row, "times_laconic": row["bytes"] / found[0]["bytes"]}
            rows.append(row)
            print(row, flush=True)
    record.write("coding", rows, sections(rows))


def sections(rows: list[dict[str, Any]]) -> record.Sections:
    """Every row, with the bar it is held to."""
    header = ["model", "setting", "tool", "bytes", "bits a weight", "x laconic", "decode, MB/s", "bar"]
    table = [header]
    for row in rows:
        cells = [row["model"], row["setting"], row["tool"], f"{row['bytes']:,}", f"{row['bits_per_weight']:.3f}"]
        table.append([*cells, f"{row['times_laconic']:.3f}", f"{row['megabytes_per_second']:.0f}", bar(row)])
    held = [bar(row) for row in rows if bar(row)]
    remark = (
        "Codes, masks and values of all quantized or pruned layers (of float16 and bfloat16: every tensor), without "
        "scales and biases. Megabytes are those of the dense float32 weights that come out, by processor time. The "
        "bars: of codes Laconic takes at least 15 % less than zstd and 5 % less than NNCodec, of 16-bit checkpoints at "
        f"most 75 % of their size. {held.count('met')} of {len(held)} are met. Where they are missed, all coders are "
        "near one another: codes on a grid that is fitted to their weights leave little to any. Contexts of "
        "neighbouring weights are in Laconic's figures already."
    )
    return [("Coders", remark, table)]


def bar(row: dict[str, Any]) -> str:
    """Whether the bar is met that a row is held to, if any."""
    if row["setting"] in HALVES:
        return ("met" if row["bits_per_weight"] <= 16 * HALF else "missed") if row["tool"] == "laconic" else ""
    if row["tool"] not in LESS:
        return ""
    return "met" if 1 / row["times_laconic"] <= 1 - LESS[row["tool"]] else "missed"


def made(name: str, setting: str) -> Tensors:
    """What there is to code of a model after the setting's methods."""
    folder = record.folder("LACONIC_MODELS", name)
    task = Classify(("a", "b"))
    with (record.folder("LACONIC_DATA", "sst2") / "train_sentences.jsonl").open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in itertools.islice(file, SAMPLES)]
    examples = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(texts)]
    torch.manual_seed(0)
    tokenizer = checkpoint.tokenizer(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = checkpoint.model(task.auto, folder, num_labels=2, pad_token_id=tokenizer.pad_token_id).eval()
    work = Work(model, tokenizer, task, Splits(examples, examples, "0" * 64), None, 0, Path(), False, lambda _: None)
    for method in SETTINGS[setting]:
        method.apply(work)
    layers.freeze(model)
    held = model.state_dict()
    if not list(layers.held(model)):
        kind = torch.bfloat16 if setting == "bfloat16" else torch.float16
        return {n: t.to(kind) if t.is_floating_point() else t for n, t in held.items()}
    kept = {n: t for n, t in held.items() if n.endswith((".codes", ".mask", ".values"))}
    return {n: t.half() if t.is_floating_point() else t for n, t in kept.items()}


def compare(tensors: Tensors) -> list[dict[str, Any]]:
    """A row for each tool, Laconic's first."""
    masked = {n.removesuffix(".mask") for n in tensors if n.endswith(".mask")}
    weights = sum(t.numel() for n, t in tensors.items() if n.removesuffix(".values") not in masked)
    start = time.process_time()
    container = store.encode(tensors)
    spent = time.process_time() - start
    found = [("laconic", len(container), seconds(lambda: store.decode(container)), spent)]
    form = min(forms(tensors), key=lambda data: len(zstandard.compress(data, 9)))
    for tool, (pack, unpack) in GENERAL.items():
        start = time.process_time()
        packed = pack(form)
        spent = time.process_time() - start
        found.append((tool, len(packed), seconds(lambda u=unpack, p=packed: u(p)), spent))
    planes = {n: t.numpy() for n, t in tensors.items() if n.endswith(".codes")}
    if len(planes) == len(tensors):
        centred = {n: p.astype(np.int16) - np.bincount(p.reshape(-1)).argmax() for n, p in planes.items()}
        peer = nncodec.measure(centred, record.runs() / "peers" / "environments")
        if peer is not None:
            found.append(("nncodec", peer["bytes"], peer["seconds"], float("nan")))
    return [
        {
            "tool": tool,
            "bytes": size,
            "ratio": size / (4 * weights),
            "bits_per_weight": 8 * size / weights,
            "megabytes_per_second": weights * 4e-6 / max(took, 1e-9),
            "encode_seconds": None if spent != spent else spent,
        }
        for tool, size, took, spent in found
    ]


def forms(tensors: Tensors) -> list[bytes]:
    """All tensors end to end: as they are with masks as bits, and with codes packed to the bits that they need."""
    plain, dense = [], []
    for tensor in tensors.values():
        flat = tensor.reshape(-1)
        if tensor.dtype == torch.bool:
            plain.append(np.packbits(flat.numpy()).tobytes())
            dense.append(plain[-1])
            continue
        plain.append(flat.view(torch.uint8).numpy().tobytes())
        dense.append(plain[-1])
        if tensor.dtype == torch.uint8:
            bits = int(flat.max()).bit_length()
            places = (flat.numpy()[:, None] >> np.arange(bits, dtype=np.uint8)) & 1
            dense[-1] = np.packbits(places.astype(bool), bitorder="little").tobytes()
    return [b"".join(plain)] if plain == dense else [b"".join(plain), b"".join(dense)]


def seconds(call: Callable[[], Any]) -> float:
    """Least processor time of three calls."""
    spent = []
    for _ in range(3):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return min(spent)


def _xz(data: bytes) -> bytes:
    return lzma.compress(data, preset=9)


GENERAL: dict[str, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    "zstd -19": (zstandard.ZstdCompressor(level=19).compress, zstandard.ZstdDecompressor().decompress),
    "xz -9": (_xz, lzma.decompress),
}


if __name__ == "__main__":
    main()
