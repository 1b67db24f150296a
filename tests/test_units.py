"""Units are found by file name, and a wrong name is answered with the nearest right one."""

import pytest

from laconic import methods, units
from laconic.errors import RecipeError


def test_every_method_file_holds_its_class():
    for name in methods.names():
        assert methods.kind(name).__name__.lower() == name.replace("_", "")


def test_an_unknown_name_gets_a_hint():
    with pytest.raises(RecipeError, match="did you mean 'magnitude'"):
        units.find(methods, "magnitud", RecipeError)
