"""The rows as tables: ours beside the best peer at every setting, method by method, and all there is.

No paper: presentation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks.peers.settings import ENCODERS, LEFT_OUT

Row = dict[str, Any]
Section = tuple[str, str, list[list[str]]]
SLACK = 0.02  # of the best peer's loss increase that ours may have more
FASTER = 2  # times as fast as llm-compressor
TIMINGS = "timings"
KINDS = (("decoders", False), ("encoders", True))
SECONDS = (
    "Seconds are of the processor, one thread; `seconds` in the data are by the clock, whoever else used the machine."
)


def sections(rows: list[Row], missing: list[tuple[str, ...]]) -> list[Section]:
    """The bars, then a table for every setting, then what could not be run or has not been."""
    found = [beside(rows), *answered(rows), matched(rows)]
    if any(row["family"] == TIMINGS for row in rows):
        found.append(timed(rows))
    found += [full(name, rows) for name in dict.fromkeys(row["setting"] for row in rows)]
    failed = [row for row in rows if "failure" in row]
    if failed:
        table = [["tool", "method", "model", "setting", "grid", "why"]]
        table += [[row[k] for k in ("tool", "method", "model", "setting", "grid", "failure")] for row in failed]
        found.append(("What could not be run", "", [[cell.replace("|", "/") for cell in line] for line in table]))
    if any("divergence" in row for row in rows):
        table = [["tool", "method", "why"], *([*left, why] for left, why in LEFT_OUT.items())]
        found.append(("Not run on encoders", "", table))
    if missing:
        table = [["model", "setting", "runs", "tools"]]
        for (model, setting), count in Counter((key[0], key[1]) for key in missing).items():
            tools = dict.fromkeys(key[3] for key in missing if key[:2] == (model, setting))
            table.append([model, setting, str(count), ", ".join(tools)])
        found.append(("Not measured yet", "", table))
    return found


def pairs(rows: list[Row], figure: str) -> Iterator[tuple[Row, Row]]:
    """At every setting of a model that both have, Laconic's method of the least figure, and the peers'."""
    there = [row for row in rows if row.get(figure) is not None]
    for key in dict.fromkeys((row["model"], row["setting"]) for row in there):
        here = [row for row in there if (row["model"], row["setting"]) == key]
        both = [[row for row in here if (row["tool"] == "laconic") is ours] for ours in (True, False)]
        if all(both):
            own, peer = (min(some, key=lambda row: float(row[figure])) for some in both)
            yield own, peer


def beside(rows: list[Row]) -> Section:
    """Our best beside the best peer at every setting that both have."""
    table = [["model", "setting", "ours", "+ nats", "best peer", "+ nats", "ours / peer", "bytes ours / peer", "bar"]]
    found = list(pairs(rows, "loss_increase"))
    for own, peer in found:
        a, b = own["loss_increase"], peer["loss_increase"]
        cells = [own["model"], own["setting"], named(own), f"{a:.5f}", f"{peer['tool']} {named(peer)}", f"{b:.5f}"]
        cells += [ratio(a, b), f"{own['bytes'] / peer['bytes']:.3f}"]
        table.append([*cells, "met" if within(a, b) else "missed"])
    said = [bars(kind, [p for p in found if (p[0]["model"] in ENCODERS) is is_one]) for kind, is_one in KINDS]
    remark = (
        "Loss increase over the float32 model in nats a token, of an encoder (MiniLM tuned on a data set) nats an "
        "example, on texts that no tool has seen, for encoders those of validation. Of a setting in bits, "
        f"symmetric and asymmetric grids of either side count, and bytes say what they cost: of all weights, "
        f"embeddings that no tool rounds among them, as each tool saves them (ours codes them without loss). "
        "Methods have their defaults; `gptq-best` is `gptq: {scale: best}`, and `gptq-propagate` that with "
        f"`propagate: 1.0`, as `sparsegpt-propagate` is with it. The bar: at most "
        f"{SLACK:.0%} above the best peer's, and below it in at least half of the rows. {' '.join(said)} "
        "Rows are of several runs; the data say of which commit and date, of those that were measured since they do."
    )
    return "Ours beside the best peer", remark, table


def bars(kind: str, found: list[tuple[Row, Row]]) -> str:
    """How often the bars are met on models of a kind."""
    both = [(own["loss_increase"], peer["loss_increase"]) for own, peer in found]
    if not both:
        return ""
    met, smaller = sum(within(a, b) for a, b in both), sum(a < b for a, b in both)
    half = "met" if 2 * smaller >= len(both) else "missed"
    return f"Of {kind}, where both have rows: met at {met} of {len(both)}, and below at {smaller}, {half}."


def answered(rows: list[Row]) -> list[Section]:
    """Of encoders, how far answers moved: ours beside the best peer."""
    table = [["model", "setting", "ours", "divergence", "best peer", "divergence", "ours / peer"]]
    found = list(pairs(rows, "divergence"))
    for own, peer in found:
        a, b = own["divergence"], peer["divergence"]
        cells = [own["model"], own["setting"], named(own), f"{a:.5f}", f"{peer['tool']} {named(peer)}", f"{b:.5f}"]
        table.append([*cells, ratio(a, b)])
    less = sum(own["divergence"] < peer["divergence"] for own, peer in found)
    remark = (
        "An encoder that was tuned can be surer of its answers than it should be: then noise lessens its loss, and "
        "small increases say little. Kullback-Leibler divergence of the answers from those of the float model, in nats "
        f"an example, does not have this. Ours is the smaller at {less} of {len(found)}."
    )
    return [("Answers of encoders", remark, table)] if found else []


def matched(rows: list[Row]) -> Section:
    """The same method at the same setting and grid, ours and each peer's."""
    table = [["method", "setting", "grid", "model", "ours, + nats", "peer", "+ nats", "ours / peer"]]
    found = {(r["method"], r["model"], r["setting"], r["grid"]): r for r in rows if r["tool"] == "laconic"}
    less = 0
    for row in rows:
        own = found.get((row["method"], row["model"], row["setting"], row["grid"]))
        if row["tool"] == "laconic" or own is None or None in (own["loss_increase"], row["loss_increase"]):
            continue
        a, b = own["loss_increase"], row["loss_increase"]
        less += a < b
        cells = [row["method"], row["setting"], row["grid"], row["model"], f"{a:.5f}", row["tool"], f"{b:.5f}"]
        table.append([*cells, ratio(a, b)])
    return "Method by method", f"Ours has the smaller loss in {less} of {len(table) - 1} rows.", table


def ratio(ours: float, peer: float) -> str:
    """Of two increases; nothing where one is none."""
    return f"{ours / peer:.3f}" if ours > 0 and peer > 0 else ""


def named(row: Row) -> str:
    """A method with its grid."""
    return f"{row['method']} {row['grid']}".strip()


def within(ours: float, peer: float) -> bool:
    """Whether the bar is met."""
    return ours <= peer + SLACK * abs(peer)


def timed(rows: list[Row]) -> Section:
    """Seconds and memory where nothing is evaluated."""
    table = [["setting", "tool", "seconds", "processor seconds", "peak, MB", "x ours, seconds", "x ours, peak"]]
    table[0].append("bars")
    for row in (r for r in rows if r["family"] == TIMINGS and "failure" not in r):
        own = next((r for r in rows if r["setting"] == row["setting"] and r["tool"] == "laconic"), row)
        cells = [row["setting"], f"{row['tool']} {row['method']}", f"{row['seconds']:.1f}"]
        cells += [f"{row['processor_seconds']:.1f}", f"{row['peak_bytes'] / 1e6:.0f}"]
        times, peak = row["seconds"] / own["seconds"], row["peak_bytes"] / own["peak_bytes"]
        verdict = f"speed {'met' if times >= FASTER else 'missed'}, memory {'met' if peak >= 1 else 'missed'}"
        table.append([*cells, f"{times:.2f}", f"{peak:.2f}", "" if row is own else verdict])
    remark = (
        f"The bars: at least {FASTER} times as fast as llm-compressor, at most its peak memory. Only timed alone do "
        "they count. Most of the time is matrix products: Laconic runs each block once, layer by layer, where "
        "llm-compressor runs it twice, and sums half of each symmetric matrix. That is a little more than half of the "
        "products, so that twice as fast is about the most there is to have of the same samples in float32. Passes "
        "that wait for their layers hold what a block has computed of all samples, which takes memory; freed memory "
        "goes back to the system at once, which takes time, and so do pages of the weights' file that are read no more."
    )
    return "Timings", remark, table


def full(setting: str, rows: list[Row]) -> Section:
    """Everything there is at a setting."""
    table = [["tool", "method", "model", "grid", "+ nats", "bits a byte", "divergence", "score"]]
    table[0] += ["bytes", "seconds", "peak, MB"]
    for row in (r for r in rows if r["setting"] == setting and "failure" not in r):
        cells = [row["tool"], row["method"], row["model"], row["grid"]]
        figures = ("loss_increase", "bits_per_byte", "divergence", "score")
        cells += ["" if row.get(name) is None else f"{row[name]:.5f}" for name in figures]
        cells += [f"{row['bytes']:,}", f"{row['processor_seconds']:.1f}", f"{row['peak_bytes'] / 1e6:.0f}"]
        table.append(cells)
    return f"All of: {setting}", SECONDS, table
