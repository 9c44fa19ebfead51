"""What stands at the beginning of a marked array, in heads of ``msgpack``.

A mark is an extension type without content; its code says what the rest of the array is. The
codes are fixed for ever. Those from 16 on are in ``leaves``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

EXTENDED: Final = 0xC1
"""The first byte of a head with marks; "never used" in the msgpack specification."""


class Mark(IntEnum):
    """What the values after a mark are put together to."""

    TUPLE = 1
    SET = 2
    FROZENSET = 3
    DICT = 4
    """Keys and values in turn; only where a key is not plain."""
    BYTES = 5
    """The index of a buffer."""
    BYTEARRAY = 6
    """Bytes, or the index of a buffer."""
    ARRAY = 7
    """dtype, shape, order, and bytes or the index of a buffer."""
    SCALAR = 8
    """dtype and bytes."""
    INSTANCE = 9
    """The name of a dataclass, then the names and values of its fields in turn."""
    MEMBER = 10
    """The name of an enum, then the name of a member, or the value of a combination of flags."""
