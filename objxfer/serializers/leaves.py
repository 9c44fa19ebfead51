"""The values that have no parts of their own: numbers, dates, paths, and their like.

Each kind is one line of a table: its mark on the wire, the values it is rebuilt from, and their
types, which are checked before anything is built.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from operator import attrgetter
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import EllipsisType
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

from objxfer.errors import NotAllowed

_Types: TypeAlias = tuple[type, ...]

_FRACTION_BITS: Final = 16_384
"""Reducing a fraction costs the square of its size."""


class Leaf(NamedTuple):
    """How values of one type travel."""

    mark: int
    kind: type
    names: tuple[str, ...]
    """What the values are called in a path."""
    values: Callable[[Any], tuple[object, ...]]
    """Take a leaf apart; ``ValueError`` says why it cannot be sent."""
    types: tuple[_Types, ...]
    build: Callable[..., object]
    """Put it together again; raises what its constructor does."""


_INT: Final = (int,)
_FLOAT: Final = (float,)
_NONE: Final = type(None)
_OPTIONAL_INT: Final = (int, _NONE)
_ZONE: Final = (_NONE, timezone, ZoneInfo)


def _by_attributes(
    mark: int, kind: type, build: Callable[..., object] | None = None, /, **types: _Types
) -> Leaf:
    getter = attrgetter(*types)
    return Leaf(mark, kind, tuple(types), getter, tuple(types.values()), build or kind)


def _by_value(
    mark: int,
    kind: type,
    types: _Types,
    value: Callable[[Any], object],
    build: Callable[[Any], object] | None = None,
) -> Leaf:
    return Leaf(mark, kind, ("value",), lambda obj: (value(obj),), (types,), build or kind)


def _int_bytes(number: int) -> bytes:
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def _zone_name(zone: ZoneInfo) -> str:
    if zone.key is None:
        raise ValueError("a time zone without a name")
    return zone.key


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError) as error:
        raise NotAllowed(
            f"a received object needs the time zone {name!a}, which is not known here",
            hint="install the package tzdata",
        ) from error


def _fraction_parts(fraction: Fraction) -> tuple[object, ...]:
    _check_fraction(fraction.numerator, fraction.denominator)
    return fraction.numerator, fraction.denominator


def _fraction(numerator: int, denominator: int) -> Fraction:
    _check_fraction(numerator, denominator)
    return Fraction(numerator, denominator)


def _check_fraction(numerator: int, denominator: int) -> None:
    if max(numerator.bit_length(), denominator.bit_length()) > _FRACTION_BITS:
        raise ValueError(f"a Fraction of more than {_FRACTION_BITS} bits")


LEAVES: Final = (
    _by_value(16, int, (bytes,), _int_bytes, lambda data: int.from_bytes(data, "big", signed=True)),
    _by_attributes(17, complex, real=_FLOAT, imag=_FLOAT),
    _by_value(18, Decimal, (str,), str),
    Leaf(19, Fraction, ("numerator", "denominator"), _fraction_parts, (_INT, _INT), _fraction),
    _by_attributes(20, date, year=_INT, month=_INT, day=_INT),
    _by_attributes(
        21,
        datetime,
        lambda *values: datetime(*values[:-1], fold=values[-1]),
        year=_INT,
        month=_INT,
        day=_INT,
        hour=_INT,
        minute=_INT,
        second=_INT,
        microsecond=_INT,
        tzinfo=_ZONE,
        fold=_INT,
    ),
    _by_attributes(
        22,
        time,
        lambda *values: time(*values[:-1], fold=values[-1]),
        hour=_INT,
        minute=_INT,
        second=_INT,
        microsecond=_INT,
        tzinfo=_ZONE,
        fold=_INT,
    ),
    _by_attributes(23, timedelta, days=_INT, seconds=_INT, microseconds=_INT),
    # The name is there only if one was given; pickle's own method tells.
    Leaf(
        24,
        timezone,
        ("offset", "name"),
        lambda zone: (*zone.__getinitargs__(), None)[:2],
        ((timedelta,), (str, _NONE)),
        lambda offset, name: timezone(offset) if name is None else timezone(offset, name),
    ),
    _by_value(25, ZoneInfo, (str,), _zone_name, _zone),
    Leaf(
        26,
        UUID,
        ("bytes", "is_safe"),
        lambda uuid: (uuid.bytes, uuid.is_safe.value),
        ((bytes,), _OPTIONAL_INT),
        lambda data, safe: UUID(bytes=data, is_safe=SafeUUID(safe)),
    ),
    _by_value(27, PurePosixPath, (str,), str),
    _by_value(28, PureWindowsPath, (str,), str),
    _by_value(29, PosixPath, (str,), str),
    _by_value(30, WindowsPath, (str,), str),
    _by_attributes(31, range, start=_INT, stop=_INT, step=_INT),
    _by_attributes(32, slice, start=_OPTIONAL_INT, stop=_OPTIONAL_INT, step=_OPTIONAL_INT),
    Leaf(33, EllipsisType, (), lambda _: (), (), lambda: ...),
)
