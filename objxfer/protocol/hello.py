"""The hello: what each side says of itself before anything is proven."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from objxfer.errors import ProtocolMismatch
from objxfer.protocol.chunks import VERSION
from objxfer.protocol.fields import bytes16
from objxfer.security.pairing import ELEMENT_SIZE, PEER_ID_SIZE

MAGIC: Final = b"objxfer"
HELLO_LIMIT: Final = 4096
NONCE_SIZE: Final = 32
KEY_ID_SIZE: Final = 4
ANYBODY: Final = bytes(PEER_ID_SIZE)
_FIXED: Final = struct.Struct(f">7sHBBBB{NONCE_SIZE}s{PEER_ID_SIZE}s{PEER_ID_SIZE}s")
_START: Final = struct.Struct(">7sH")
_LIMITS: Final = struct.Struct(">IQI")
_CRITICAL: Final = 0x8000


class Role(IntEnum):
    """Which side of the connection."""

    CLIENT = 1
    SERVER = 2


class Mode(IntEnum):
    """What the two sides trust each other by."""

    NONE = 0
    KEY = 1
    CODE = 2
    PAIR = 3


class FieldNumber(IntEnum):
    """The numbered fields of a hello."""

    KEY_ID = 1
    SERIALIZERS = 2
    PYTHON = 3
    TREES = 4
    LIMITS = 5
    ELEMENT = 6


class Largest(NamedTuple):
    """The largest object that a side takes; told so that others can refuse to send more."""

    head: int
    object: int
    """Head and buffers together."""
    buffers: int


@dataclass(frozen=True, slots=True)
class Hello:
    """What one side says of itself before anything is proven; so none of it is trusted yet."""

    role: Role
    mode: Mode
    nonce: bytes
    """32 random bytes, new for each connection."""
    peer_id: bytes
    """16 random bytes: of the process, or of all that belongs to one pair."""
    intended: bytes = ANYBODY
    """The peer id that is meant to be reached, or ``ANYBODY``."""
    key_id: bytes = b""
    """Four bytes that name the key, or the room of a code; empty in mode none."""
    serializers: tuple[str, ...] = ()
    """The serialisers this side accepts."""
    python: str = ""
    """Its Python, as in ``3.11``."""
    trees: bool = False
    """Whether it takes files and folders."""
    limits: Largest | None = None
    """What it takes at the most; None where it does not say."""
    versions: tuple[int, int] = (VERSION, VERSION)
    """The lowest and highest version of the protocol it speaks."""
    element: bytes = b""
    """With a code, this side's of SPAKE2; a server leaves it out where it goes no further."""

    def pack(self) -> bytes:
        """Return the bytes of the hello."""
        fields = {
            FieldNumber.KEY_ID: self.key_id,
            FieldNumber.SERIALIZERS: ",".join(self.serializers).encode("ascii"),
            FieldNumber.PYTHON: self.python.encode("ascii"),
            FieldNumber.TREES: b"\1" if self.trees else b"",
            FieldNumber.LIMITS: _LIMITS.pack(*self.limits) if self.limits else b"",
            FieldNumber.ELEMENT: self.element,
        }
        body = b"".join(
            struct.pack(">H", number) + bytes16(value) for number, value in fields.items() if value
        )
        size = _FIXED.size + len(body)
        assert size <= HELLO_LIMIT, "a hello over its limit"
        identity = (self.nonce, self.peer_id, self.intended)
        return _FIXED.pack(MAGIC, size, *self.versions, self.role, self.mode, *identity) + body

    @classmethod
    def unpack(cls, data: bytes) -> Hello:
        """Read a whole hello.

        Raises:
            ProtocolMismatch: it is none, or has a critical field that is not known here.
        """
        try:
            magic, size, low, high, role, mode, nonce, peer_id, intended = _FIXED.unpack_from(data)
            if magic != MAGIC or size != len(data) or not 0 < low <= high:
                raise ProtocolMismatch("the hello is malformed")
            fields = _fields(data[_FIXED.size :])
            trees = fields.get(FieldNumber.TREES, b"")
            if trees not in (b"", b"\1"):
                raise ProtocolMismatch("the hello is malformed")
            packed = fields.get(FieldNumber.LIMITS)
            limits = Largest(*_LIMITS.unpack(packed)) if packed else None
            if limits is not None and not all(limits):
                raise ProtocolMismatch("the hello is malformed")
            serializers = fields.get(FieldNumber.SERIALIZERS, b"").decode("ascii").split(",")
            hello = cls(
                Role(role),
                Mode(mode),
                nonce,
                peer_id,
                intended,
                key_id=fields.get(FieldNumber.KEY_ID, b""),
                serializers=tuple(filter(None, serializers)),
                python=fields.get(FieldNumber.PYTHON, b"").decode("ascii"),
                trees=bool(trees),
                limits=limits,
                versions=(low, high),
                element=fields.get(FieldNumber.ELEMENT, b""),
            )
        except (struct.error, ValueError):
            raise ProtocolMismatch("the hello is malformed") from None
        if not hello._suits_its_mode:
            raise ProtocolMismatch("the hello is malformed")
        return hello

    @property
    def _suits_its_mode(self) -> bool:
        client, elements = self.role is Role.CLIENT, {0}
        if self.mode is Mode.CODE:
            elements = {ELEMENT_SIZE} if client else {0, ELEMENT_SIZE}
        return (
            len(self.key_id) == (0 if self.mode is Mode.NONE else KEY_ID_SIZE)
            and len(self.element) in elements
            and not (client and self.mode is Mode.PAIR and self.intended == ANYBODY)
        )

    def __str__(self) -> str:
        low, high = self.versions
        return (
            f"{self.role.name.lower()} of versions {low} to {high}, mode {self.mode.name.lower()},"
            f" Python {self.python!a}"
        )


def size_of(received: bytes | bytearray) -> int | None:
    """Return how large the hello is that begins here, or None where too little has come to know.

    Raises:
        ProtocolMismatch: no hello begins like this.
    """
    if not MAGIC.startswith(received[: len(MAGIC)]):
        raise ProtocolMismatch("the peer does not speak objxfer")
    if len(received) < _START.size:
        return None
    size: int = _START.unpack_from(received)[1]
    if not _FIXED.size <= size <= HELLO_LIMIT:
        raise ProtocolMismatch("the hello is malformed")
    return size


def _fields(data: bytes) -> dict[int, bytes]:
    """Read numbered fields: ascending, none twice; unknown ones are skipped unless critical."""
    fields: dict[int, bytes] = {}
    at, last = 0, -1
    while at < len(data):
        number, size = struct.unpack_from(">HH", data, at)
        at += 4
        if at + size > len(data) or number & ~_CRITICAL <= last:
            raise ProtocolMismatch("the hello is malformed")
        last = number & ~_CRITICAL
        if number & _CRITICAL and last not in set(FieldNumber):
            raise ProtocolMismatch(f"the hello needs feature {last}, which is not known here")
        fields[last] = data[at : at + size]
        at += size
    return fields
