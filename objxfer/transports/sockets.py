"""The byte stream of a stream socket."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import sys
import threading
from collections.abc import Sequence
from itertools import islice
from typing import Final

from objxfer.transports.addresses import unmapped
from objxfer.transports.base import Buffer

# Windows has neither sendmsg nor sysconf: one buffer a call is a prefix, too.
_MOST_BUFFERS: Final = os.sysconf("SC_IOV_MAX") if sys.platform != "win32" else 1

_READ: Final[int] = getattr(select, "POLLIN", 1)
_WRITE: Final[int] = getattr(select, "POLLOUT", 4)

# Longer than any poll takes in its milliseconds; `wait` may return early.
_LONGEST_WAIT: Final = 86400.0

# A peer that vanished without a word is noticed after two minutes, also where nothing is said.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))


class SocketTransport:
    """One end of a connected stream socket; see ``Transport`` for the contract."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over ``sock``, which is closed if this fails.

        Raises:
            OSError: the connection is gone already.
        """
        try:
            sock.settimeout(0)
            self.peer = _set_up(sock)
        except OSError:
            sock.close()
            raise
        self._sock = sock
        self._fileno = sock.fileno()
        self._poll = _new_poll()
        self._watched = 0
        # Guards what `wake`, `close` and a `wait` that they disturb do to the four below.
        self._lock = threading.Lock()
        self._waker: _Waker | None = None
        self._waiting = False
        self._closed = False

    def recv_into(self, buffer: memoryview) -> int | None:
        """Read what is there into ``buffer``: how much, 0 at the end, None if nothing yet."""
        try:
            return self._sock.recv_into(buffer)
        except BlockingIOError:
            return None

    def send(self, buffers: Sequence[Buffer]) -> int | None:
        """Take a prefix of the buffers' bytes: how much, None if nothing can be taken now."""
        if len(buffers) > _MOST_BUFFERS:
            # Without the empty ones, which could fill a call that then takes nothing.
            buffers = list(islice((buffer for buffer in buffers if len(buffer)), _MOST_BUFFERS))
        try:
            if len(buffers) == 1:
                return self._sock.send(buffers[0])
            return self._sock.sendmsg(buffers)
        except BlockingIOError:
            return None

    def flush(self) -> bool:
        """Return True: nothing is held back here."""
        return True

    def wait(self, *, read: bool, write: bool, timeout: float | None) -> None:
        """Return when reading or writing may get on, after ``wake``, or after the timeout."""
        # This says that it waits and then looks whether it is closed, `close` does it the other
        # way round: one of the two sees the other, and a wait that is not disturbed needs no lock.
        woken = False
        try:
            self._waiting = True
            if self._closed:
                return
            waker = self._waker
            if waker is None:
                with self._lock:
                    waker = self._waker or self._new_waker()
            wanted = (_READ if read else 0) | (_WRITE if write else 0)
            if wanted != self._watched:
                self._watch(wanted)
            if timeout is not None:
                timeout = min(max(timeout, 0.0), _LONGEST_WAIT) * 1000
            for fd, _ in self._poll.poll(timeout):
                if fd == waker.fd:
                    woken = True
        finally:
            self._waiting = False
            if woken or self._closed:
                self._leave_wait()

    def wake(self) -> None:
        """Make the running ``wait``, or the next one, return at once."""
        with self._lock:
            if not self._closed:
                (self._waker or self._new_waker()).set()

    def fileno(self) -> int:
        """Return the descriptor of the socket.

        Raises:
            OSError: it is closed.
        """
        if self._closed:
            raise OSError(errno.EBADF, "the socket is closed")
        return self._fileno

    def finish(self) -> None:
        """Say that nothing more will be sent; what was taken is still delivered."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            # The peer has left already; reading tells how.
            if error.errno != errno.ENOTCONN:
                raise

    def close(self) -> None:
        """Release everything, at once; a running ``wait`` returns. Again does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._waiting:
                # Descriptors that are being polled are closed by the one who polls: their
                # numbers may belong to somebody else as soon as they are closed.
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)
                (self._waker or self._new_waker()).set()
            else:
                self._release()

    def _leave_wait(self) -> None:
        """End a wait that was disturbed."""
        with self._lock:
            if self._closed:
                self._release()
            elif self._waker is not None:
                self._waker.clear()

    def _new_waker(self) -> _Waker:
        # Made when needed first: a thousand sockets that are only accepted cost one descriptor
        # each. It stays readable until cleared, so a wake before the wait is not lost.
        waker = self._waker = _EventWaker() if hasattr(os, "eventfd") else _SocketWaker()
        self._poll.register(waker.fd, _READ)
        return waker

    def _watch(self, wanted: int) -> None:
        # Wanting nothing is not being registered: a hang-up is reported whatever is wanted.
        if wanted:
            self._poll.register(self._fileno, wanted)
        else:
            self._poll.unregister(self._fileno)
        self._watched = wanted

    def _release(self) -> None:
        self._sock.close()
        if self._waker is not None:
            self._waker.close()
            self._waker = None


def _set_up(sock: socket.socket) -> str:
    """Set the options of a connected socket; return its peer's address."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return "this machine"
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    host: str = sock.getpeername()[0]
    return unmapped(host)


class _EventWaker:
    """A descriptor that is readable from ``set`` until ``clear``; on Linux."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def set(self) -> None:
        os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        os.close(self.fd)


class _SocketWaker:
    """The same with two descriptors; everywhere."""

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._receiver.settimeout(0)
        self._sender.settimeout(0)
        self.fd = self._receiver.fileno()

    def set(self) -> None:
        # Where it is full it is readable already.
        with contextlib.suppress(BlockingIOError):
            self._sender.send(b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._receiver.recv(4096):
                pass

    def close(self) -> None:
        self._receiver.close()
        self._sender.close()


_Waker = _EventWaker | _SocketWaker


class _SelectPoll:
    """What of ``select.poll`` is used here, for platforms without it."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}

    def register(self, fd: int, wanted: int) -> None:
        self._wanted[fd] = wanted

    def unregister(self, fd: int) -> None:
        del self._wanted[fd]

    def poll(self, milliseconds: float | None) -> list[tuple[int, int]]:
        ready = select.select(
            [fd for fd, wanted in self._wanted.items() if wanted & _READ],
            [fd for fd, wanted in self._wanted.items() if wanted & _WRITE],
            [],
            None if milliseconds is None else milliseconds / 1000,
        )
        return [(fd, _READ) for fd in ready[0]] + [(fd, _WRITE) for fd in ready[1]]


def _new_poll() -> select.poll | _SelectPoll:
    return select.poll() if hasattr(select, "poll") else _SelectPoll()
