"""A peer spoken by hand, byte by byte and chunk by chunk, as no honest one would."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from objxfer.blocking.listener import Listener, listen
from objxfer.errors import ObjxferError
from objxfer.protocol.chunks import (
    HEADER,
    Header,
    Type,
    pack_header,
    payload_digest,
    unpack_header,
)
from objxfer.protocol.handshake import NOTHING, Established, Handshake, Held
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.protocol.messages import Object
from objxfer.security.keys import Key
from objxfer.security.sealing import TAG_SIZE
from objxfer.transports.tls import client_context
from support.connected import KEY, PATIENCE

SERIALIZERS = ("raw", "text", "json", "msgpack")

Refused = SimpleQueue[ObjxferError]


class Wire:
    """A socket to a listener of ours, and what one can say through it."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        host, _, port = rest.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), PATIENCE)
        self.channel = b"plain"
        if scheme == "tls":
            self.sock = encrypted = client_context().wrap_socket(self.sock)
            certificate = encrypted.getpeercert(binary_form=True)
            assert certificate is not None
            self.channel = b"tls" + hashlib.sha256(certificate).digest()
        self.established: Established | None = None

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    # --- the handshake ---

    def handshake(self, key: Key | None = KEY, **said: Any) -> Handshake:
        """This side of a handshake with that key, or in mode none."""
        hello = Hello(
            Role.CLIENT,
            Mode.KEY if key else Mode.NONE,
            os.urandom(32),
            os.urandom(16),
            key_id=bytes.fromhex(key.id) if key else b"",
            serializers=SERIALIZERS,
        )
        for name, value in said.items():
            object.__setattr__(hello, name, value)
        return Handshake(hello, self.channel, Held(key.secret()) if key else NOTHING)

    def shake(self, key: Key | None = KEY, *, behind: bytes = b"", **said: Any) -> Wire:
        """Go through the handshake; ``behind`` is said in one breath with the proof."""
        handshake = self.handshake(key, **said)
        self.send(handshake.greeting())
        while handshake.established is None:
            heard = self.sock.recv(65536)
            if not heard:
                raise handshake.lost()
            answer = handshake.receive(heard)
            self.send(answer + behind if answer else b"")
        self.established = handshake.established
        self._heard = self.established.early
        return self

    # --- bytes ---

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def take(self, size: int) -> bytes:
        """The next bytes, so many of them."""
        data = self._heard[:size]
        self._heard = self._heard[size:]
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def rest(self) -> bytes:
        """All that is said until the other side ends or breaks the stream."""
        data = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while more := self.sock.recv(65536):
                data += more
        return data

    # --- chunks ---

    def chunk(
        self,
        kind: int,
        item: int,
        payload: bytes = b"",
        *,
        size: int | None = None,
        digest: bytes | None = None,
        change: Callable[[bytes], bytes] = bytes,
    ) -> bytes:
        """A chunk under its right tag, its header changed before it is tagged."""
        assert self.established is not None
        size = len(payload) if size is None else size
        if digest is None:
            known = Type(kind) if kind in set(Type) else Type.PING
            digest = payload_digest(known, payload)
        header = change(pack_header(kind, item, size, digest))  # type: ignore[arg-type]  # any number
        return header + self.established.sealer.seal(header) + payload

    def say(self, kind: int, item: int, payload: bytes = b"", **changed: Any) -> None:
        self.send(self.chunk(kind, item, payload, **changed))

    def hear(self) -> tuple[Header, bytes]:
        """The next chunk of the other side."""
        assert self.established is not None
        packed = self.take(HEADER.size)
        self.established.opener.check(packed, self.take(TAG_SIZE))
        header = unpack_header(packed, 4 << 20)
        return header, self.take(header.size)

    def last_words(self) -> list[Type]:
        """What kinds of messages still come until the other side ends the stream."""
        kinds = []
        with contextlib.suppress(EOFError, ConnectionError, ssl.SSLError):
            while True:
                kinds.append(self.hear()[0].type)
        return kinds


def packed_object(
    serializer: str,
    head: bytes = b"",
    sizes: tuple[int, ...] = (),
    *,
    content: bytes | None = None,
    head_size: int | None = None,
    receipt: bool = False,
) -> bytes:
    """The payload that opens an object; all of it is inside if ``content`` says so."""
    size = len(head) if head_size is None else head_size
    return Object(serializer, size, sizes, receipt, content).pack()


@contextmanager
def listening(scheme: str = "tcp", **terms: Any) -> Iterator[tuple[Listener, Refused]]:
    """A listener with a key, and why it refused whom."""
    refused: Refused = SimpleQueue()
    terms = {"key": KEY} | terms
    with listen(
        f"{scheme}://127.0.0.1:0", on_refused=lambda _, error: refused.put(error), **terms
    ) as listener:
        yield listener, refused
