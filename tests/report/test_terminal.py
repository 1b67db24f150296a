"""The tables of the terminal."""

import io
from dataclasses import replace

from rich.console import Console

from laconic.report import terminal
from tests.report.sample import full, least, table


def printed(thing, width=140):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(thing)
    return console.file.getvalue().replace("\xa0", " ")


def line(text, start):
    return next(" ".join(row.split()) for row in text.splitlines() if row.strip().startswith(start))


def test_before_after_change_and_interval():
    text = printed(terminal.draw(full()))
    assert line(text, "Entity F1") == "Entity F1 0.8871 0.8824 −0.47 points [−0.91, −0.06] at 95 %"
    assert line(text, "Folder on disk") == "Folder on disk 91.3 MB 4.22 MB 21.7× less"
    assert line(text, "One text, median") == "One text, median 4.12 ms 1.63 ms 2.52× less [2.41×, 2.67×] over 5 rounds"
    assert line(text, "Texts per second") == "Texts per second, batched 342 683 2.00× more [1.91×, 2.07×] over 5 rounds"
    assert line(text, "Bits per tag") == "Bits per tag 0.121 0.128 1.05× more"
    assert line(text, "Predictions changed") == "Predictions changed 6.13 %"
    assert line(text, "Answers the same in PyTorch") == "Answers the same in PyTorch 98.71 %"
    assert "gives only 98.71 % of the answers that PyTorch gives" in text
    alike = replace(full(), rows=[replace(full().rows[-1], agreement=0.9951)])
    assert "gives only" not in printed(terminal.draw(alike))
    assert "saves bytes, not time" in text


def test_the_table_of_labels():
    text = printed(terminal.draw(full()))
    assert line(text, "B-ORG") == "B-ORG 0.8815 0.8939 0.8886 9,581 0.8980 −0.94"
    assert line(text, "macro") == "macro 0.6643 0.6767 0.6714 3,484 0.6761 −0.47"
    assert line(printed(terminal.tag_table(table(0.0))), "B-ORG") == "B-ORG 0.8909 0.9033 0.8980 9,581"


def test_a_report_without_figures_prints(capsys):
    terminal.show(least())
    assert "measured" in capsys.readouterr().out


def test_labels_are_no_markup():
    assert "[bold]" in printed(
        terminal.tag_table({"[bold]": {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 3.0}})
    )
