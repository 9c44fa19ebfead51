from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from objxfer.errors import IntegrityError, PeerError
from objxfer.files.digest import node_digest
from objxfer.limits import MIB
from objxfer.protocol.chunks import (
    CONNECTION,
    HEADER,
    PAYLOAD_LIMIT,
    Header,
    Type,
    check_payload,
    pack_header,
    payload_digest,
    unpack_header,
)

DIGEST = bytes(range(32))


@given(st.sampled_from(Type), st.integers(1, 2**32 - 1), st.integers(1, MIB))
def test_what_a_header_says_is_read(kind: Type, item: int, size: int) -> None:
    item = 0 if kind in CONNECTION else item
    size = min(size, PAYLOAD_LIMIT[kind])
    packed = pack_header(kind, item, size, DIGEST)
    assert len(packed) == HEADER.size == 48
    assert unpack_header(packed, 4 * MIB) == Header(kind, item, size, DIGEST)


@pytest.mark.parametrize("kind", Type)
def test_no_payload_is_over_its_types_limit(kind: Type) -> None:
    item, most = int(kind not in CONNECTION), PAYLOAD_LIMIT[kind]
    assert unpack_header(pack_header(kind, item, most, DIGEST), 4 * MIB).size == most
    for size in (most + 1, 2**32 - 1):
        with pytest.raises(PeerError, match="over the limit"):
            unpack_header(pack_header(kind, item, size, DIGEST), 4 * MIB)


def test_the_limit_of_this_side_holds_as_well() -> None:
    packed = pack_header(Type.DATA, 1, 1000, DIGEST)
    assert unpack_header(packed, 1000).size == 1000
    with pytest.raises(PeerError, match="over the limit"):
        unpack_header(packed, 999)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param((0, Type.DONE, 0, 1, 0, 0), id="version 0"),
        pytest.param((2, Type.DONE, 0, 1, 0, 0), id="version 2"),
        pytest.param((1, 0, 0, 1, 0, 0), id="type 0"),
        pytest.param((1, 255, 0, 1, 0, 0), id="type 255"),
        pytest.param((1, Type.DONE, 1, 1, 0, 0), id="a flag"),
        pytest.param((1, Type.DONE, 0x8000, 1, 0, 0), id="the other end of the flags"),
        pytest.param((1, Type.DATA, 0, 1, 5, 6), id="raw size larger"),
        pytest.param((1, Type.DATA, 0, 1, 5, 0), id="raw size 0"),
        pytest.param((1, Type.DATA, 0, 1, 0, 0), id="no data"),
        pytest.param((1, Type.DONE, 0, 0, 0, 0), id="an item's message on item 0"),
        pytest.param((1, Type.END, 0, 1, 0, 0), id="a connection's message on an item"),
    ],
)
def test_every_byte_of_a_header_is_checked(fields: tuple[int, ...]) -> None:
    with pytest.raises(PeerError):
        unpack_header(HEADER.pack(*fields, DIGEST), 4 * MIB)


def test_exactly_the_known_types_are_known() -> None:
    known = set()
    for number in range(256):
        for item in (0, 1):
            try:
                unpack_header(HEADER.pack(1, number, 0, item, 1, 1, DIGEST), 4 * MIB)
            except PeerError:
                continue
            known.add(number)
    assert known == set(Type)


def test_data_is_digested_as_a_node_of_a_file_and_messages_as_messages() -> None:
    payload = b"x" * 70_000
    assert payload_digest(Type.DATA, payload) == node_digest(payload)
    message = blake3(payload, derive_key_context="objxfer/1 message").digest()
    for kind in set(Type) - {Type.DATA}:
        assert payload_digest(kind, payload) == message


@pytest.mark.parametrize("kind", [Type.DATA, Type.ENTRIES])
def test_a_payload_is_what_its_digest_says(kind: Type) -> None:
    header = Header(kind, 1, 5, payload_digest(kind, b"hello"))
    check_payload(header, memoryview(b"hello"))
    with pytest.raises(IntegrityError):
        check_payload(header, b"hellO")
