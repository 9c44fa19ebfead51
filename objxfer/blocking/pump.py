"""The blocking driver: passes bytes between one exchange and one transport.

Any thread may call any method. Whoever waits runs the pump: one thread at a time waits on the
transport, without the lock; the others wait for it. The pump reads whenever it waits to write,
so two sides that send to each other never wait for each other.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from objxfer.blocking.link import Link
from objxfer.blocking.worker import Worker
from objxfer.errors import ConnectionClosed, ConnectionLost, ObjxferError, Timeout
from objxfer.limits import KIB
from objxfer.protocol.messages import Object, Objects
from objxfer.transfer.exchange import Exchange, Task
from objxfer.transports.base import Transport

T = TypeVar("T")

DRAIN: Final = 5.0
"""Seconds that closing waits for the peer to have taken what was sent."""
_STALL: Final = 0.02
"""Seconds until the next look for memory, while other connections hold all of it."""
_STALLS: Final = 5
"""Looks each of which waits twice as long as the one before: a thousand that wait look seldom."""

log = logging.getLogger("objxfer")

_process = object()
"""Stands for this process: another object in its child."""


def _forked() -> None:
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Pump:
    """Owns an exchange and a transport. Safe for any threads, not across ``fork``."""

    def __init__(self, transport: Transport, exchange: Exchange) -> None:
        self.exchange = exchange
        self.transport = transport
        self.lock = threading.Lock()
        """Held around everything that touches the exchange."""
        self._changed = threading.Condition(self.lock)
        self._leading = False
        self._followers = 0
        self._stalls = 0
        self._link = Link(transport, exchange)
        self._process = _process
        self._worker = Worker(exchange.jobs, self.lock, self._changed, transport.wake)
        self.closed = False

    def wait(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Run the pump until ``ready``; call it with the lock held.

        Args:
            ready: asked after every change, with the lock held.
            timeout: seconds, or None to wait for as long as it takes.

        Returns:
            Whether it is ready; False when the time is up.

        Raises:
            ObjxferError: the connection is dead, and it is not ready.
        """
        self._check_process()
        deadline = None if timeout is None else time.monotonic() + timeout
        exchange, link, looked = self.exchange, self._link, False
        session = exchange.session
        while True:
            # A look at nothing costs as much as the little there is to do for a small object.
            idle = self.closed or not (link.readable or exchange.awaiting)
            try:
                again = None if idle else self._pass()
                if exchange.jobs:  # the last thing that happened may have been a job to do
                    self._worker.start()
            except BaseException:
                self._torn()
                raise
            if ready():
                return True
            if session.failure is not None and (self.closed or not exchange.tasks):
                raise session.failure
            if self.closed:
                raise ConnectionClosed("the connection is closed")
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0 and looked:
                    return False
                looked = True
                again = left if again is None else min(again, left)
            if self._leading:
                self._follow(again)
            else:
                self._lead(again)

    def perform(self, task: Task[T]) -> T:
        """Wait for a task, and until all it sent is written; call it with the lock held.

        Interrupted, it cancels the task.
        """
        try:
            self.wait(lambda: task.done)
            result = task.result()
            self.flush()
        except BaseException as error:
            if not task.done:
                task.throw(error)
                self._give_up(task)
            # What is still to be written is the caller's again, who may change it.
            self.exchange.session.copy_queued()
            raise
        return result

    def flush(self) -> None:
        """Wait until all that is queued now is written; call it with the lock held.

        Raises:
            ObjxferError: the connection is dead.
        """
        exchange = self.exchange
        session = exchange.session
        if session.queued or exchange.held:
            mark = session.bytes_queued
            self.wait(lambda: session.bytes_out >= mark and not exchange.held)

    def write(self) -> None:
        """Write what can be written at once; call it with the lock held."""
        self._check_process()
        try:
            self._link.write()
        except BaseException:
            self._torn()
            raise
        if self._leading and self._link.unwritten:
            self.transport.wake()

    def say(self, message: Object | Objects) -> None:
        """Open an item that is whole with this; call it with the lock held.

        Returns when it is written.

        Raises:
            ObjxferError: the connection is dead, or closed or ended by this side.
        """
        self.check_open()
        try:
            self.exchange.session.open(message)
            self._link.write()
        except BaseException:
            self._torn()
            raise
        self.flush()

    def ping(self, number: int, timeout: float) -> float | None:
        """Ask the peer for a sign of life; call it with the lock held.

        Args:
            number: unlike that of the ping before.
            timeout: seconds to wait for the answer.

        Returns:
            The seconds it took, or None where none came in time; the connection stays usable.

        Raises:
            ObjxferError: the connection is dead, or closed or ended by this side.
        """
        self.check_open()
        session = self.exchange.session
        began = time.monotonic()
        session.ping(number)
        self.write()
        if not self.wait(lambda: session.ponged == number, timeout):
            return None
        return time.monotonic() - began

    def check_open(self) -> None:
        """Check that items can be opened; call it with the lock held.

        Raises:
            ObjxferError: the connection is dead, or closed or ended by this side.
        """
        self._check_process()
        session = self.exchange.session
        if session.failure is not None:
            raise session.failure
        if self.closed or session.ended:
            raise ConnectionClosed("the connection is closed")

    def finish(self) -> None:
        """End the connection: say so, and let the peer take what was sent.

        Call it with the lock held. The transport is closed afterwards, whatever happened; no
        error is raised for a peer that is gone, only for what could not be written.
        """
        if self.closed:
            return
        session = self.exchange.session
        try:
            if session.failure is None:
                session.end()
                if not self._drain(lambda: not self._link.unwritten):
                    raise self.exchange.session.failure or Timeout(
                        "the peer did not take all that was sent"
                    )
                with suppress(OSError, ConnectionLost):  # reading tells what there is to know
                    self.transport.finish()
                self._drain(lambda: self._link.at_end or session.peer_ended or self.exchange.full)
                if self.exchange.full and not session.peer_ended:
                    # Nobody makes room any more: what still comes is dropped, and not in silence.
                    self.exchange.fail(ConnectionLost("closed with more to come than was received"))
                    self._linger()
            else:
                self._linger()
        except ConnectionClosed:
            if session.queued and not session.peer_ended:
                raise
        finally:
            self._release()

    def give_up(self, *, at_once: bool) -> None:
        """End the connection saying that something is missing; call it with the lock held."""
        session = self.exchange.session
        if self.closed or at_once or session.failure is not None or self._in_child:
            self.abandon()
            return
        try:
            session.give_up()
            self.exchange.fail(ConnectionLost("the connection was given up"))
            self._link.write_last()
            self._linger()
        finally:
            self._release()

    def abandon(self) -> None:
        """Close at once, saying nothing; call it with the lock held.

        Whoever waits gets ConnectionLost.
        """
        if not self.closed:
            self.exchange.fail(ConnectionLost("the connection was closed"))
            self._release()

    # --- inside, always with the lock held ---

    @property
    def _in_child(self) -> bool:
        return self._process is not _process

    def _check_process(self) -> None:
        if self._in_child:
            raise RuntimeError("a connection cannot be used across fork")

    def _release(self) -> None:
        if self.closed:
            return
        if self.exchange.tasks and not self._in_child:  # whose parent still works on them
            self.exchange.fail(ConnectionLost("the connection was closed"))
            self._settle()
        self.closed = True
        self.transport.wake()
        self._changed.notify_all()
        self._worker.end()
        if not self._leading:
            self.transport.close()

    def _torn(self) -> None:
        """An interrupt struck while bytes moved: nobody knows how far they are."""
        self.exchange.fail(ConnectionLost("interrupted in the middle of a chunk"))
        self._changed.notify_all()
        self.transport.wake()

    def _drain(self, through: Callable[[], bool]) -> bool:
        """Run the pump until ``through``, for so long as closing may take."""
        try:
            return self.wait(through, DRAIN)
        except (ObjxferError, OSError) as error:
            log.debug("while closing: %s", error)
            return through()

    def _linger(self) -> None:
        """Let the peer take our last words: bytes unread at the close would destroy them."""
        deadline = time.monotonic() + DRAIN
        scrap = memoryview(bytearray(64 * KIB))
        while self._leading:  # only one may wait on the transport
            self.transport.wake()
            self._changed.wait(_STALL)
        try:
            self.transport.finish()
            while not self._link.at_end and (left := deadline - time.monotonic()) > 0:
                size = self.transport.recv_into(scrap)
                self._link.at_end = size == 0
                if size is None:
                    self.transport.wait(read=True, write=False, timeout=left)
        except (OSError, ObjxferError) as error:
            log.debug("while closing: %s", error)

    def _settle(self) -> None:
        """Let every generator that was thrown an error release what it holds."""
        self.exchange.advance(time.monotonic())
        while self.exchange.tasks and not self._worker.is_caller:  # who would wait for itself
            self._worker.start()
            self._changed.wait(_STALL)
            self.exchange.advance(time.monotonic())

    def _give_up(self, task: Task[T]) -> None:
        """Let a cancelled task release what it holds, and its abort be queued."""
        self.exchange.advance(time.monotonic())
        while not task.done:
            self._worker.start()
            self._changed.wait(_STALL)
            self.exchange.advance(time.monotonic())

    def _lead(self, timeout: float | None) -> None:
        exchange, link = self.exchange, self._link
        session = exchange.session
        read = not link.at_end and not exchange.full
        if session.stalled:
            read, timeout = False, _STALL * 2 ** min(self._stalls, _STALLS)
            self._stalls += 1
        else:
            self._stalls = 0
        write = bool(session.queued) and session.failure is None
        self._leading = True
        self.lock.release()
        try:
            self.transport.wait(read=read, write=write, timeout=timeout)
        finally:
            self.lock.acquire()
            self._leading = False
            link.readable = read or session.stalled
            if self._followers:
                self._changed.notify_all()
            if self.closed:
                self.transport.close()

    def _follow(self, timeout: float | None) -> None:
        if self._link.unwritten:
            self.transport.wake()
        self._followers += 1
        try:
            self._changed.wait(timeout)
        finally:
            self._followers -= 1

    def _pass(self) -> float | None:
        """Do all that can be done without waiting; return seconds until the next look."""
        exchange, link = self.exchange, self._link
        session = exchange.session
        while True:
            if exchange.tasks:
                exchange.advance(time.monotonic())
                if exchange.jobs:
                    self._worker.start()
            moved = link.write()
            if link.readable and link.read():
                moved = True
            if not moved or not exchange.tasks:
                break
        if not exchange.awaiting:
            if session.failure is not None:
                link.write_last()
            return None
        again = exchange.tick(time.monotonic())
        if session.failure is not None:
            exchange.advance(time.monotonic())
            link.write_last()
        else:
            link.write()
        return again
