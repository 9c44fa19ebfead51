"""Numbers of bytes as people read and write them, in decimal units."""

from __future__ import annotations

import re
from typing import Final

UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")

_LARGEST: Final = 2**63 - 1
_WRITTEN: Final = re.compile(r"(\d{1,20}(?:\.\d{1,20})?) ?([kMGTPE]?B)?", re.ASCII)


def size(count: float) -> str:
    """Return a number of bytes in decimal units with three digits: ``2.41 MB``, ``512 B``."""
    for unit in UNITS:
        if count < 999.5 or unit == UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} B" if unit == "B" else f"{_three_digits(count)} {unit}"


def parse_size(text: str) -> int:
    """Return how many bytes are meant: ``50GB``, ``1.5 TB``, ``4096``.

    Raises:
        ValueError: it is no such size, no whole number of bytes, or more than 2⁶³ - 1.
    """
    from fractions import Fraction  # seldom of use, and slow to import

    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise ValueError("a size is a number and B, kB, MB, GB or TB, as in 50GB")
    number, unit = written.groups()
    count = Fraction(number) * 1000 ** UNITS.index(unit or "B")
    if count.denominator != 1:
        raise ValueError("a size is a whole number of bytes")
    if count > _LARGEST:
        raise ValueError("a size is less than 9.22 EB")
    return int(count)


def _three_digits(count: float) -> str:
    digits = 2 if count < 9.995 else 1 if count < 99.95 else 0
    return f"{count:.{digits}f}"
