"""The inbox that stays: many senders at once, each delivery in a thread of its own."""

from __future__ import annotations

import itertools
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Final, Self

from objxfer.blocking.connection import Connection
from objxfer.blocking.listener import Listener, listen
from objxfer.blocking.rules import Rules
from objxfer.blocking.trust import Lasting, Trusted
from objxfer.errors import (
    ConnectionClosed,
    ConnectionLost,
    IntegrityError,
    ObjxferError,
    PeerError,
    Timeout,
)
from objxfer.files.entries import KEEP, IfExists
from objxfer.files.root import Root
from objxfer.limits import Limits
from objxfer.security.keyfiles import StrPath
from objxfer.security.pairing import Invitation
from objxfer.transfer.progress import Progress
from objxfer.transfer.report import EntryReport, Report

_DEADLY: Final = (ConnectionClosed, Timeout, IntegrityError, PeerError)
"""What ``recv`` without a timeout raises once the connection is dead."""

log = logging.getLogger("objxfer")


class Watcher:
    """Hears what a server does; override what is of interest.

    Its methods are called by the server's threads, several at once. A delivery's number is its
    own for as long as the server runs: ``connected`` comes first, and one of ``delivered``,
    ``failed`` and ``ended`` last. What they raise ends the connection.
    """

    def refused(self, peer: str, error: ObjxferError) -> None:
        """Somebody was not let in."""

    def connected(self, delivery: int, connection: Connection) -> None:
        """A peer is let in and may begin its next delivery."""

    def progress(self, delivery: int) -> Progress | None:
        """Return what shows this delivery on its way, if it comes."""

    def entry(self, delivery: int, entry: EntryReport) -> None:
        """Something has become of one entry."""

    def delivered(self, delivery: int, connection: Connection, report: Report) -> None:
        """A delivery is through."""

    def failed(self, delivery: int, connection: Connection, error: ObjxferError) -> None:
        """A delivery, or the wait for one, has failed; what was receipted is there."""

    def ended(self, delivery: int, connection: Connection) -> None:
        """The peer, or a server that closes, has ended the connection: this does not come."""


class Server:
    """Takes deliveries until it is closed. Leaving its ``with`` block closes it.

    Attributes:
        url: where others can send to.
        hosts: what is listened on, as for ``Listener``.
        key_id: the id of its first key, or None.
    """

    def __init__(self, listener: Listener, watcher: Watcher) -> None:
        """Take over a listener; ``serve`` does this."""
        self.url = listener.url
        self.hosts = listener.hosts
        self.key_id = listener.key_id
        self._listener = listener
        self._watcher = watcher
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._open: dict[Connection, threading.Thread] = {}
        self._idle: set[Connection] = set()  # of the open ones: between two deliveries
        self._closing = False
        self._thread = threading.Thread(target=self._accept, name="objxfer-server", daemon=True)
        self._thread.start()

    def close(self, *, drain: float = 0.0) -> None:
        """Stop listening, and end all connections.

        Those that deliver nothing at the moment are cut at once. A delivery that is on its way
        may come to its end, with all its receipts, and no other follows. What is not through in
        time is cut, and its sender sees a lost connection. Nothing half-written is left under a
        final name.

        Calling it once more while it drains, from another thread or after an exception has
        struck here, cuts the rest at once; later it does nothing.

        Args:
            drain: seconds that deliveries on their way get to be through.
        """
        deadline = time.monotonic() + drain
        self._listener.close()
        self._thread.join()
        with self._lock:
            self._closing = True
            threads, idle = dict(self._open), list(self._idle)
        for connection in idle:
            connection.abandon()
        for thread in threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        for connection in threads:
            connection.abandon()
        for thread in threads.values():
            thread.join()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the server is closed, by another thread; or so many seconds."""
        self._thread.join(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except ConnectionClosed:
                return
            thread = threading.Thread(
                target=self._take, args=(connection,), name="objxfer-delivery", daemon=True
            )
            try:
                with self._lock:  # the thread takes it off again, and may be quick
                    thread.start()
                    self._open[connection] = thread
                    self._idle.add(connection)
            except RuntimeError as error:  # the system has no more threads for us
                log.error("the connection of %s is cut: %s", connection.peer, error)
                connection.abandon()

    def _take(self, connection: Connection) -> None:
        """Take one delivery after the other until the connection is ended."""
        watcher = self._watcher
        delivery = next(self._numbers)
        try:
            with connection:
                while True:
                    watcher.connected(delivery, connection)
                    try:
                        connection.poll(None)
                        self._begin(connection)
                        report = connection.recv(
                            progress=watcher.progress(delivery),
                            on_entry=partial(watcher.entry, delivery),
                        )
                    except _DEADLY:
                        raise
                    except ObjxferError as error:  # of this delivery alone
                        watcher.failed(delivery, connection, error)
                    else:
                        watcher.delivered(delivery, connection, report)
                    if self._ends(connection):
                        return
                    delivery = next(self._numbers)
        except ConnectionLost as error:
            watcher.failed(delivery, connection, error)
        except ConnectionClosed:
            watcher.ended(delivery, connection)
        except _DEADLY as error:
            watcher.failed(delivery, connection, error)
        finally:
            with self._lock:
                del self._open[connection]
                self._idle.discard(connection)

    def _begin(self, connection: Connection) -> None:
        """Let a delivery begin, unless the connection was cut for it delivered nothing."""
        with self._lock:
            if self._closing:
                raise ConnectionClosed("the server is closed")
            self._idle.remove(connection)

    def _ends(self, connection: Connection) -> bool:
        """Tell whether the delivery that is through was the last, and then end the connection."""
        with self._lock:
            if not self._closing:
                self._idle.add(connection)
                return False
        with suppress(ObjxferError):  # all is said of the delivery: this changes nothing any more
            connection.close()
        return True


def serve(
    folder: StrPath | Rules,
    url: str = "tls://",
    *,
    key: Lasting | Sequence[Lasting] | None = None,
    if_exists: IfExists | str = IfExists.RENAME,
    keep_partial: float = KEEP,
    limits: Limits | None = None,
    insecure: bool = False,
    watcher: Watcher | None = None,
    sockets: Sequence[socket.socket] = (),
) -> Server:
    """Let others send files into a folder; nobody can read, delete or send objects.

    Args:
        folder: where deliveries land; must exist. Or ``Rules``, which say who may deliver, and
            where; then there is no ``key``.
        url: where to listen, as for ``listen``.
        key: what senders must hold: any of these keys, or their half of any of these pairs, or of
            one with any of ``objxfer.peers()``.
        if_exists: what happens where a different file lies under a name.
        keep_partial: days that a file which was cut off is kept, to go on with; 0 keeps none.
        limits: what is accepted at the most.
        insecure: let in whoever comes.
        watcher: hears what happens.
        sockets: listen on these, as for ``listen``.

    Raises:
        FileFailed: the folder is absent.
        TypeError: the key is an ``Invitation``, which lets in one guest and no more.
        ValueError: there are rules, and a key or ``insecure``.
        CannotConnect: the address is taken or not this machine's.
        ObjxferError: the URL is none, or there is no key.
    """
    if isinstance(key, Invitation):
        raise TypeError("an Invitation lets one guest in: listen() takes it, and serve() stays")
    watcher = watcher or Watcher()
    into: str | Rules
    if isinstance(folder, Rules):
        if key is not None or insecure:
            raise ValueError("rules say who comes in: a key goes into a Grant")
        trusted: Trusted | None = folder
        into = folder
    else:
        Root(folder).close()  # a mount that is missing is found out now
        trusted, into = key, os.path.abspath(folder)
    listener = listen(
        url,
        key=trusted,
        accepts=(),
        into=into,
        if_exists=if_exists,
        keep_partial=keep_partial,
        limits=limits,
        insecure=insecure,
        on_refused=watcher.refused,
        sockets=sockets,
    )
    return Server(listener, watcher)
