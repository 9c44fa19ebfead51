"""Passes bytes between one exchange and one transport, never waiting."""

from __future__ import annotations

import logging
import time
from itertools import islice
from typing import Final

from objxfer.errors import ConnectionLost, ObjxferError
from objxfer.transfer.exchange import Exchange
from objxfer.transports.base import Transport

_BUFFERS_A_WRITE: Final = 64
_READS_A_PASS: Final = 32

log = logging.getLogger("objxfer")


class Link:
    """An exchange on a transport. Not for use by two threads at once.

    What breaks is not raised: the exchange is failed with it.
    """

    def __init__(self, transport: Transport, exchange: Exchange) -> None:
        self.transport = transport
        self.exchange = exchange
        self.readable = False
        """The transport may have something to read."""
        self.at_end = False
        """Nothing more comes from the peer."""

    @property
    def unwritten(self) -> bool:
        """Whether something is queued, or held back by a layer of the transport."""
        return bool(self.exchange.session.queued or self.exchange.held)

    def write(self) -> bool:
        """Write while the transport takes anything; whether it took something."""
        exchange, session, moved = self.exchange, self.exchange.session, False
        if not (session.queued or exchange.held) or session.failure is not None:
            return False
        try:
            while session.outgoing:
                taken = self.transport.send(list(islice(session.outgoing, _BUFFERS_A_WRITE)))
                if taken is None:
                    break
                session.sent(taken)
                moved = True
            exchange.held = not self.transport.flush()
        except (OSError, ConnectionLost) as error:
            self._broken(error)
        return moved

    def write_last(self) -> None:
        """Write what a dead session has left to say, as far as that goes at once."""
        session = self.exchange.session
        try:
            while session.outgoing:
                taken = self.transport.send(list(islice(session.outgoing, _BUFFERS_A_WRITE)))
                if taken is None:
                    return
                session.sent(taken)
            self.transport.flush()
        except (OSError, ConnectionLost) as error:
            log.debug("the last words were not taken: %s", error)

    def read(self) -> bool:
        """Read what is there, up to a bound; whether something came."""
        exchange, session = self.exchange, self.exchange.session
        moved = False
        try:
            for _ in range(_READS_A_PASS):
                if exchange.full:
                    break
                buffer = session.get_buffer()
                if buffer is None:
                    break
                size = self.transport.recv_into(buffer)
                if size is None:
                    self.readable = False
                    break
                if size == 0:
                    self._ended()
                    break
                moved = True
                session.received(size)
                exchange.route()
                if size < len(buffer):
                    self.readable = False
                    break
        except ObjxferError as error:
            self._dead(error)
        except OSError as error:
            self._broken(error)
        return moved

    def _ended(self) -> None:
        self.at_end, self.readable = True, False
        session = self.exchange.session
        if not session.peer_ended:
            self._dead(session.lost())
        elif session.owed or any(task.item is None for task in self.exchange.tasks):
            self._dead(ConnectionLost("the peer ended the connection in the middle of an item"))

    def _broken(self, error: Exception) -> None:
        """A read or write failed: first read the reason that may lie there."""
        session = self.exchange.session
        while not self.at_end and session.failure is None:
            buffer = session.get_buffer()
            try:
                size = self.transport.recv_into(buffer) if buffer is not None else 0
                if not size:
                    break
                session.received(size)
                self.exchange.route()
            except (ObjxferError, OSError):
                break
        self.at_end, self.readable = True, False
        lost = ConnectionLost(f"the connection broke: {_reason(error)}")
        lost.__cause__ = error
        self._dead(session.failure or lost)

    def _dead(self, error: ObjxferError) -> None:
        log.info("connection to %s: %s", self.transport.peer, error)
        self.exchange.route()
        self.exchange.advance(time.monotonic())  # what arrived before it counts
        self.exchange.fail(error)
        self.write_last()
        self.exchange.advance(time.monotonic())


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
