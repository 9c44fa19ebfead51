"""Two sides of one connection and the link between them, in one thread."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from objxfer.limits import Limits
from objxfer.protocol.chunks import HEADER, VERSION, Type, payload_digest
from objxfer.protocol.hello import Mode
from objxfer.protocol.messages import Data, Message
from objxfer.protocol.session import Event, Landing, Session
from objxfer.security.sealing import Sealer
from support.handshakes import agreed

Cut = Callable[[bytes], Iterator[bytes]]
"""Cuts a stream into the pieces in which it arrives; joined, they are the stream."""


# --- cuts ---


def whole(stream: bytes) -> Iterator[bytes]:
    """All at once."""
    yield stream


def byte_by_byte(stream: bytes) -> Iterator[bytes]:
    """One byte at a time."""
    for at in range(len(stream)):
        yield stream[at : at + 1]


def at_random(seed: int, longest: int = 3000) -> Cut:
    """Pieces of sizes that follow from the seed."""

    def cut(stream: bytes) -> Iterator[bytes]:
        source, at = random.Random(seed), 0
        while at < len(stream):
            size = source.randint(1, longest)
            yield stream[at : at + size]
            at += size

    return cut


# --- sessions ---


def own_memory(_item: int, _at: int, size: int) -> memoryview:
    """A landing that always has memory."""
    return memoryview(bytearray(size))


def written(session: Session) -> bytes:
    """Take all that a session has to write."""
    stream = b"".join(session.outgoing)
    session.sent(len(stream))
    return stream


def feed(session: Session, stream: bytes, cut: Cut = whole) -> None:
    """Let a stream arrive at a session, which has memory for all of it."""
    for piece in cut(stream):
        while piece:
            buffer = session.get_buffer()
            assert buffer is not None, "no memory for what arrives"
            size = min(len(buffer), len(piece))
            assert size, "an empty buffer"
            buffer[:size] = piece[:size]
            session.received(size)
            piece = piece[size:]


def heard(session: Session) -> list[Event]:
    """Take all that the peer said."""
    events = list(session.events)
    session.events.clear()
    return events


class Pair:
    """A client's session and a server's, and a link that cuts what it carries."""

    def __init__(
        self,
        mode: Mode = Mode.KEY,
        *,
        cut: Cut = whole,
        limits: Limits | None = None,
        landing: Landing = own_memory,
    ) -> None:
        one, other = agreed(mode)
        self.client_sealer, self.server_sealer = one.sealer, other.sealer
        self.client = Session(one, limits or Limits(), landing)
        self.server = Session(other, limits or Limits(), landing)
        self.cut = cut

    def carry(self) -> None:
        """Carry what waits at either end to the other, until nothing does."""
        while self.client.queued or self.server.queued:
            feed(self.server, written(self.client), self.cut)
            feed(self.client, written(self.server), self.cut)

    def say(self, who: Session, item: int, message: Message) -> None:
        """Have one side say a message of an item, and carry it."""
        assert who.send(item, message)
        self.carry()


def chunk(sealer: Sealer, kind: int, item: int, payload: bytes = b"", **changes: int) -> bytes:
    """A sealed chunk of whatever its maker likes; its digest is right, its size may be changed."""
    of_data = kind == Type.DATA and payload
    digest = payload_digest(Type.DATA if of_data else Type.END, payload)
    size = changes.get("size", len(payload))
    raw_size = changes.get("raw_size", size)
    version, flags = changes.get("version", VERSION), changes.get("flags", 0)
    header = HEADER.pack(version, kind, flags, item, size, raw_size, digest)
    return header + sealer.seal(header) + payload


def packed(message: Message) -> bytes:
    """The payload of a message."""
    return bytes(message.payload) if isinstance(message, Data) else message.pack()
