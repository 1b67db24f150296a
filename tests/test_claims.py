"""What is said where a step lost what an earlier one made, or made nothing."""

import pytest

from laconic import claims
from laconic.contracts import PROPERTIES
from laconic.errors import EffectError
from laconic.methods.neurons import Neurons

START = dict.fromkeys(PROPERTIES, 0.0) | {"narrow": -80.0, "shallow": -4.0}


def test_what_is_left_is_said_of_the_growth_whatever_sign_amounts_have():
    cut = START | {"narrow": -60.0}
    claims.kept([Neurons()], [START, cut, cut | {"narrow": -62.0}], "step 2 (x)")
    for now, there in ((-65.0, 15), (-80.0, 0), (-90.0, 0)):
        with pytest.raises(EffectError, match=f"made narrow, but of a growth by 20, {there} is left; move it before"):
            claims.kept([Neurons()], [START, cut, cut | {"narrow": now}], "step 2 (x)")


def test_of_what_did_not_grow_both_amounts_are_said():
    with pytest.raises(EffectError, match=r"it was -80 and is -80.; ask it for more"):
        claims.made(Neurons(), START, START, "step 1 (neurons)")
