"""One source to several receivers at once: read once, each delivery in a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import BinaryIO, Final, Protocol

from objxfer.blocking.connection import Connection
from objxfer.blocking.retrying import persist
from objxfer.errors import ObjxferError
from objxfer.files.sharing import SharedTree, TreeShare
from objxfer.files.tee import SharedStream, StreamShare
from objxfer.files.tree import OwnTree
from objxfer.security.keyfiles import StrPath
from objxfer.transfer.report import Report

_LAST: Final = 0.5
"""Seconds that an interrupt waits for connections that were cut."""

Share = TreeShare | StreamShare
"""What a receiver pushes: its part in what all of them get."""


class Receiver(Protocol):
    """One of those a source is delivered to; a thread of its own calls all of this."""

    @property
    def report(self) -> Report:
        """Of all attempts together; ``resumable``."""

    def connect(self) -> Connection:
        """Connect, at first and again after a connection was lost; raise as ``connect`` does."""

    def push(self, connection: Connection, share: Share) -> Report:
        """Deliver with ``connection.push(share, report=report, …)``."""

    def lost(self, error: ObjxferError, pause: float) -> None:
        """Hear that the connection is lost, and in how many seconds there is another."""

    def delivered(self, report: Report) -> None:
        """Hear, last, that all is said of the delivery."""

    def failed(self, error: Exception) -> None:
        """Hear, last, why there is no more to come."""


def push_to_all(
    what: Sequence[StrPath] | BinaryIO,
    receivers: Sequence[Receiver],
    *,
    copy_links: bool = False,
    checksum: bool = False,
    retries: int | None,
) -> None:
    """Deliver the same to all receivers at once, and return when each has heard of its end.

    Each has a connection, and all that belongs to one, of its own: what becomes of one is nothing
    to the others. Files are read once for those that are within 32 MiB of each other, and again
    for who is further behind; a tree is walked once. Nobody waits for another, but where a stream
    is delivered: what was read of it is kept for the slowest, up to 32 MiB, and then the others
    wait until that one goes on or is given up.

    Args:
        what: paths, each of which lands under its last name; or a stream with a descriptor.
        receivers: to whom.
        copy_links: send what links point to.
        checksum: have files there compared by their contents.
        retries: as for ``persist``, for each; a stream cannot be tried again.

    Raises:
        OSError: the stream has no descriptor.
        Exception: what a receiver's ``delivered`` or ``failed`` raised.
        BaseException: an interrupt of the thread that called. All connections are closed then, the
            peers see lost ones, and nobody hears of the end.
    """
    shares: list[Share]
    if isinstance(what, Sequence):
        paths = [os.fspath(path) for path in what]
        tree = OwnTree(paths, time.time_ns, copy_links=copy_links, checksum=checksum)
        shares = [*SharedTree(tree, len(receivers)).shares]
    else:
        shares = [*SharedStream(what, time.time_ns(), len(receivers)).shares]
        retries = 0
    ended: SimpleQueue[Exception | None] = SimpleQueue()
    threads = [
        _Thread(receiver, share, retries, ended.put)
        for receiver, share in zip(receivers, shares, strict=True)
    ]
    try:
        for thread in threads:
            thread.start()
        errors = [error for _ in threads if (error := ended.get()) is not None]
    except BaseException:
        deadline = time.monotonic() + _LAST
        for thread in threads:
            thread.stopped = True
        cut = [thread for thread in threads if thread.cut()]
        for thread in cut:  # what they show of it is taken away
            thread.join(max(0.0, deadline - time.monotonic()))
        raise
    if errors:
        raise errors[0]


class _Stopped(ObjxferError):
    """The whole was interrupted."""


class _Thread(threading.Thread):
    """Delivers to one receiver."""

    def __init__(
        self,
        receiver: Receiver,
        share: Share,
        retries: int | None,
        ended: Callable[[Exception | None], None],
    ) -> None:
        super().__init__(name="objxfer-push", daemon=True)
        self.stopped = False
        self._receiver = receiver
        self._share = share
        self._retries = retries
        self._ended = ended
        self._connection: Connection | None = None
        self._lock = threading.Lock()

    def run(self) -> None:
        """Deliver, and tell what came of it."""
        error: Exception | None = None
        try:
            self._deliver()
        except Exception as raised:  # noqa: BLE001 - raised where it is waited for
            error = raised
        finally:
            self._share.leave()
            self._ended(error)

    def cut(self) -> bool:
        """Close the connection, once it was ``stopped``; whether there was one."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
        return connection is not None

    def _deliver(self) -> None:
        receiver = self._receiver
        try:
            report = persist(
                self._connect(),
                self._connect,
                self._push,
                report=receiver.report,
                retries=self._retries,
                on_lost=receiver.lost,
            )
        except _Stopped:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this receiver's alone
            if not self.stopped:
                # Before it is told: that may take a while, and others wait for a stream.
                self._share.leave()
                receiver.failed(error)
            return
        if not self.stopped:
            self._share.leave()
            receiver.delivered(report)

    def _connect(self) -> Connection:
        self._check()
        connection = self._receiver.connect()
        with self._lock:
            self._connection = connection
        if self.stopped:
            self.cut()
        return connection

    def _push(self, connection: Connection) -> Report:
        try:
            self._check()
            return self._receiver.push(connection, self._share)
        except ObjxferError:
            self._check()
            raise

    def _check(self) -> None:
        if self.stopped:
            raise _Stopped
