"""Values come back exactly, or the error says which part does not fit."""

from __future__ import annotations

import math
import subprocess
import sys
import tracemalloc
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag, IntEnum, auto
from fractions import Fraction
from functools import cached_property
from pathlib import Path, PosixPath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID, SafeUUID, uuid1
from zoneinfo import ZoneInfo

import msgpack
import numpy
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as np_st

from objxfer.errors import LimitExceeded, NotAllowed, NotSerializable, ObjxferError, PeerError
from objxfer.serializers import classes
from objxfer.serializers.base import IN_BAND
from objxfer.serializers.classes import register_class
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


def mark(code: int) -> msgpack.ExtType:
    return msgpack.ExtType(code, b"")


def marked(obj: object) -> bytes:
    packed: bytes = msgpack.packb(obj)
    return b"\xc1" + packed


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

    value = nested(250, lambda inner: [inner])
    for serializer in (MSGPACK, JSON):
        with pytest.raises(LimitExceeded, match="stack"):
            deeper(sys.getrecursionlimit() - 300, lambda: serializer.dump(value))  # noqa: B023


def test_cycles_are_refused_where_they_close() -> None:
    cycle: dict[str, Any] = {"a": [1]}
    cycle["a"].append(cycle)
    with pytest.raises(NotSerializable, match="a container of itself") as caught:
        MSGPACK.dump(cycle)
    assert caught.value.path == 'obj["a"][1]'


def test_what_is_shared_is_repeated() -> None:
    shared = [1]
    first, second = there_and_back([shared, shared])
    assert first == second == shared
    assert first is not second


# Registered classes.


@dataclass(frozen=True, slots=True)
class Job:
    step: int
    tags: tuple[str, ...]
    parent: Job | None = None
    digest: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if self.step > 99:
            raise AssertionError("rebuilding must not call this")
        object.__setattr__(self, "digest", f"of {self.step}")


@dataclass
class Model:
    weights: Any

    @cached_property
    def size(self) -> int:
        return 1


class Mode(Enum):
    FAST = object()
    SLOW = 2
    LAZY = SLOW


class Access(Flag):
    READ = auto()
    WRITE = auto()


class Level(IntEnum):
    LOW = 1


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "_by_class", {})
    monkeypatch.setattr(classes, "_by_name", {})
    for cls in (Job, Model, Mode, Access, Level):
        register_class(cls)


@pytest.mark.usefixtures("registered")
def test_registered_classes_come_back_without_running_their_code() -> None:
    job = Job(3, ("a",), Job(2, ()))
    object.__setattr__(job, "step", 100)
    again = there_and_back({"job": [job]})["job"][0]
    assert again == job
    assert (type(again), again.digest, type(again.parent)) == (Job, "of 3", Job)
    assert there_and_back({job: 1}) == {job: 1}


@pytest.mark.usefixtures("registered")
def test_enum_members_come_back_as_themselves() -> None:
    for member in (*Mode, Mode.LAZY, Level.LOW, *Access):
        assert there_and_back(member) is member
    for flags in (Access(0), Access.READ | Access.WRITE):
        assert there_and_back([flags]) == [flags]
    assert there_and_back({Level.LOW: 1}) == {1: 1}
    assert type(next(iter(there_and_back({Level.LOW: 1})))) is Level


@pytest.mark.usefixtures("registered")
def test_instances_that_are_more_or_less_than_their_fields_are_refused() -> None:
    model = Model([1])
    assert there_and_back(model) == model
    assert model.size == 1
    with pytest.raises(NotSerializable, match=r"obj\[0\].size is an attribute that is no field"):
        MSGPACK.dump([model])
    model = Model(1)
    del model.weights
    with pytest.raises(NotSerializable, match=r"obj.weights is a field that is not set"):
        MSGPACK.dump(model)
    with pytest.raises(NotSerializable) as caught:
        MSGPACK.dump([0, Model({"f": print})])
    assert caught.value.path == 'obj[1].weights["f"]'


@pytest.mark.usefixtures("registered")
def test_cycles_and_chains_of_instances() -> None:
    model = Model(None)
    model.weights = [model]
    with pytest.raises(NotSerializable) as caught:
        MSGPACK.dump(model)
    assert caught.value.path == "obj.weights[0]"
    chain = nested(256, Model)
    assert there_and_back(chain) == chain
    head, _ = Msgpack(nesting=300).dump(nested(257, Model))
    with pytest.raises(LimitExceeded):
        MSGPACK.load(head, [])


@pytest.mark.usefixtures("registered")
def test_unknown_and_changed_classes_are_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    instance, _ = MSGPACK.dump(Job(1, ()))
    member, _ = MSGPACK.dump(Level.LOW)
    monkeypatch.setattr(classes, "_by_class", {})
    monkeypatch.setattr(classes, "_by_name", {})
    for head in (instance, member):
        with pytest.raises(NotAllowed, match="not registered here"):
            MSGPACK.load(head, [])
    register_class(Model, name=f"{__name__}:Job")
    with pytest.raises(NotAllowed, match="other fields"):
        MSGPACK.load(instance, [])
    register_class(Mode, name=f"{__name__}:Level")
    with pytest.raises(PeerError):
        MSGPACK.load(member, [])


@pytest.mark.usefixtures("registered")
def test_what_cannot_be_registered() -> None:
    @dataclass
    class Mapping(dict[str, int]):
        x: int

    for cls in (Mapping, UnregisteredJob, int):
        with pytest.raises(TypeError):
            register_class(cls)
    assert register_class(Job) is Job
    with pytest.raises(ValueError, match="is registered as"):
        register_class(Job, name="other")
    with pytest.raises(ValueError, match="another class"):
        register_class(Color, name=f"{__name__}:Job")
    with pytest.raises(ValueError, match="characters"):
        register_class(Color, name="")


# Arrays.

STRUCT = numpy.dtype(
    {
        "names": ["a", "b", "c"],
        "formats": ["<i4", (">f8", (2, 3)), [("x", "?"), ("y", "M8[us]")]],
        "offsets": [8, 16, 100],
        "itemsize": 128,
    }
)

ARRAYS: list[Any] = [
    numpy.arange(6).reshape(2, 3),
    numpy.asfortranarray(numpy.arange(6.0).reshape(2, 3)),
    numpy.arange(24).reshape(2, 3, 4)[::-1, ::2, 1:],
    numpy.broadcast_to(numpy.float32(1), (3, 4)),
    numpy.array(5),
    numpy.array(5.5, ">f4"),
    numpy.zeros((3, 0, 2)),
    numpy.zeros(0, "c16"),
    numpy.arange(5, dtype=">u2"),
    numpy.array(["2024-01-01", "NaT"], "M8[25s]"),
    numpy.array([1, 2], "m8[ns]"),
    numpy.array(["a", "\u00e9\U0001f600"]),
    numpy.array([b"a", b""]),
    numpy.array([True, False]),
    numpy.array([1.5], "f2"),
    numpy.array([b"ab"], "V2"),
    numpy.zeros(3, STRUCT),
    numpy.zeros(2, numpy.dtype([("a", "i1"), ("b", "f8")], align=True)),
    numpy.zeros(2, numpy.dtype([("a", "i1"), ("b", "f8")]))[["b"]],
    numpy.ones((IN_BAND, 2), order="F"),
    numpy.ones((IN_BAND, 2))[::3],
    numpy.zeros(IN_BAND, STRUCT),
    numpy.zeros(IN_BAND, "M8[s]"),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
@pytest.mark.parametrize("writeable", [True, False])
def test_arrays_come_back_exactly_and_writable(array: Any, writeable: bool) -> None:
    array.flags.writeable = array.flags.writeable and writeable
    again = there_and_back({"a": array})["a"]
    assert type(again) is numpy.ndarray
    assert again.dtype == array.dtype
    assert again.dtype.isalignedstruct == array.dtype.isalignedstruct
    assert again.shape == array.shape
    assert again.tobytes() == array.tobytes()
    assert again.flags.writeable
    assert again.flags.c_contiguous or (again.flags.f_contiguous and array.flags.f_contiguous)
    assert again.flags.c_contiguous == array.flags.c_contiguous or not array.flags.f_contiguous


@given(np_st.arrays(np_st.array_dtypes() | np_st.scalar_dtypes(), np_st.array_shapes(min_side=0)))
def test_any_array_comes_back(array: Any) -> None:
    titled = any(len(field) > 2 for field in (array.dtype.fields or {}).values())
    assume(array.dtype.itemsize > 0 and not titled)
    again = there_and_back(array)
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()


SCALARS: list[Any] = [
    *(numpy.float64(1.5), numpy.float32(-0.0), numpy.int8(-1), numpy.uint64(2**64 - 1)),
    *(numpy.bool_(True), numpy.complex64(1j), numpy.longdouble(1) / 3, numpy.float16(1)),
    *(numpy.datetime64("2024-01-01"), numpy.datetime64("NaT", "us"), numpy.timedelta64(5, "h")),
    *(numpy.str_("a\0"), numpy.str_(""), numpy.bytes_(b"b\0"), numpy.void(b"xy")),
    numpy.zeros(1, STRUCT)[0],
]


@pytest.mark.parametrize("scalar", SCALARS, ids=repr)
def test_scalars_come_back_as_scalars(scalar: Any) -> None:
    [again] = there_and_back([scalar])
    assert type(again) is type(scalar)
    assert again.dtype == scalar.dtype
    assert again.tobytes() == scalar.tobytes()


def test_scalars_are_keys_and_elements() -> None:
    value = {numpy.int64(1): {numpy.float64(2)}}
    [(key, elements)] = there_and_back(value).items()
    assert (type(key), type(next(iter(elements)))) == (numpy.int64, numpy.float64)


def test_only_the_types_that_come_back_are_taken() -> None:
    for value in (numpy.longlong(1), numpy.zeros(1, (numpy.record, [("a", "i4")]))[0]):
        if numpy.dtype(value.dtype.str).type is not type(value):
            with pytest.raises(NotSerializable):
                MSGPACK.dump(value)
    with pytest.raises(NotSerializable):
        MSGPACK.dump(numpy.zeros(1, (numpy.record, [("a", "i4")])))
    with pytest.raises(NotSerializable):
        MSGPACK.dump(numpy.zeros(3, []))
    if hasattr(numpy.dtypes, "StringDType"):  # numpy 2
        with pytest.raises(NotSerializable):
            MSGPACK.dump(numpy.zeros(3, numpy.dtypes.StringDType()))


def test_arrays_of_objects_have_a_hint_too() -> None:
    with pytest.raises(NotSerializable) as caught:
        MSGPACK.dump({"a": [numpy.array([None])]})
    assert caught.value.path == 'obj["a"][0]'
    assert caught.value.hint.startswith('send it with serializer="pickle"')


def test_numpy_is_imported_by_arrays_alone() -> None:
    head, _ = MSGPACK.dump(numpy.arange(3))
    code = f"""
import sys
from objxfer.errors import NotAllowed
from objxfer.serializers.base import get
m = get("msgpack")
m.load(*m.dump({{"a": (1, 2.5, {{3}})}}))
assert "numpy" not in sys.modules
sys.modules["numpy"] = None
try:
    m.load({head!r}, [])
except NotAllowed as error:
    assert "numpy is not installed" in str(error)
else:
    raise AssertionError
del sys.modules["numpy"]
assert m.load({head!r}, []).tolist() == [0, 1, 2]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# Hostile heads.

BIG = memoryview(bytearray(IN_BAND))
HOSTILE: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 0),
    "never used": (b"\xc1\xc1", 0),
    "a mark in a plain head": (msgpack.packb([mark(1)]), 0),
    "a mark alone": (marked(mark(1)), 0),
    "a mark later": (marked([1, mark(1)]), 0),
    "a mark in a mark": (marked([mark(1), mark(1)]), 0),
    "a mark as a key": (marked({mark(1): 1}), 0),
    "an unknown mark": (marked([mark(99)]), 0),
    "a mark with content": (marked([msgpack.ExtType(1, b"x"), 1]), 0),
    "an unhashable key": (b"\x81\x90\x01", 0),
    "an unhashable marked key": (marked([mark(4), [], 1]), 0),
    "an unhashable key in a map": (b"\xc1\x81\x90\x01", 0),
    "an unhashable element": (marked([mark(2), []]), 0),
    "an odd dict": (marked([mark(4), 1]), 0),
    "too much": (b"\x01\x01", 0),
    "no UTF-8": (b"\xa1\xff", 0),
    "a buffer too many": (marked([mark(1)]), 1),
    "a plain head's buffer": (msgpack.packb(1), 1),
    "a missing buffer": (marked([mark(5), 0]), 0),
    "a negative buffer": (marked([mark(5), -1]), 1),
    "a bool for a buffer": (marked([mark(5), False]), 1),
    "a buffer twice": (marked([[mark(5), 0], [mark(6), 0]]), 1),
    "a float's int": (marked([mark(16), 1.5]), 0),
    "no values": (marked([mark(16)]), 0),
    "a month 13": (marked([mark(20), 2024, 13, 1]), 0),
    "a pickled date": (marked([mark(20), b"\x07\xe8\x01\x01"]), 0),
    "a decimal of nothing": (marked([mark(18), "x"]), 0),
    "a fraction of zero": (marked([mark(19), 1, 0]), 0),
    "a fraction without end": (marked([mark(19), [mark(16), b"\1" * 4096], 3]), 0),
    "a zone outside": (marked([mark(25), "../../etc/passwd"]), 0),
    "a zone of NUL": (marked([mark(25), "a\0"]), 0),
    "a zone not there": (marked([mark(25), "Mars/Olympus"]), 0),
    "a zone that is a folder": (marked([mark(25), "Europe"]), 0),
    "an offset of days": (marked([mark(24), [mark(23), 5, 0, 0], None]), 0),
    "a uuid of 2 bytes": (marked([mark(26), b"xx", None]), 0),
    "a range of step 0": (marked([mark(31), 0, 1, 0]), 0),
    "an array of objects": (marked([mark(7), "|O", [1], "C", b"12345678"]), 0),
    "an array of an expression": (marked([mark(7), "f8,O", [1], "C", b"12345678"]), 0),
    "an array of a tuple": (marked([mark(7), "(2,)f8", [1], "C", bytes(16)]), 0),
    "an array too long": (marked([mark(7), "<f8", [2**40], "C", b""]), 0),
    "an array whose size wraps": (marked([mark(7), "<f8", [2**61], "C", b""]), 0),
    "an array too short": (marked([mark(7), "<f8", [1], "C", bytes(16)]), 0),
    "an array of negative shape": (marked([mark(7), "<f8", [-1, -1], "C", bytes(8)]), 0),
    "an array of nothings": (marked([mark(7), "|S0", [2**40], "C", b""]), 0),
    "an array of 65 dimensions": (marked([mark(7), "|u1", [1] * 65, "C", b"x"]), 0),
    "an array without order": (marked([mark(7), "|u1", [1], "K", b"x"]), 0),
    "an array of text": (marked([mark(7), "|u1", [1], "C", "x"]), 0),
    "a scalar of text": (marked([mark(8), "|u1", "x"]), 0),
    "a struct of objects": (
        marked([mark(7), {"names": ["a"], "formats": ["|O"]}, [1], "C", bytes(8)]),
        0,
    ),
    "a struct without formats": (marked([mark(7), {"names": ["a"]}, [1], "C", bytes(8)]), 0),
    "a struct that overlaps its end": (
        marked(
            [
                mark(7),
                {"names": ["a"], "formats": ["<f8"], "offsets": [4], "itemsize": 8},
                [1],
                "C",
                bytes(8),
            ]
        ),
        0,
    ),
    "a class of no name": (marked([mark(9), 1]), 0),
    "an unknown class": (marked([mark(9), "os:system", "a", 1]), 0),
    "an unknown enum": (marked([mark(10), "os:system", 1]), 0),
    "a timestamp": (marked([mark(1), 1]) + b"\xd6\xff\0\0\0\0", 0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_heads_raise_objxfers_errors(name: str) -> None:
    head, buffers = HOSTILE[name]
    with pytest.raises(ObjxferError):
        MSGPACK.load(head, [memoryview(bytearray(IN_BAND)) for _ in range(buffers)])


def test_announced_lengths_are_not_believed() -> None:
    lists = (b"\xdd" + (900_000).to_bytes(4, "big")) * 200
    head = lists.ljust(1_000_000, b"\xc0")
    tracemalloc.start()
    try:
        for each in (head, b"\xc1" + head):
            with pytest.raises(PeerError):
                MSGPACK.load(each, [])
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("prefix", [b"", b"\xc1"])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\x01", b"\x92\xc7\x00\x01"])
@pytest.mark.parametrize("depth", [300, 5000])
def test_depth_is_an_error_of_ours(prefix: bytes, opening: bytes, depth: int) -> None:
    with pytest.raises((LimitExceeded, PeerError)):
        MSGPACK.load(prefix + opening * depth + b"\xc0", [])


def colliding(count: int) -> Iterator[int]:
    modulus = sys.hash_info.modulus
    return (2**70 // modulus * modulus + modulus * number for number in range(count))


@pytest.mark.parametrize("code", [2, 3, 4, None])
def test_keys_that_collide_by_design_are_refused(code: int | None) -> None:
    """A hundred thousand of them would take minutes to put into a dict."""
    keys = [[mark(16), number.to_bytes(16, "big")] for number in colliding(100_000)]
    if code is None:
        packer = msgpack.Packer()
        packed = packer.pack_map_pairs([(key, None) for key in keys])
        head = b"\xc1" + packed
    elif code == 4:
        head = marked([mark(4), *(part for key in keys for part in (key, None))])
    else:
        head = marked([mark(code), *keys])
    with pytest.raises(PeerError, match="collide"):
        MSGPACK.load(head, [])


def test_equal_keys_too_deep_to_compare_are_an_error_of_ours() -> None:
    deep = (b"\x92" + msgpack.packb(mark(1))) * 1000 + b"\x01"
    head = b"\xc1\x93" + msgpack.packb(mark(2)) + deep + deep
    with pytest.raises((LimitExceeded, PeerError)):
        MSGPACK.load(head, [])


def test_huge_exponents_take_no_time() -> None:
    huge = Decimal("1E+999999999999999999")
    assert there_and_back({huge: Decimal("-1E-999999999")}) == {huge: Decimal("-1E-999999999")}


def test_a_concrete_path_of_another_system_is_not_allowed() -> None:
    foreign = 30 if Path is PosixPath or isinstance(Path(), PosixPath) else 29
    with pytest.raises(NotAllowed):
        MSGPACK.load(marked([mark(foreign), "x"]), [])
