"""From a fresh socket to an authenticated transport, step by step and without waiting.

The one way through the handshake for both sides: a client drives one greeter until it is done,
a listener drives hundreds from one thread.
"""

from __future__ import annotations

import socket
from typing import Final

from objxfer.blocking.terms import Terms
from objxfer.errors import ConnectionLost, ObjxferError, ProtocolMismatch, WrongCode, WrongKey
from objxfer.protocol.handshake import ENCRYPTED, PLAIN, Established
from objxfer.protocol.hello import HELLO_LIMIT, Hello, Role
from objxfer.security.sealing import TAG_SIZE
from objxfer.transports.base import Transport
from objxfer.transports.sockets import SocketTransport
from objxfer.transports.tls import TlsTransport

_AT_ONCE: Final = HELLO_LIMIT + TAG_SIZE
_FIRST: Final = 64
"""Bytes that are kept of what the peer says first."""


class Greeter:
    """One side of one connection on its way to being authenticated.

    It owns the socket until ``established`` is set and the transport is taken over.

    Args:
        sock: connected.
        terms: this side's.
        role: this side's.
        encrypted: whether there is TLS below the handshake.
        name: the other side as it was named, for messages.
    """

    def __init__(
        self, sock: socket.socket, terms: Terms, role: Role, *, encrypted: bool, name: str = ""
    ) -> None:
        self.terms = terms
        self.role = role
        plain = SocketTransport(sock)
        self._tls = (
            TlsTransport(plain, server=role is Role.SERVER, name=name) if encrypted else None
        )
        self.transport: Transport = self._tls or plain
        self.name = name or self.transport.peer
        self.established: Established | None = None
        self._handshake = None if encrypted else terms.handshake(role, PLAIN)
        self._outgoing = b"" if self._handshake is None else self._handshake.greeting()
        self._buffer = memoryview(bytearray(_AT_ONCE))
        self._said = b""

    @property
    def secured(self) -> bool:
        """Whether TLS is agreed on, or is not asked for."""
        return self._handshake is not None

    @property
    def said(self) -> bytes:
        """The first bytes of the peer, inside TLS if there is such, to tell what it speaks."""
        return self._tls.first if self._tls is not None and not self.secured else self._said

    @property
    def theirs(self) -> Hello | None:
        """What the peer says of itself; it is not proven before ``established`` is set."""
        return None if self._handshake is None else self._handshake.theirs

    @property
    def heard(self) -> bool:
        """Whether the peer has said a valid hello."""
        return self._handshake is not None and self._handshake.heard

    @property
    def guessed(self) -> bool:
        """Whether the peer has made its one guess at the secret, right or wrong."""
        return self._handshake is not None and self._handshake.guessed

    @property
    def proved(self) -> bool:
        """Whether this side has given its proof, by which the peer could try one guess."""
        return self._handshake is not None and self._handshake.proved

    @property
    def wants_write(self) -> bool:
        """Whether there is something to write that was not taken yet."""
        return bool(self._outgoing)

    def step(self) -> bool:
        """Go on as far as that goes without waiting; whether the peer is authenticated.

        Raises:
            ProtocolMismatch: the peer speaks something else.
            AuthenticationError: it does not hold our key.
            ConnectionLost: the stream broke.
        """
        try:
            return self._step()
        except OSError as error:
            # A reset says no more than an end does: what it means depends on how far we were.
            if self._handshake is not None:
                raise self._named(self._handshake.lost()) from error
            raise ConnectionLost(f"{self.name} broke the connection off") from error

    def close(self) -> None:
        """Close the socket; for a greeter that failed or is given up."""
        self.transport.close()

    def _step(self) -> bool:
        if self._tls is not None and self._handshake is None:
            if not self._tls.handshake():
                return False
            channel = ENCRYPTED + self._tls.certificate_hash()
            self._handshake = self.terms.handshake(self.role, channel)
            self._outgoing = self._handshake.greeting()
        handshake = self._handshake
        assert handshake is not None
        while True:
            if not self._write():
                return False
            if handshake.established is not None:
                self.established = handshake.established
                return True
            size = self.transport.recv_into(self._buffer)
            if size is None:
                return False
            if size == 0:
                raise self._named(handshake.lost())
            if len(self._said) < _FIRST:
                self._said += self._buffer[: min(size, _FIRST - len(self._said))]
            try:
                self._outgoing = handshake.receive(bytes(self._buffer[:size]))
            except ObjxferError as error:
                self._outgoing = handshake.last_words
                self._write()
                raise self._named(error) from None

    def _write(self) -> bool:
        while self._outgoing:
            taken = self.transport.send([self._outgoing])
            if taken is None:
                return False
            self._outgoing = self._outgoing[taken:]
        return self.transport.flush()

    def _named(self, error: ObjxferError) -> ObjxferError:
        """Say of whom an error speaks, as a user would want to read it."""
        key_id = self.terms.trust.key_id
        if isinstance(error, WrongKey) and key_id:
            return WrongKey(
                f"{self.name} does not hold our key ({key_id})",
                hint="compare the key ids both sides show",
            )
        hint = error.hint
        if isinstance(error, WrongCode):
            hint = "ask for a new code: each can be tried once"
        if isinstance(error, ProtocolMismatch) and self._tls is None and not self.heard:
            hint = hint or "it may be listening on tls://"
        return type(error)(f"{self.name}: {error}", hint=hint, exit_code=error.exit_code)
