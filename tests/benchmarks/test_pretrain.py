"""The page of the pretrained decoder is what its rows say, the curve a dozen points of it."""

import json

from benchmarks import record
from benchmarks.pretrain import POINTS, sections


def test_the_page_is_of_its_rows(monkeypatch, tmp_path):
    page, rows = ((record.RESULTS / f"pretrain.{kind}").read_text(encoding="utf-8") for kind in ("md", "json"))
    (tmp_path / "pretrain.json").write_text(rows, encoding="utf-8")
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    record.renew("pretrain", sections)
    assert (tmp_path / "pretrain.md").read_text(encoding="utf-8") == page
    used = json.loads(rows)["rows"][0]["model_flops_utilization"]
    assert f"| {used:.1%} |" in page


def test_the_curve_is_thinned_and_ends_with_the_run():
    row = {
        "dataset": "d", "split": "test", "text_bytes": 1, "bits_per_byte": 2.0, "perplexity": 3.0, "training_tokens": 4,
        "tokens_per_second": 5.0, "model_flops_utilization": 0.5, "peak_flops": 6.0,
    }  # fmt: skip
    for count in (1, 5, POINTS, POINTS + 1, 100):
        points = [[step, 1 / step] for step in range(1, count + 1)]
        *_, (_, _, (_, *curve)) = sections([row, {"curve": points}])
        assert min(count, POINTS) / 2 <= len(curve) <= POINTS
        assert curve[-1][0] == str(count)
