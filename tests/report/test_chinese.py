"""A report with Chinese names and labels: characters stay, HTML is escaped, columns of wide characters are even."""

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from laconic.report import page, terminal
from laconic.report.record import Report
from tests.report.sample import full
from tests.report.test_page import Reader

LABELS = ("查物流", "退货", "<b>付款</b>&发票", "商品咨询", "ok")


def table(shift):
    rows = {}
    for i, label in enumerate((*LABELS, "micro", "macro")):
        rows[label] = {"precision": 0.9 - 0.1 * i, "recall": 0.8, "f1": 0.85 - 0.1 * i + shift, "support": 25.0 + i}
    return rows


def chinese():
    whole = full()
    rows = [replace(row, score={**row.score, "table": table(0.01 * i)}) for i, row in enumerate(whole.rows)]
    return replace(whole, model="中文小模型", dataset="客服留言", notes=["测试集只读一次。"], rows=rows)


def test_the_record_holds_the_characters_themselves(tmp_path):
    chinese().write(tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert all(words in text for words in (*LABELS, "中文小模型", "客服留言", "测试集只读一次。"))
    assert Report.read(tmp_path / "report.json") == chinese()


def test_the_page_shows_the_characters_and_runs_none_of_them():
    text = page.render(chinese())
    seen = Reader(text)
    assert all(words in seen.text for words in (*LABELS, "中文小模型", "客服留言", "测试集只读一次。"))
    assert "&lt;b&gt;付款&lt;/b&gt;&amp;发票" in text
    assert "<b>付款" not in text
    assert ("charset", "utf-8") in [(name, (value or "").lower()) for name, value in seen.attributes]


@pytest.mark.parametrize("width", [60, 80, 140])
def test_wide_characters_take_two_columns_of_the_terminal(width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(terminal.tag_table(table(0.0)))
    lines = [line for line in console.file.getvalue().splitlines() if line.strip()]
    assert all(cell_len(line) <= width for line in lines)
    ends = {cell_len(line.rstrip()) for line in lines if any(label in line for label in LABELS)}
    assert len(ends) == 1, "the last column of figures ends where it ends in every row"
    console.print(terminal.draw(chinese()))
    shown = console.file.getvalue()
    assert all(cell_len(line) <= width for line in shown.splitlines())
    assert all(label in shown for label in LABELS)
