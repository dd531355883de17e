"""Texts that are taken for units: pint computes what stands in them, and they come from files."""

from __future__ import annotations

import re

_MAX_LENGTH = 60
_POWER = r"\s*(?:\*\*|\^)\s*"


def is_plain_unit(text: str) -> bool:
    """Whether a text is short, without brackets, powers of powers, or numbers above 999.

    Of ``m**9**9**9`` or ``9**99999999`` pint would compute the number.
    """
    return (
        len(text) <= _MAX_LENGTH
        and re.fullmatch(r"[\w°µΩ%/*^ .+-]*", text) is not None
        and re.search(rf"{_POWER}[^\s*/^]*{_POWER}|\d[\d_.]{{3,}}|\d[eE]", text) is None
    )
