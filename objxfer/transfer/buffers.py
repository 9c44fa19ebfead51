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

    A lease ends by itself when the last view of it is gone, whatever path led there. Any thread
    may lease: the count is a deque, whose ends are atomic.
    """

    def __init__(self, size: int = POOL) -> None:
        self._permits = deque(range(size // NODE))

    def lease(self, size: int) -> memoryview | None:
        """Return writable memory of ``size`` bytes, at most a node; None if all is out."""
        try:
            permit = self._permits.pop()
        except IndexError:
            return None
        lease = _Lease(size)
        lease.owner, lease.permit = self._permits, permit
        return memoryview(lease)


class _Lease(bytearray):
    owner: deque[int]
    permit: int

    def __del__(self) -> None:
        self.owner.append(self.permit)


class Ring:
    """Reuses a few node-sized buffers in turn, for one item that sends from them."""

    def __init__(self, count: int) -> None:
        self._buffers = [memoryview(bytearray(NODE)) for _ in range(count)]
        self._next = 0

    def turn(self) -> memoryview:
        """Return the buffer whose bytes were sent longest ago."""
        self._next = (self._next + 1) % len(self._buffers)
        return self._buffers[self._next]


def memory(size: int) -> memoryview:
    """Return writable memory of ``size`` bytes for one part of an object, the caller's to keep."""
    if size < MIB:
        return memoryview(bytearray(size))
    # Pages come when they are first written, not twice: a bytearray is filled with zeros first.
    return memoryview(mmap.mmap(-1, size))
