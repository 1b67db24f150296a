"""How a figure is written: the same words on the terminal and on the page.

No paper: formatting. A missing figure is an en dash; differences carry their sign, with a true minus.
"""

from laconic.maths.bootstrap import Interval

NONE = "–"
SPACE = "\N{NO-BREAK SPACE}"
STEPS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
AMOUNTS = frozenset({"bits_per_byte", "perplexity"})  # scores that are no share of 1
COUNTS = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def number(value: float, unit: str = "") -> str:
    """Three significant digits, whole above 100."""
    if value == 0:
        return f"0{unit}"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}{unit}"


def plain(value: float | None) -> str:
    """Three significant digits, without a unit."""
    return NONE if value is None else number(value)


def reading(value: float) -> str:
    """Four significant digits and no more than needed: the end of an axis."""
    return f"{value:,.4g}".replace("-", "−")


def amount(value: float | None) -> str:
    """Bytes in powers of 1000, as disks are sold."""
    if value is None:
        return NONE
    for unit, step in STEPS:
        if value >= step:
            return number(value / step, f"{SPACE}{unit}")
    return f"{value:.0f}{SPACE}bytes"


def count(value: float | None) -> str:
    """How many: 22.7 M."""
    if value is None:
        return NONE
    for unit, step in COUNTS:
        if value >= step:
            return number(value / step, f"{SPACE}{unit}")
    return f"{value:.0f}"


def seconds(value: float | None) -> str:
    """A duration in the unit that reads best."""
    if value is None:
        return NONE
    if value < 1e-3:
        return number(value * 1e6, f"{SPACE}µs")
    if value < 1:
        return number(value * 1e3, f"{SPACE}ms")
    return number(value, f"{SPACE}s") if value < 120 else number(value / 60, f"{SPACE}min")


def score(value: float | None) -> str:
    """A metric between -1 and 1, four digits."""
    return NONE if value is None else f"{value:.4f}".replace("-", "−")


def share(value: float | None) -> str:
    """A fraction as a percentage."""
    return NONE if value is None else f"{100 * value:.2f}{SPACE}%"


def signed(value: float, digits: int = 2) -> str:
    """With its sign; what rounds to nothing is 0."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text[1:] if float(f"{value:.{digits}f}") == 0 else text


def points(value: float | None) -> str:
    """A difference of two metrics in hundredths."""
    return NONE if value is None else signed(100 * value)


def span(interval: Interval | None) -> str:
    """An interval of a difference, in points."""
    return NONE if interval is None else f"[{points(interval.low)},{SPACE}{points(interval.high)}]"


def times(value: float | None) -> str:
    """A factor."""
    return NONE if value is None else f"{number(value)}×"


def title(key: str) -> str:
    """A metric's key as a heading: entity_f1 is Entity F1."""
    words = key.replace("_", " ").strip().split(" ")
    short = {"f1": "F1", "mcc": "MCC", "iou": "IoU", "bleu": "BLEU", "chrf": "chrF", "rouge": "ROUGE", "l": "L"}
    named = [short.get(word, word) for word in words]
    return " ".join([named[0][:1].upper() + named[0][1:], *named[1:]]) if named[0] else key
