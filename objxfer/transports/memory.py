"""A byte stream inside the process: two ends, bounded, deterministic."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from typing import Literal

from objxfer.transports.base import Buffer

Plan = Callable[[Literal["recv", "send"], int], int]
"""How many of the bytes that could move in this call do. 0: as if none could, this time."""


class MemoryTransport:
    """One end of a pair; see ``Transport`` for the contract and ``pair`` for making two.

    Any thread may use either end, each as the contract says. Nothing depends on a clock but
    the timeout of ``wait``.

    Closing behaves like TCP at its worst. An end that is closed with bytes it has not read
    resets the stream: what it had sent and the peer had not read is gone, and the peer gets
    ``ConnectionResetError``. Otherwise the peer reads what was sent, then the end. Sending to
    an end that is closed is ``BrokenPipeError``.
    """

    def __init__(
        self, peer: str, changed: threading.Condition, incoming: _Pipe, outgoing: _Pipe, plan: Plan
    ) -> None:
        self.peer = peer
        self._changed = changed
        self._incoming = incoming
        self._outgoing = outgoing
        self._plan = plan
        self._woken = False
        self._closed = False

    def recv_into(self, buffer: memoryview) -> int | None:
        """Read what is there into ``buffer``: how much, 0 at the end, None if nothing yet."""
        with self._changed:
            self._check_open()
            pipe = self._incoming
            if pipe.reset:
                raise ConnectionResetError(errno.ECONNRESET, "reset by the other end")
            possible = min(len(pipe.data), len(buffer))
            if not possible:
                return 0 if pipe.ended else None
            size = self._plan("recv", possible)
            if not size:
                return None
            buffer[:size] = pipe.data[:size]
            del pipe.data[:size]
            self._changed.notify_all()
            return size

    def send(self, buffers: Sequence[Buffer]) -> int | None:
        """Take a prefix of the buffers' bytes: how much, None if nothing can be taken now."""
        with self._changed:
            self._check_open()
            pipe = self._outgoing
            if pipe.ended or pipe.unread:
                raise BrokenPipeError(errno.EPIPE, "the stream has ended in this direction")
            offered = sum(map(len, buffers))
            if not offered:
                return 0
            possible = min(offered, pipe.room())
            size = self._plan("send", possible) if possible else 0
            if not size:
                return None
            left = size
            for buffer in buffers:
                part = memoryview(buffer)[:left]
                pipe.data += part
                left -= len(part)
                if not left:
                    break
            self._changed.notify_all()
            return size

    def flush(self) -> bool:
        """Return True: nothing is held back."""
        return True

    def wait(self, *, read: bool, write: bool, timeout: float | None) -> None:
        """Return when reading or writing may get on, after ``wake``, or after the timeout."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._woken
                    or self._closed
                    or (read and self._incoming.readable())
                    or (write and self._outgoing.writable())
                ),
                timeout,
            )
            self._woken = False

    def wake(self) -> None:
        """Make the running ``wait``, or the next one, return at once."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def fileno(self) -> int:
        """Raise OSError: there is no descriptor."""
        raise OSError(errno.EBADF, "a stream in memory has no descriptor")

    def finish(self) -> None:
        """Say that nothing more will be sent; what was taken is still delivered."""
        with self._changed:
            self._check_open()
            self._outgoing.ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Let go of this end, at once. Calling it again does nothing."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            if self._incoming.data:
                self._outgoing.reset = True
                self._outgoing.data.clear()
            self._outgoing.ended = True
            self._incoming.unread = True
            self._incoming.data.clear()
            self._changed.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "this end is closed")


def pair(
    capacity: int = 65536, *, plan: Plan = lambda _call, possible: possible
) -> tuple[MemoryTransport, MemoryTransport]:
    """Return the two ends of a new stream.

    Args:
        capacity: how many bytes either direction holds before it takes no more.
        plan: asked in each ``recv_into`` and ``send`` that could move something, under the
            lock of the pair, with the kind of call and the bytes it could move (at least 1);
            it returns how many it does (0 up to as many). For simulating splits and stalls.
    """
    changed = threading.Condition()
    there, back = _Pipe(capacity), _Pipe(capacity)
    return (
        MemoryTransport("memory", changed, incoming=back, outgoing=there, plan=plan),
        MemoryTransport("memory", changed, incoming=there, outgoing=back, plan=plan),
    )


class _Pipe:
    """One direction. Guarded by the condition of the pair."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data = bytearray()
        self.ended = False  # nothing more is put in
        self.reset = False  # what was inside was destroyed
        self.unread = False  # nobody reads it any more

    def room(self) -> int:
        return self.capacity - len(self.data)

    def readable(self) -> bool:
        return bool(self.data) or self.ended

    def writable(self) -> bool:
        return self.room() > 0 or self.ended or self.unread
