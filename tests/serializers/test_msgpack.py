"""Values come back exactly, or the error says which part does not fit."""

from __future__ import annotations

import math
import sys
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID, SafeUUID, uuid1
from zoneinfo import ZoneInfo

import msgpack
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objxfer.errors import LimitExceeded, NotSerializable
from objxfer.serializers.msgpack import MSGPACK, Msgpack
from objxfer.serializers.plain import JSON


def there_and_back(value: Any) -> Any:
    head, buffers = MSGPACK.dump(value)
    return MSGPACK.load(head, [memoryview(bytearray(buffer)) for buffer in buffers])


def same(left: object, right: object) -> bool:
    """Equal and of the same types throughout; NaN equals itself, 0.0 is not -0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return repr(left) == repr(right)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return same(list(left.items()), list(right.items()))
    return left == right


EXACT = [
    *(0, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**5000, -(10**5000)),
    *(0.0, -0.0, 1e-320, math.inf, -math.inf, math.nan),
    *(complex(-0.0, 0.0), complex(1, -math.inf)),
    *("\ud800", "\ud83d\ude00", "a\0b"),
    *((), (1,), ((),), [()], set(), {1, "a", None}, frozenset(), frozenset({frozenset({1})})),
    {(1, 2): "t", None: 0, 5: 1, b"b": 2, frozenset({1}): 3, 1.5: 4, 2**70: 5, "s": 6},
    {"z": 1, "a": 2, 1: 3},
    {(1,): {(2,): [{(3,): 4}]}},
    *(range(3), range(5, -5, -2), range(2**80), slice(None), slice(1, 2**70, -1), ...),
    *(bytearray(), bytearray(b"x"), b"", [b"x", bytearray(b"x")]),
    *(Decimal("-0"), Decimal("1.50"), Decimal("1E+5"), Decimal("Infinity"), Decimal("1E-9999")),
    *(Fraction(-1, 3), Fraction(2**2000, 3)),
    *(date(1, 1, 1), date.max, time(1, 2, 3, 4), time(1, fold=1), time(1, tzinfo=UTC)),
    *(datetime(2024, 1, 1), datetime.max, datetime(2024, 1, 1, tzinfo=UTC)),
    datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=-5, seconds=1), "odd")),
    *(timedelta.min, timedelta.max, timedelta(microseconds=-1)),
    *(UTC, timezone(timedelta(hours=1)), timezone(timedelta(0), "UTC"), ZoneInfo("Asia/Tokyo")),
    *(UUID(int=0), UUID(int=2**128 - 1), uuid1()),
    *(PurePosixPath("/a/../b"), PureWindowsPath("C:/x y"), PurePosixPath("\udcff"), Path("x")),
]


@pytest.mark.parametrize("value", EXACT, ids=lambda value: type(value).__name__)
def test_values_come_back_exactly(value: object) -> None:
    for held in (value, [value], {"k": value}, (value, value)):
        assert same(there_and_back(held), held)


def test_what_equality_does_not_show_comes_back_too() -> None:
    moment = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    again = there_and_back(moment)
    assert (again.fold, again.tzinfo) == (1, moment.tzinfo)
    assert repr(there_and_back(timezone(timedelta(0), "UTC"))) == repr(
        timezone(timedelta(0), "UTC")
    )
    assert there_and_back(UUID(int=1, is_safe=SafeUUID.safe)).is_safe is SafeUUID.safe
    assert str(there_and_back(Decimal("1.50"))) == "1.50"
    assert there_and_back(Decimal("sNaN123")).is_snan()
    assert list(there_and_back({(2,): 1, "a": 2, (1,): 3})) == [(2,), "a", (1,)]
    assert math.isnan(next(iter(there_and_back({math.nan: 1}))))


atoms: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.datetimes(timezones=st.none() | st.timezones())
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.complex_numbers(allow_nan=False)
)
keys = st.none() | st.integers() | st.text() | st.binary() | st.tuples(st.integers(), st.text())
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.sets(keys)
        | st.frozensets(keys)
    ),
)


@given(values)
def test_any_value_comes_back_exactly(value: object) -> None:
    assert same(there_and_back(value), value)


def test_plain_values_are_plain_msgpack() -> None:
    value = {"step": 3, "tags": ["a", None, {1: b"x"}], "loss": 0.5}
    head, buffers = MSGPACK.dump(value)
    assert msgpack.unpackb(head, strict_map_key=False) == value
    assert not buffers


def test_dumping_changes_nothing_in_the_object() -> None:
    inner: list[Any] = [1, (2,)]
    value = {"a": inner, (1,): {"b": inner}}
    MSGPACK.dump(value)
    assert value == {"a": [1, (2,)], (1,): {"b": [1, (2,)]}}
    assert value["a"] is inner


Point = namedtuple("Point", "x y")


class Text(str):
    __slots__ = ()


class Color(IntEnum):
    RED = 1


class Zone(tzinfo):
    def utcoffset(self, moment: datetime | None, /) -> timedelta:
        return timedelta(0)

    def dst(self, moment: datetime | None, /) -> None:
        return None

    def tzname(self, moment: datetime | None, /) -> str:
        return "zone"


REFUSED: list[tuple[Any, str, str]] = [
    ({"job": object()}, 'obj["job"]', "an object"),
    ([0, [0, object()]], "obj[1][1]", "an object"),
    ({(1, "a"): [object()]}, "obj[(1, 'a')][0]", "an object"),
    ({"a": {1, Text("x")}}, 'list(obj["a"])', "Text"),
    ({"a": 1, (Text("x"),): 2}, "list(obj)[1][0]", "Text"),
    (Point(1, 2), "obj", "Point"),
    ([OrderedDict()], "obj[0]", "a collections.OrderedDict"),
    (defaultdict(int), "obj", "a collections.defaultdict"),
    ({Color.RED: 1}, "list(obj)[0]", "Color"),
    (numpy.array([1, None]), "obj", "a numpy.ndarray of objects"),
    ([numpy.zeros(2, [("a", "O")])], "obj[0]", "a numpy.ndarray of objects"),
    (numpy.ma.masked_array([1]), "obj", "MaskedArray"),
    (numpy.zeros(2, "i4").view(numpy.recarray), "obj", "recarray"),
    (memoryview(b"x"), "obj", "a memoryview"),
    (datetime(2024, 1, 1, tzinfo=Zone()), "obj.tzinfo", "Zone"),
    (Fraction(1, 2**20_000), "obj", "a Fraction of more than 16384 bits"),
    (int, "obj", "a type"),
    (test_plain_values_are_plain_msgpack, "obj", "a function"),
]


@pytest.mark.parametrize(("value", "path", "what"), REFUSED)
def test_what_does_not_fit_is_refused_by_path(value: object, path: str, what: str) -> None:
    with pytest.raises(NotSerializable) as caught:
        MSGPACK.dump(value)
    assert caught.value.path.startswith(path)
    assert what in str(caught.value)
    assert str(caught.value).endswith("which msgpack cannot hold exactly.")


class UnregisteredJob:
    pass


def test_the_message_says_what_to_do() -> None:
    with pytest.raises(NotSerializable) as caught:
        MSGPACK.dump({"job": UnregisteredJob()})
    assert str(caught.value) == (
        f'obj["job"] is a {__name__}.UnregisteredJob, which msgpack cannot hold exactly.'
    )
    assert caught.value.hint == (
        "register_class(UnregisteredJob) if it is a dataclass or Enum, or send it with "
        'serializer="pickle" to a receiver that accepts pickle'
    )


def nested(depth: int, wrap: Any) -> Any:
    value: Any = wrap(0)
    for _ in range(depth - 1):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    ("wrap", "most"),
    [
        (lambda inner: [inner], 256),
        (lambda inner: (inner,), 256),
        (lambda inner: {"k": inner}, 256),
        (lambda inner: {(0,): inner}, 255),
        (lambda inner: frozenset({inner}), 256),
    ],
    ids=["list", "tuple", "dict", "dict of tuples", "frozenset"],
)
def test_nesting_is_limited_both_ways(wrap: Any, most: int) -> None:
    assert there_and_back(nested(most, wrap)) == nested(most, wrap)
    with pytest.raises(LimitExceeded):
        MSGPACK.dump(nested(most + 1, wrap))
    head, buffers = Msgpack(nesting=300).dump(nested(most + 1, wrap))
    with pytest.raises(LimitExceeded):
        MSGPACK.load(head, buffers)


def test_a_stack_that_is_nearly_used_up_is_an_error_of_ours() -> None:
    def deeper(calls: int, then: Callable[[], object]) -> object:
        return then() if calls == 0 else deeper(calls - 1, then)

    for serializer, value in (
        (MSGPACK, nested(250, lambda inner: (inner,))),
        (JSON, nested(250, lambda inner: [inner])),
    ):
        with pytest.raises(LimitExceeded, match="stack"):
            deeper(sys.getrecursionlimit() - 300, lambda: serializer.dump(value))  # noqa: B023


def test_cycles_are_refused_where_they_close() -> None:
    cycle: dict[str, Any] = {"a": [1]}
    cycle["a"].append(cycle)
    with pytest.raises(NotSerializable, match="a container of itself") as caught:
        MSGPACK.dump(cycle)
    assert caught.value.path == 'obj["a"][1]'


def test_many_rows_are_as_exact_as_few() -> None:
    for count in (3, 3000):
        plain: list[Any] = [
            {"row": row, "cells": [row, None, 0.5, [str(row)]]} for row in range(count)
        ]
        mixed = [*plain, {"row": (1, 2), "cells": [True, 2**70, b"raw", bytearray(b"raw")]}]
        for rows in (plain, mixed):
            back = there_and_back(rows)
            assert back == rows
            assert type(back[-1]["row"]) is type(rows[-1]["row"])
            assert [*map(type, back[-1]["cells"])] == [*map(type, rows[-1]["cells"])]


def test_what_is_shared_is_repeated() -> None:
    shared = [1]
    first, second = there_and_back([shared, shared])
    assert first == second == shared
    assert first is not second


def test_huge_exponents_take_no_time() -> None:
    huge = Decimal("1E+999999999999999999")
    assert there_and_back({huge: Decimal("-1E-999999999")}) == {huge: Decimal("-1E-999999999")}
