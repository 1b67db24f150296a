from laconic.data.progress import follow


def test_items_pass_unchanged_and_nothing_is_printed_off_a_terminal(capfd):
    assert list(follow(iter(range(5)), "counting", True)) == [0, 1, 2, 3, 4]
    assert list(follow([1, 2], "counting", False)) == [1, 2]
    assert capfd.readouterr() == ("", "")


def test_on_a_terminal_a_bar_is_shown_on_standard_error(capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(follow([1, 2], "counting", True)) == [1, 2]
    out, err = capfd.readouterr()
    assert out == ""
    assert "counting" in err
