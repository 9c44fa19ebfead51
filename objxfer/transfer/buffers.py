"""Memory for payload on its way to the disk and from it, reused and bounded."""

from __future__ import annotations

import mmap
from collections import deque
from typing import Final

from objxfer.files.digest import NODE
from objxfer.limits import MIB

POOL: Final = 64 * MIB


class Pool:
    """Hands out node-sized memory, so much of it at once and no more.

    Memory that is given back is handed out again, for fresh pages cost more than filling them.
    What is not, because an error came in between, counts as returned when the last view of it
    is gone. Any thread may lease and give: both ends of a deque are atomic.
    """

    def __init__(self, size: int = POOL) -> None:
        self._permits = deque(range(size // NODE))
        self._free: deque[_Lease] = deque()

    def lease(self, size: int) -> memoryview | None:
        """Return writable memory of ``size`` bytes, at most a node; None if all is out."""
        try:
            lease = self._free.pop()
        except IndexError:
            try:
                permit = self._permits.pop()
            except IndexError:
                return None
            lease = _Lease(NODE)
            lease.permit, lease.owner = permit, self._permits
        return memoryview(lease)[:size]

    def give(self, view: object) -> None:
        """Take memory back, if it is of a lease; nobody may look at it any more."""
        if isinstance(view, memoryview) and isinstance(view.obj, _Lease):
            self._free.append(view.obj)


class _Lease(bytearray):
    # None while an interrupt may still strike between its making and the next line.
    owner: deque[int] | None = None
    permit: int

    def __del__(self) -> None:
        if self.owner is not None:
            self.owner.append(self.permit)


class Ring:
    """Reuses node-sized buffers that one item sends from, each once its bytes are written.

    How many there are is bounded by how much may be queued, see ``exchange.HIGH_WATER``.
    """

    def __init__(self) -> None:
        self._buffers: deque[tuple[int, memoryview]] = deque()

    def take(self, written: int) -> memoryview:
        """Return a buffer that is free when ``written`` bytes of the connection are."""
        if self._buffers and self._buffers[0][0] <= written:
            return self._buffers.popleft()[1]
        return memoryview(bytearray(NODE))

    def give(self, buffer: memoryview, mark: int) -> None:
        """Give a buffer back, which is free again once ``mark`` bytes are written."""
        self._buffers.append((mark, buffer))


def memory(size: int) -> memoryview:
    """Return writable memory of ``size`` bytes for one part of an object, the caller's to keep."""
    if size < MIB:
        return memoryview(bytearray(size))
    # Pages come when they are first written, not twice: a bytearray is filled with zeros first.
    return memoryview(mmap.mmap(-1, size))
