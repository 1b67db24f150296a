"""JSON that is not trusted: whatever is wrong with it is a ValueError."""

import json

import pytest

from laconic import notation


@pytest.mark.parametrize("value", [None, 1, "a", [], {}, [1, {"a": [[]]}], {"b": {"c": [True, "[[["]}}])
def test_values_come_back(value):
    assert notation.read(json.dumps(value)) == value
    assert notation.read(json.dumps(value).encode()) == value


@pytest.mark.parametrize("text", ["", "{", b"\xff\xfe", b"\xed\xa0\x80", "9" * 5000])
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r".+"):
        notation.read(text)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_depth_is_bounded(opening):
    closing = "]" if opening == "[" else "}"
    deep = opening * notation.DEEPEST + "1" + closing * notation.DEEPEST
    assert json.dumps(notation.read(deep), separators=(",", ":")) == deep
    for whole in (opening + deep + closing, opening * 100_000):
        with pytest.raises(ValueError, match="more than 100 values within one another"):
            notation.read(whole)
