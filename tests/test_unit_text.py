"""Texts that are taken for units come from files: none may make pint compute for ever."""

import numpy as np
import pytest

from nanoarray.archive.merged import converted
from nanoarray.errors import InputError
from nanoarray.images.units import CANONICAL_UNITS, COMMON_UNITS, is_unit
from nanoarray.unit_text import is_plain_unit

HOSTILE = [
    "m**9**9**9",
    "m ** 9 ** 9 ** 9",
    "m^9^9^9",
    "9**99999999",
    "9**9_9_9_9_9_9_9_9",
    "(9**99)**99",
    "9**9e9",
    "m" * 10_000,
    "__import__('os')",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_units_are_refused_at_once(text):
    assert not is_plain_unit(text)
    assert not is_unit(text)
    for unit, to in ((text, "nm"), ("nm", text)):
        with pytest.raises(InputError, match="cannot be converted"):
            converted(np.ones(2), name="dose", unit=unit, to=to)


def test_units_that_people_write_are_units():
    for text in (*CANONICAL_UNITS.values(), *COMMON_UNITS, "m**2/s**2", "kg m^-3", "µm^2", "1/nm"):
        assert is_plain_unit(text.replace("_per_", "/")), text
    assert converted(np.array([2.0]), name="x", unit="g/cm**3", to="kg/m**3") == pytest.approx(2000)
