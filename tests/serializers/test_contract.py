"""What every serialiser keeps. A new one is done when its line in ``CASES`` passes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from objxfer.errors import NotSerializable, ObjxferError
from objxfer.security.sealing import Opener, Verified
from objxfer.serializers.base import IN_BAND, AnySerializer, Buffer, get


class Case(NamedTuple):
    name: str
    executes: bool
    values: list[Any]
    """Come back equal and of the same type."""
    refused: list[Any]
    """Raise ``NotSerializable``."""
    large: list[Any]
    """Buffers that are not copied by dumping."""


MIXED: list[Any] = [None, True, 0, -1.5, "", "é\U0001f600", [], {}, [1, [2, {"a": None}]]]
LARGE = IN_BAND + 1

CASES = [
    Case(
        "raw",
        False,
        [b"", b"x", bytearray(b"yz"), memoryview(b"view"), b"l" * LARGE, bytearray(LARGE)],
        [None, "text", [b"x"], memoryview(b"abcd").cast("H"), memoryview(b"abcd")[::2]],
        [b"l" * LARGE, bytearray(LARGE), memoryview(bytes(LARGE))],
    ),
    Case("text", False, ["", "é\U0001f600", "long" * LARGE], [None, b"x", "\ud800", 1], []),
    Case("json", False, [*MIXED, {"k": [1.5, -0.0]}, 2**200], [b"x", (1,), {1: 2}, {1}], []),
    Case(
        "msgpack",
        False,
        [*MIXED, (1, (2,)), {1: {2}}, {(1, None): b"x"}, 2**200, b"l" * LARGE, bytearray(LARGE)],
        [object(), lambda: None, numpy.array([None]), memoryview(b"x"), [object()]],
        [b"l" * LARGE, bytearray(LARGE), numpy.ones(LARGE), numpy.ones((LARGE, 2), order="F")],
    ),
    Case(
        "pickle",
        True,
        [*MIXED, (1, {2}), {(1, None): b"x"}, 2**200, b"l" * LARGE],
        [lambda: None, [sys.stdout], {"f": (0 for _ in "")}],
        [numpy.ones(LARGE)],
    ),
    Case(
        "cloudpickle",
        True,
        [*MIXED, (1, {2}), {(1, None): b"x"}, 2**200, b"l" * LARGE],
        [[sys.stdout], {"f": (0 for _ in "")}],
        [numpy.ones(LARGE)],
    ),
]

PROOF = Opener(bytes(32), authenticated=True).proof


def load(serializer: AnySerializer, head: Buffer, buffers: Sequence[Buffer]) -> Any:
    assert PROOF is not None
    if serializer.executes:
        return serializer.load(Verified(PROOF, head, buffers), classes=None)
    return serializer.load(head, buffers)


def received(buffers: Sequence[Buffer]) -> list[memoryview]:
    return [memoryview(bytearray(buffer)) for buffer in buffers]


def memory_of(value: Any) -> Any:
    return value if isinstance(value, numpy.ndarray) else numpy.frombuffer(value, "u1")


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def serializer(case: Case) -> AnySerializer:
    return get(case.name)


def test_name_and_whether_it_executes(case: Case, serializer: AnySerializer) -> None:
    assert serializer.name == case.name
    assert serializer.executes is case.executes
    assert get(case.name) is serializer


def test_values_come_back_equal_and_of_their_type(case: Case, serializer: AnySerializer) -> None:
    for value in case.values:
        head, buffers = serializer.dump(value)
        again = load(serializer, head, received(buffers))
        assert again == value
        assert type(again) is type(value)


def test_head_is_bytes_and_buffers_are_plain_and_large(
    case: Case, serializer: AnySerializer
) -> None:
    for value in [*case.values, *case.large]:
        head, buffers = serializer.dump(value)
        assert type(head) is bytes
        for buffer in buffers:
            view = memoryview(buffer)
            assert (view.format, view.ndim, view.c_contiguous) == ("B", 1, True)
            assert view.nbytes >= IN_BAND


def test_large_buffers_are_not_copied_by_dumping(case: Case, serializer: AnySerializer) -> None:
    for value in case.large:
        _, [buffer] = serializer.dump(value)
        own = (
            numpy.asarray(value)
            if isinstance(value, numpy.ndarray)
            else numpy.frombuffer(value, "u1")
        )
        assert numpy.shares_memory(own, numpy.frombuffer(buffer, "u1"))


def test_what_is_loaded_uses_the_received_memory(case: Case, serializer: AnySerializer) -> None:
    for value in case.large:
        head, buffers = serializer.dump(value)
        [view] = received(buffers)
        again = load(serializer, head, [view])
        if not isinstance(value, bytes):
            memory = numpy.frombuffer(view, "u1")
            assert numpy.shares_memory(numpy.asarray(again), memory)
            assert not memoryview(again).readonly


def test_read_only_buffers_are_good_enough(case: Case, serializer: AnySerializer) -> None:
    for value in [*case.values, *case.large]:
        head, buffers = serializer.dump(value)
        again = load(serializer, memoryview(head), [bytes(buffer) for buffer in buffers])
        assert (
            numpy.array_equal(again, value) if isinstance(value, numpy.ndarray) else again == value
        )


def test_what_does_not_fit_is_refused_with_its_path(case: Case, serializer: AnySerializer) -> None:
    for value in case.refused:
        with pytest.raises(NotSerializable) as caught:
            serializer.dump(value)
        assert caught.value.path.lstrip("list(").startswith("obj")
        assert caught.value.path in str(caught.value)
        with pytest.raises(NotSerializable):
            serializer.dump(value)


PLAIN = [case for case in CASES if not case.executes]


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_damaged_heads_raise_objxfers_errors_or_load(case: Case) -> None:
    """A byte more, a byte less, or another byte gives another object, or an error of ours."""
    serializer = get(case.name)
    for value in case.values:
        head, buffers = serializer.dump(value)
        if len(head) > 200:
            continue
        damaged = [head[:size] for size in range(len(head))]
        damaged += [head + b"\x00", head + b"\xc1", head + head]
        for at in range(len(head)):
            for byte in (0x00, 0x7F, 0x80, 0x93, 0xC1, 0xC7, 0xDD, 0xFF, head[at] ^ 0x01):
                damaged.append(head[:at] + bytes((byte,)) + head[at + 1 :])
        for each in damaged:
            with suppress(ObjxferError):
                load(serializer, each, received(buffers))


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_more_or_fewer_buffers_raise_objxfers_errors(case: Case) -> None:
    serializer = get(case.name)
    for value in case.values:
        head, buffers = serializer.dump(value)
        extra = [*received(buffers), memoryview(bytearray(LARGE))]
        if len(head) > 1 or buffers:
            with pytest.raises(ObjxferError):
                load(serializer, head, extra)
        if buffers and head[1:]:
            with pytest.raises(ObjxferError):
                load(serializer, head, [])


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
@given(head=st.binary(max_size=64), buffers=st.lists(st.binary(max_size=8), max_size=2))
def test_any_bytes_load_or_raise_objxfers_errors(
    case: Case, head: bytes, buffers: list[bytes]
) -> None:
    with suppress(ObjxferError):
        load(get(case.name), head, received(buffers))
