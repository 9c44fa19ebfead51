"""Objects: heads and buffers of every serialiser that is accepted unless said otherwise.

An input is which serialiser, how deep it may go, the sizes of up to three buffers, and then the
head and, at its end, the buffers.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Flag
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy

from fuzz.harness import Choices, Harness
from objxfer.errors import LimitExceeded, NotAllowed, NotSerializable, PeerError
from objxfer.limits import MIB
from objxfer.serializers.base import Buffer, Serializer
from objxfer.serializers.classes import register_class
from objxfer.serializers.msgpack import Msgpack
from objxfer.serializers.plain import RAW, TEXT, Json

_SERIALIZERS: Final[tuple[Serializer, ...]] = (
    *(RAW, TEXT, Json(), Json(4), Msgpack(), Msgpack(4)),
)
_BUFFERS: Final = 3


@register_class
@dataclass(frozen=True)
class Point:
    """A dataclass that both sides know."""

    x: int
    y: object


@register_class
class Colour(Flag):
    """An enum that both sides know."""

    RED = 1
    BLUE = 2


def _feed(data: bytes) -> None:
    choices = Choices(data)
    serializer = choices.one_of(_SERIALIZERS)
    sizes = [choices.number() for _ in range(choices.number() % (_BUFFERS + 1))]
    head = choices.rest()
    buffers: list[Buffer] = []
    for size in sizes:
        end = len(head) - size
        if size and end >= 0:
            buffers.append(memoryview(bytearray(head[end:])))
            head = head[:end]
    try:
        obj = serializer.load(head, buffers)
    except (PeerError, NotAllowed, LimitExceeded) as error:
        assert str(error).isprintable()
        return
    _check_again(serializer, obj)


def _check_again(serializer: Serializer, obj: Any) -> None:
    """What was loaded can be sent on, and is the same then: in its bytes, for a NaN is never."""
    try:
        head, buffers = serializer.dump(obj)
    except NotSerializable:
        # JSON can spell numbers and texts that it cannot hold: 1e999, and half a character.
        assert serializer.name == "json"
        return
    except LimitExceeded:
        # A value that has no parts, as a date, counts as nested for who sends it.
        assert serializer.name == "msgpack"
        return
    head, buffers = _copied(head, buffers)
    again = serializer.dump(serializer.load(head, buffers))
    # A set has no order, so neither have the bytes.
    assert sorted(_copied(*again)[0]) == sorted(head)
    assert sorted(_copied(*again)[1]) == sorted(buffers)


def _copied(head: Buffer, buffers: Any) -> tuple[bytes, list[bytes]]:
    return bytes(head), list(map(bytes, buffers))


def _seeds() -> Iterator[bytes]:
    zone = timezone(timedelta(hours=1), "one")
    values: list[Any] = [
        *(None, True, 5, -(2**70), 2.5, float("nan"), "é", "\ud800", b"bytes", bytearray(b"array")),
        *([1, [2]], (1, (2,)), {1, 2}, frozenset((b"a", None)), {"a": 1}, {(1, 2): {3: 4}}, ...),
        *(1j, Decimal("1e9"), Fraction(1, 3), range(0, 9, 2), slice(None, 2), uuid.UUID(int=5)),
        *(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, fold=1, tzinfo=zone).timetz()),
        *(datetime(2026, 1, 1).date(), timedelta(1, 2, 3), ZoneInfo("UTC"), PurePosixPath("a/b")),
        *(numpy.arange(6).reshape(2, 3), numpy.asfortranarray(numpy.ones((2, 3), "f4"))),
        *(numpy.zeros(2, [("a", "<i4"), ("b", "S3", (2,))]), numpy.zeros(2, "M8[25s]")),
        *(Point(1, Point(2, [])), {Point(1, 2): 3}, Colour.RED, Colour.RED | Colour.BLUE),
        *(numpy.str_("a\0"), numpy.float32(1.5), numpy.zeros((0, 3))),
    ]
    for number, serializer in enumerate(_SERIALIZERS):
        for value in values:
            try:
                head, _ = serializer.dump(value)
            except (NotSerializable, LimitExceeded):
                continue
            yield bytes((number, 0)) + bytes(head)
    yield bytes((0, 1, 3)) + b"mabc"
    yield bytes((4, 1, 3)) + b"\xc1\x92\xc7\x00\x05\x00abc"
    yield bytes((4, 0)) + b"\xdd\xff\xff\xff\xff"
    yield bytes((2, 0)) + b"[" * 300


HARNESS: Final = Harness(_feed, _seeds, at_most=2 * MIB, per_byte=128)
