"""A stream that several deliveries read at the same time.

It can be read only once, so what one of them has not taken yet is kept, up to a window. When that
is full, the others wait until the one that is furthest behind goes on, or leaves.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import BinaryIO, Final

from objxfer.errors import FileFailed
from objxfer.files.digest import NODE
from objxfer.files.entries import UNKNOWN_SIZE
from objxfer.files.source import Piece
from objxfer.files.stream import SourceStream
from objxfer.files.window import SIZE

_PATIENCE: Final = 0.2
"""Seconds that a read waits before it lets others look whether to go on."""
_AHEAD: Final = SIZE // NODE
"""Pieces that the first is ahead of the last at the most."""


class SharedStream:
    """A stream that several deliveries read, each through a share of its own.

    Args:
        stream: has a descriptor (``OSError`` otherwise), and stays the caller's.
        now_ns: the time.
        members: how many deliveries there are.
    """

    def __init__(self, stream: BinaryIO, now_ns: int, members: int) -> None:
        self._stream = SourceStream(stream, now_ns)
        self.mtime_ns = self._stream.mtime_ns
        self.shares = [StreamShare(self, number) for number in range(members)]
        self._next = dict.fromkeys(range(members), 0)
        self._pieces: deque[Piece] = deque()
        self._first = 0
        """The number of the first piece that is kept."""
        self._failure: FileFailed | None = None
        self._buffer: memoryview | None = None
        self._reading = False
        self._changed = threading.Condition()

    def take(self, member: int) -> Piece | None:
        """Return the next piece for a member, or None where it does not come for a while.

        Raises:
            FileFailed: the stream cannot be read on (3).
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has(member) or self._reads_on, _PATIENCE):
                return None
            if self._has(member):
                return self._taken(member)
            self._reading = True
        piece = failure = None
        try:
            piece = self._read()
        except FileFailed as error:
            failure = error
        finally:
            with self._changed:
                self._reading, self._failure = False, failure
                if piece is not None:
                    self._pieces.append(piece)
                self._changed.notify_all()
        with self._changed:
            return self._taken(member) if self._has(member) else None

    def leave(self, member: int) -> None:
        """Say that a member reads no more, and is not waited for."""
        with self._changed:
            self._next.pop(member, None)
            self._forget()

    def _read(self) -> Piece | None:
        if self._buffer is None:
            self._buffer = memoryview(bytearray(NODE))
        piece = self._stream.piece(0, self._buffer)
        if piece is not None:
            self._buffer = None  # the others read in it from now on
        return piece

    # --- with the lock held ---

    def _has(self, member: int) -> bool:
        """Whether there is something to take, or to say."""
        there = self._next[member] < self._first + len(self._pieces)
        return there or self._failure is not None

    @property
    def _reads_on(self) -> bool:
        return not self._reading and len(self._pieces) < _AHEAD

    def _taken(self, member: int) -> Piece:
        at = self._next[member] - self._first
        if at == len(self._pieces):
            assert self._failure is not None
            raise FileFailed(str(self._failure), exit_code=self._failure.exit_code)
        piece = self._pieces[at]
        if piece.contents:  # the end stays where it is
            self._next[member] += 1
            self._forget()
        return piece

    def _forget(self) -> None:
        """Let go of what all have taken."""
        if self._next:
            through = min(self._next.values()) - self._first
            for _ in range(through):
                self._pieces.popleft()
            self._first += through
            if through:
                self._changed.notify_all()


class StreamShare:
    """One delivery's part in a ``SharedStream``, which is a ``Source`` to it."""

    size: Final = UNKNOWN_SIZE
    mode: Final = SourceStream.mode
    brief: Final = False
    anywhere: Final = False
    lends: Final = True

    def __init__(self, shared: SharedStream, number: int) -> None:
        self.mtime_ns = shared.mtime_ns
        self._shared = shared
        self._number = number

    def piece(self, _at: int, _buffer: memoryview) -> Piece | None:
        """Return what comes next, as ``Source`` says."""
        return self._shared.take(self._number)

    def changed(self) -> bool:
        """Return False: a stream is what was read of it."""
        return False

    def close(self) -> None:
        """Do nothing: another attempt may follow."""

    def leave(self) -> None:
        """Say that the delivery is at its end; again, it does nothing."""
        self._shared.leave(self._number)
