"""numpy's arrays and scalars come back exactly, and numpy is never required."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy
import pytest
from hypothesis import assume, given
from hypothesis.extra import numpy as np_st

from objxfer.errors import NotSerializable
from objxfer.serializers.base import IN_BAND
from objxfer.serializers.msgpack import MSGPACK


def there_and_back(value: Any) -> Any:
    head, buffers = MSGPACK.dump(value)
    return MSGPACK.load(head, [memoryview(bytearray(buffer)) for buffer in buffers])


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
