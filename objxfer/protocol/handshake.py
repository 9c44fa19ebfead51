"""The handshake, without I/O: two hellos, two proofs, then keys for both directions.

The server proves first, so a client with a key says nothing to a server that does not hold it.
Both proofs cover the mode, the channel and both hellos as they went over the wire: nothing of
them can be changed, replayed, reflected or moved to another connection (``docs/protocol.md``,
"Handshake").
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final, NamedTuple

from objxfer.errors import AuthenticationError, ObjxferError, ProtocolMismatch, WrongKey
from objxfer.protocol.chunks import VERSION
from objxfer.protocol.fields import bytes16
from objxfer.security.sealing import TAG_SIZE, Opener, Schedule, Sealer, prove, proves

MAGIC: Final = b"objxfer"
HELLO_LIMIT: Final = 4096
NONCE_SIZE: Final = 32
PEER_ID_SIZE: Final = 16
KEY_ID_SIZE: Final = 4
ANYBODY: Final = bytes(PEER_ID_SIZE)
_NO_SECRET: Final = bytes(32)
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


class FieldNumber(IntEnum):
    """The numbered fields of a hello."""

    KEY_ID = 1
    SERIALIZERS = 2
    PYTHON = 3
    TREES = 4
    LIMITS = 5


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
    """16 random bytes, one a process."""
    intended: bytes = ANYBODY
    """The peer id that is meant to be reached, or ``ANYBODY``."""
    key_id: bytes = b""
    """Four bytes that name the key; empty in mode none."""
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

    def pack(self) -> bytes:
        """Return the bytes of the hello."""
        fields = {
            FieldNumber.KEY_ID: self.key_id,
            FieldNumber.SERIALIZERS: ",".join(self.serializers).encode("ascii"),
            FieldNumber.PYTHON: self.python.encode("ascii"),
            FieldNumber.TREES: b"\1" if self.trees else b"",
            FieldNumber.LIMITS: _LIMITS.pack(*self.limits) if self.limits else b"",
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
            key_id = fields.get(FieldNumber.KEY_ID, b"")
            if len(key_id) != (KEY_ID_SIZE if Mode(mode) is Mode.KEY else 0):
                raise ProtocolMismatch("the hello is malformed")
            trees = fields.get(FieldNumber.TREES, b"")
            if trees not in (b"", b"\1"):
                raise ProtocolMismatch("the hello is malformed")
            packed = fields.get(FieldNumber.LIMITS)
            limits = Largest(*_LIMITS.unpack(packed)) if packed else None
            if limits is not None and not all(limits):
                raise ProtocolMismatch("the hello is malformed")
            serializers = fields.get(FieldNumber.SERIALIZERS, b"").decode("ascii").split(",")
            return cls(
                Role(role),
                Mode(mode),
                nonce,
                peer_id,
                intended,
                key_id=key_id,
                serializers=tuple(filter(None, serializers)),
                python=fields.get(FieldNumber.PYTHON, b"").decode("ascii"),
                trees=bool(trees),
                limits=limits,
                versions=(low, high),
            )
        except (struct.error, ValueError):
            raise ProtocolMismatch("the hello is malformed") from None

    def __str__(self) -> str:
        low, high = self.versions
        return (
            f"{self.role.name.lower()} of versions {low} to {high}, mode {self.mode.name.lower()},"
            f" Python {self.python!a}"
        )


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


@dataclass(frozen=True, slots=True, repr=False)
class Established:
    """What a finished handshake hands to the session."""

    role: Role
    mode: Mode
    own: Hello
    theirs: Hello
    sealer: Sealer
    opener: Opener
    early: bytes
    """What came behind the peer's proof: the first bytes of the session."""


FindSecret = Callable[[bytes], bytes | None]
"""From a key id to the secret of a server, or None."""


@dataclass(slots=True, repr=False)
class Handshake:
    """One side of a handshake.

    Feed it with ``receive`` and write what that returns, after writing ``greeting``, until
    ``established`` is set. Any error is final.
    """

    own: Hello
    channel: bytes
    """``plain``, or ``tls`` and the hash of the server's certificate as this side saw it."""
    secret: bytes | None = None
    """The client's key; None in mode none, and on a server."""
    find_secret: FindSecret | None = None
    """How a server finds its key by the client's id; None in mode none."""
    decoy: bytes = _NO_SECRET
    """32 random bytes a server uses in the place of a key it does not have."""
    established: Established | None = None
    last_words: bytes = b""
    """What a server that failed with ``receive`` should still say, so that both know why."""
    _received: bytearray = field(default_factory=bytearray)
    _theirs: Hello | None = None
    _their_hello: bytes = b""
    _own_hello: bytes = b""
    _transcript: bytes = b""
    _schedule: Schedule | None = None

    def greeting(self) -> bytes:
        """Return what this side says unasked: the client's hello."""
        if self.own.role is Role.SERVER:
            return b""
        self._own_hello = self.own.pack()
        return self._own_hello

    @property
    def heard(self) -> bool:
        """Whether the peer has said a whole and valid hello."""
        return self._theirs is not None

    def receive(self, data: bytes) -> bytes:
        """Take bytes of the peer and return what to answer, perhaps nothing.

        Raises:
            ProtocolMismatch: the peer speaks something else, or another version.
            AuthenticationError: it does not hold the secret, or wants another mode.
        """
        self._received += data
        if self._theirs is None and not self._read_hello():
            return b""
        answer = b""
        if self._schedule is None:
            answer = self._meet()
        assert self._schedule is not None
        if len(self._received) >= TAG_SIZE:
            proof = bytes(self._received[:TAG_SIZE])
            return answer + self._finish(proof, bytes(self._received[TAG_SIZE:]))
        return answer

    def lost(self) -> ObjxferError:
        """Return what the end of the stream means before the handshake is through."""
        if self._theirs is not None:
            return WrongKey("the peer ended the handshake: it does not hold our key")
        return ProtocolMismatch("the peer ended the connection before it said hello")

    def _read_hello(self) -> bool:
        received = self._received
        if not MAGIC.startswith(received[: len(MAGIC)]):
            raise ProtocolMismatch("the peer does not speak objxfer")
        if len(received) < _START.size:
            return False
        _, size = _START.unpack_from(received)
        if not _FIXED.size <= size <= HELLO_LIMIT:
            raise ProtocolMismatch("the hello is malformed")
        if len(received) < size:
            return False
        self._their_hello = bytes(received[:size])
        del received[:size]
        self._theirs = Hello.unpack(self._their_hello)
        return True

    def _meet(self) -> bytes:
        """Both hellos are known: check them, derive the keys, and as a server prove."""
        own, theirs = self.own, self._theirs
        assert theirs is not None
        if theirs.role is own.role:
            raise ProtocolMismatch("the peer plays the same role as we do")
        if own.role is Role.SERVER:
            if theirs.mode is own.mode is Mode.KEY:
                # The server takes up the key that was named, whether it has it or not.
                own = self.own = replace(own, key_id=theirs.key_id)
            self._own_hello = self.last_words = own.pack()
        low = max(own.versions[0], theirs.versions[0])
        if low > min(own.versions[1], theirs.versions[1]):
            raise ProtocolMismatch(f"no common version: we are a {own}, the peer is a {theirs}")
        if theirs.intended not in (ANYBODY, own.peer_id):
            raise AuthenticationError("the peer meant to reach somebody else")
        if theirs.mode is not own.mode:
            if own.mode is Mode.KEY:
                raise AuthenticationError("the peer uses no key, and we do not talk without")
            raise AuthenticationError("the peer uses a key, and we were given none")
        secret = _NO_SECRET
        if own.mode is Mode.KEY:
            if self.find_secret is not None:
                # An unknown key id runs the same path and fails at the proof.
                secret = self.find_secret(theirs.key_id) or self.decoy
            else:
                assert self.secret is not None
                secret = self.secret
        hellos = (self._own_hello, self._their_hello)
        if own.role is Role.SERVER:
            hellos = hellos[::-1]
        parts = (own.mode.name.lower().encode(), self.channel, *hellos)
        self._transcript = hashlib.sha256(b"".join(map(bytes16, parts))).digest()
        self._schedule = Schedule.derive(secret, self._transcript)
        if own.role is Role.CLIENT:
            return b""
        self.last_words = b""  # they are said now
        return self._own_hello + prove(self._schedule.server_proof, self._transcript)

    def _finish(self, proof: bytes, early: bytes) -> bytes:
        schedule, own, theirs = self._schedule, self.own, self._theirs
        assert schedule is not None
        assert theirs is not None
        client = own.role is Role.CLIENT
        expected = schedule.server_proof if client else schedule.client_proof
        if not proves(expected, self._transcript, proof):
            raise WrongKey("the peer does not hold our key")
        out, into = schedule.client_chunk, schedule.server_chunk
        self.established = Established(
            own.role,
            own.mode,
            own,
            theirs,
            Sealer(out if client else into),
            Opener(into if client else out, authenticated=own.mode is Mode.KEY),
            early,
        )
        return prove(schedule.client_proof, self._transcript) if client else b""
