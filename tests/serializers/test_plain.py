"""raw, text and json: exactly their types, both ways."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objxfer.errors import LimitExceeded, NotSerializable, PeerError
from objxfer.serializers.base import IN_BAND
from objxfer.serializers.plain import JSON, RAW, TEXT, Json


def test_raw_keeps_the_kind_of_bytes() -> None:
    for size in (0, 1, IN_BAND - 1, IN_BAND, IN_BAND * 2):
        for kind in (bytes, bytearray):
            head, buffers = RAW.dump(kind(size))
            assert len(buffers) == (size >= IN_BAND)
            again = RAW.load(head, [memoryview(bytearray(each)) for each in buffers])
            assert type(again) is kind
            assert again == kind(size)


def test_raw_hands_over_the_received_bytearray_itself() -> None:
    head, _ = RAW.dump(bytearray(IN_BAND))
    arrived = bytearray(IN_BAND)
    assert RAW.load(head, [memoryview(arrived)]) is arrived


def test_raw_gives_a_part_of_a_received_buffer_as_a_copy() -> None:
    head, _ = RAW.dump(bytearray(IN_BAND))
    arrived = bytearray(b"x" * (IN_BAND + 1))
    again = RAW.load(head, [memoryview(arrived)[1:]])
    assert again == arrived[1:]
    again.clear()


def test_raw_views_are_writable_when_they_arrive() -> None:
    for size in (3, IN_BAND):
        head, buffers = RAW.dump(memoryview(bytes(size)))
        again = RAW.load(head, [bytes(each) for each in buffers])
        again[0] = 7
        assert again.nbytes == size


@pytest.mark.parametrize(
    "value", [memoryview(bytes(8)).cast("d"), memoryview(bytes(4)).cast("B", (2, 2))]
)
def test_raw_refuses_views_of_more_than_bytes(value: memoryview) -> None:
    with pytest.raises(NotSerializable, match="more than bytes") as caught:
        RAW.dump(value)
    assert "cast" in caught.value.hint


@pytest.mark.parametrize(
    ("head", "buffers"), [(b"", 0), (b"x", 0), (b"b1", 1), (b"b", 2), (b"", 1)]
)
def test_raw_malformed(head: bytes, buffers: int) -> None:
    with pytest.raises(PeerError):
        RAW.load(head, [b"x"] * buffers)


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    for each in (text, text * 10_000):
        head, buffers = TEXT.dump(each)
        assert TEXT.load(head, buffers) == each


@pytest.mark.parametrize(
    ("head", "buffers"), [(b"\xff", []), (b"", [b"\xed\xa0\x80"]), (b"a", [b"b"])]
)
def test_text_malformed(head: bytes, buffers: list[bytes]) -> None:
    with pytest.raises(PeerError):
        TEXT.load(head, buffers)


def test_text_says_where_the_surrogate_is() -> None:
    with pytest.raises(NotSerializable, match="lone surrogate at index 2"):
        TEXT.dump("ab\ud800")


values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_any_json_value_comes_back(value: object) -> None:
    head, buffers = JSON.dump(value)
    assert not buffers
    again = JSON.load(head, buffers)
    assert again == value
    assert repr(again) == repr(value)


class Text(str):
    __slots__ = ()


JSON_REFUSED: list[tuple[Any, str, str]] = [
    ({"a": (1,)}, 'obj["a"]', "a tuple"),
    ([{"a": {1: 2}}], 'list(obj[0]["a"])[0]', "an int as a key"),
    ([1, math.nan], "obj[1]", "the float nan"),
    ({"a": [-math.inf]}, 'obj["a"][0]', "the float -inf"),
    (["x", ["a\udfff"]], "obj[1][0]", "lone surrogate at index 1"),
    ({"a": 0, "\udfff": 1}, "list(obj)[1]", "lone surrogate at index 0"),
    ([b"x"], "obj[0]", "a bytes"),
    ([True, Text("x")], "obj[1]", "Text"),
    ({Text("x"): 1}, "list(obj)[0]", "Text as a key"),
    ([10**5000], "obj[0]", "an int of more digits"),
    (object(), "obj", "an object"),
]


@pytest.mark.parametrize(("value", "path", "what"), JSON_REFUSED, ids=range(len(JSON_REFUSED)))
def test_json_refuses_what_it_would_change(value: object, path: str, what: str) -> None:
    with pytest.raises(NotSerializable) as caught:
        JSON.dump(value)
    assert caught.value.path == path
    assert what in str(caught.value)
    assert str(caught.value).endswith("which json cannot hold exactly.")


def nested(depth: int) -> Any:
    value: Any = []
    for level in range(depth - 1):
        value = [value] if level % 2 else {"k": value}
    return value


def test_json_nesting_is_limited_both_ways() -> None:
    head, _ = JSON.dump(nested(256))
    assert JSON.load(head, []) == nested(256)
    with pytest.raises(LimitExceeded):
        JSON.dump(nested(257))
    head, _ = Json(nesting=300).dump(nested(257))
    with pytest.raises(LimitExceeded):
        JSON.load(head, [])
    with pytest.raises(LimitExceeded):
        JSON.load(b"[" * 100_000 + b"]" * 100_000, [])
    assert JSON.load(json.dumps(["["] * 1000).encode(), []) == ["["] * 1000


def test_json_refuses_a_cycle() -> None:
    cycle: list[Any] = [1]
    cycle.append({"again": cycle})
    with pytest.raises(NotSerializable, match="a container of itself") as caught:
        JSON.dump(cycle)
    assert caught.value.path == 'obj[1]["again"]'


@pytest.mark.parametrize(
    "head",
    [b"", b"{", b"NaN", b"[1] 2", b"\xff", b"1" * 5000, b'"\x01"', "1".encode("utf-16")],
)
def test_json_malformed(head: bytes) -> None:
    assert sys.get_int_max_str_digits() == 4300
    with pytest.raises(PeerError):
        JSON.load(head, [])
    with pytest.raises(PeerError):
        JSON.load(b"1", [b"x"])
