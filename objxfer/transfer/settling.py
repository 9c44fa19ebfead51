"""Which nodes of one file have come, at the receiver: new, compared, or in place of a bad one."""

from __future__ import annotations

from collections.abc import Sequence

from objxfer.errors import PeerError
from objxfer.files.digest import NODE
from objxfer.protocol.chunks import UNKNOWN


class Settling:
    """Holds the sender of a file to what it announced. Without the contents.

    Every method raises ``PeerError`` for what is not as it must be.

    Args:
        limit: bytes of the file as it was announced, or ``UNKNOWN``.
        held: how many of its first nodes are compared with what lies here.
    """

    def __init__(self, limit: int, held: int) -> None:
        self.size = held * NODE
        """Bytes up to the end of what has come."""
        self.kept = 0
        """Bytes that lay here, and are the sender's."""
        self._limit = limit
        self._held = held
        self._compared = 0
        self._bad: set[int] = set()
        self._patch: int | None = None
        self._ended = False
        if self.size > limit:
            raise PeerError("more of a file is held than there is of it")

    def place(self, size: int) -> int:
        """Return which node the next data is."""
        if self._patch is not None:
            index, self._patch = self._patch, None
            if index < self._compared:
                if size != NODE:
                    raise PeerError("a node in the middle of a file is short")
            else:
                self._end_at(index, size)
            return index
        if self._ended or self.size % NODE:
            raise PeerError("a file goes on behind its last node")
        index = self.size // NODE
        self.size += size
        if self.size > self._limit:
            raise PeerError("a file is longer than it was said to be")
        return index

    def ask(self, count: int) -> int:
        """Hear that the next ``count`` held nodes shall be compared; return the first of them."""
        first = self._compared
        self._compared += count
        if self._ended or self._compared > self._held:
            raise PeerError("more nodes to compare than are held")
        return first

    def answer(self, first: int, same: Sequence[bool]) -> None:
        """Take note of what comparing came to."""
        self.kept += same.count(True) * NODE
        self._bad.update(index for index, one in enumerate(same, first) if not one)

    def patch(self, index: int) -> None:
        """Hear that the next data is a held node: a bad one, or the last of a shorter stream."""
        if index in self._bad:
            self._bad.remove(index)
        elif index != self._compared or index >= self._held or self._limit != UNKNOWN:
            raise PeerError("a node in place of one that is not bad")
        self._patch = index

    def end(self, size: int) -> None:
        """Hear the size of the whole file."""
        if self._compared < self._held and not self._ended:
            self._end_at(self._compared, 0)
        if self._bad or size != self.size:
            raise PeerError("a file is not as long as its end says, or a node of it is missing")

    def _end_at(self, index: int, size: int) -> None:
        """The sender has less than is held: only a stream can, and nothing follows."""
        if self._limit != UNKNOWN or self.size != self._held * NODE or size == NODE:
            raise PeerError("a held node was not compared")
        self._ended = True
        self.size = index * NODE + size
