"""The header-prefixed unit that carries a message on the wire (``docs/protocol.md``, "Chunks").

A header has a fixed layout and is followed by its tag, then by the payload. The tag covers the
header, the header the digest of the payload: so sizes are trusted before anything is allocated,
and the payload before anything is made of it.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

import blake3

from objxfer.errors import IntegrityError, PeerError
from objxfer.files.digest import NODE, node_digest
from objxfer.limits import KIB, MIB
from objxfer.security.sealing import TAG_SIZE

CONTROL_LIMIT: Final = 64 * KIB
"""Payload of every message that needs no credit, but for an offer."""
ENTRIES_LIMIT: Final = 256 * KIB
OFFER_LIMIT: Final = 1 * MIB
UNKNOWN: Final = 2**64 - 1


class Type(IntEnum):
    """The type of a chunk: which message its payload is."""

    END = 1
    PING = 2
    PONG = 3
    FAILURE = 4
    OBJECT = 16
    OBJECTS = 17
    OFFER = 18
    DATA = 24
    ENTRIES = 25
    PACK = 26
    FILE = 27
    FILE_END = 28
    FLUSH = 29
    DONE = 30
    ABORT = 31
    NODES = 32
    PATCH = 33
    ACCEPT = 40
    CREDIT = 41
    WANTED = 42
    RECEIPTS = 43
    TAKEN = 44
    COMPARED = 45


OPENING: Final = frozenset({Type.OBJECT, Type.OBJECTS, Type.OFFER})
"""Messages that open an item."""
CONNECTION: Final = frozenset({Type.END, Type.PING, Type.PONG, Type.FAILURE})
"""Messages of the connection itself, on item 0."""
CREDITED: Final = frozenset(
    {
        Type.DATA,
        Type.ENTRIES,
        Type.PACK,
        Type.FILE,
        Type.FILE_END,
        Type.NODES,
        Type.PATCH,
    }
)
"""Messages that need credit: their chunk, header included, counts."""

PAYLOAD_LIMIT: Final = dict.fromkeys(Type, CONTROL_LIMIT) | {
    Type.DATA: NODE,
    Type.ENTRIES: ENTRIES_LIMIT,
    Type.OFFER: OFFER_LIMIT,
}
"""The largest payload of each type, whatever ``Limits`` say."""

VERSION: Final = 1
HEADER: Final = struct.Struct(">BBHIII32s")
HEADER_SIZE: Final = HEADER.size
OVERHEAD: Final = HEADER_SIZE + TAG_SIZE
"""Bytes of a chunk that are not its payload."""

_MESSAGE = blake3.blake3(derive_key_context="objxfer/1 message")
_KINDS = {
    int(kind): (kind, int(kind is Type.DATA), PAYLOAD_LIMIT[kind], kind in CONNECTION)
    for kind in Type
}
_DATA: Final = Type.DATA
"""Looked up once: Python 3.11 finds the members of an enum slowly."""


class Header(NamedTuple):
    """The header of one chunk, its tag verified and its bytes checked."""

    type: Type
    item: int
    size: int
    digest: bytes


def payload_digest(kind: Type, payload: bytes | bytearray | memoryview) -> bytes:
    """Return what a header says of its payload: data is digested as a node of a file."""
    if kind is _DATA:
        return node_digest(payload)
    hasher = _MESSAGE.copy()
    hasher.update(payload)
    digest: bytes = hasher.digest()
    return digest


def pack_header(kind: Type, item: int, size: int, digest: bytes) -> bytes:
    """Return the bytes of a header, its tag not included."""
    return HEADER.pack(VERSION, kind, 0, item, size, size, digest)


def unpack_header(data: bytes | memoryview, limit: int) -> Header:
    """Read a header whose tag was verified.

    Args:
        data: its bytes, tag not included.
        limit: ``Limits.chunk`` of this side.

    Raises:
        PeerError: a byte of it is not as it must be, or the payload is too large.
    """
    version, number, flags, item, size, raw_size, digest = HEADER.unpack(data)
    known = _KINDS.get(number)
    if known is None or version != VERSION or flags:
        raise PeerError(f"a chunk of version {version}, type {number}, flags {flags:#x}")
    kind, least, most, of_connection = known
    if size != raw_size:
        raise PeerError(f"a chunk of {size} bytes says it is {raw_size} bytes raw")
    if size > most or size > limit:
        raise PeerError(f"a chunk of type {kind.name} with {size} bytes is over the limit")
    if size < least:
        raise PeerError(f"a chunk of type {kind.name} without any")
    if (item == 0) != of_connection:
        raise PeerError(f"a chunk of type {kind.name} on item {item}")
    return Header(kind, item, size, digest)


def check_payload(header: Header, payload: bytes | bytearray | memoryview) -> None:
    """Check a payload against the digest in its header.

    Raises:
        IntegrityError: they do not match; nothing may be made of the payload.
    """
    # No secret is compared here: an attacker cannot choose the digest, the tag covers it.
    if payload_digest(header.type, payload) != header.digest:
        raise IntegrityError("a chunk's payload does not match its digest")
