from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objxfer.errors import ExitCode, PeerError
from objxfer.protocol.fields import (
    TEXT_LIMIT,
    Empty,
    Number,
    Reader,
    bytes16,
    clip,
    exit_code,
)


def test_fields_are_read_in_order_and_big_endian() -> None:
    reader = Reader(b"\x01\x00\x02\x00\x00\x00\x03" + b"\x00" * 7 + b"\x04" + b"rest")
    assert (reader.u8(), reader.u16(), reader.u32(), reader.u64()) == (1, 2, 3, 4)
    assert reader.take(4) == b"rest"
    reader.end()


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_field_cut_off_is_an_error(size: int) -> None:
    reader = Reader(bytes(size - 1))
    read = {1: reader.u8, 2: reader.u16, 4: reader.u32, 8: reader.u64}[size]
    with pytest.raises(PeerError, match="in the middle of a field"):
        read()


def test_a_layout_is_read_whole_or_not_at_all() -> None:
    layout = struct.Struct(">BH")
    assert Reader(b"\1\0\2").unpack(layout) == (1, 2)
    with pytest.raises(PeerError):
        Reader(b"\1\0").unpack(layout)


def test_what_is_left_over_is_an_error() -> None:
    with pytest.raises(PeerError, match="2 bytes too many"):
        Reader(b"ab").end()


@given(st.binary(max_size=40), st.integers(0, 40))
def test_bytes_are_taken_up_to_their_limit(value: bytes, limit: int) -> None:
    reader = Reader(bytes16(value))
    if len(value) <= limit:
        assert reader.bytes16(limit) == value
        reader.end()
    else:
        with pytest.raises(PeerError, match=f"over its limit of {limit}"):
            reader.bytes16(limit)


def test_a_length_reaches_no_further_than_the_message() -> None:
    with pytest.raises(PeerError, match="in the middle"):
        Reader(b"\0\5abcd").bytes16(100)


def test_text_is_utf_8() -> None:
    assert Reader(bytes16("é".encode())).text16(2) == "é"
    with pytest.raises(PeerError, match="not UTF-8"):
        Reader(bytes16(b"\xe9")).text16(2)


@given(st.text())
def test_a_clipped_text_is_a_prefix_within_the_limit(text: str) -> None:
    assert clip(text) == text.encode()[:TEXT_LIMIT]  # so few characters always fit


def test_no_character_is_cut_in_half() -> None:
    assert clip("a" * (TEXT_LIMIT - 1) + "é") == b"a" * (TEXT_LIMIT - 1)
    assert clip("é" * TEXT_LIMIT).decode() == "é" * (TEXT_LIMIT // 2)


def test_what_is_no_character_is_still_said() -> None:
    assert clip("a\udcffb") == b"a?b"


def test_unknown_codes_are_failures() -> None:
    assert exit_code(20) is ExitCode.REFUSED
    assert exit_code(255) is ExitCode.FAILED


def test_empty_messages_are_empty() -> None:
    assert Empty.unpack(Empty().pack()) == Empty()
    with pytest.raises(PeerError):
        Empty.unpack(b"\0")


@given(st.integers(0, 2**64 - 1))
def test_numbers_come_back(number: int) -> None:
    assert Number.unpack(Number(number).pack()) == Number(number)


@pytest.mark.parametrize("size", [0, 7, 9])
def test_numbers_have_eight_bytes(size: int) -> None:
    with pytest.raises(PeerError):
        Number.unpack(bytes(size))
