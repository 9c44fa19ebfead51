"""A stream as a source: standard input, a pipe, anything with a descriptor."""

from __future__ import annotations

import os
import select
from typing import BinaryIO, Final

from objxfer.errors import ExitCode, FileFailed
from objxfer.files.entries import UNKNOWN_SIZE, why
from objxfer.files.source import Piece, piece_of

_PATIENCE: Final = 200
"""Milliseconds that a read waits before it lets others look whether to go on."""


class SourceStream:
    """Reads a stream as ``SourceFile`` reads a file; it stays the caller's.

    Its descriptor is read: what the object has read ahead is not seen.

    Attributes:
        size: not known until it ends.
        mtime_ns: when it was begun.
        mode: that of a new file.
        anywhere: it is read in order.
        lends: what it is read into is the caller's.
    """

    size: Final = UNKNOWN_SIZE
    mode: Final = 0o666
    brief: Final = False
    anywhere: Final = False
    lends: Final = False

    def __init__(self, stream: BinaryIO, now_ns: int) -> None:
        """Begin with ``stream``, which must have a descriptor (``OSError`` otherwise)."""
        self.mtime_ns = now_ns
        self._fd = stream.fileno()
        self._filled = 0
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._poll.register(self._fd, select.POLLIN)

    def read_into(self, buffer: memoryview, at: int) -> int | None:
        """Fill ``buffer`` with what comes next, all of it but at the end; ``at`` is where it is.

        Returns:
            How many bytes, 0 at the end; or None where the stream keeps us waiting: call it
            again, with the same buffer.

        Raises:
            FileFailed: it cannot be read (3).
        """
        try:
            while self._filled < len(buffer):
                if self._poll is not None and not self._poll.poll(_PATIENCE):
                    return None
                got = os.readv(self._fd, [buffer[self._filled :]])
                if not got:
                    break
                self._filled += got
        except OSError as error:
            raise FileFailed(why(error), exit_code=ExitCode.INCOMPLETE) from error
        filled, self._filled = self._filled, 0
        return filled

    def piece(self, at: int, buffer: memoryview) -> Piece | None:
        """Return what comes next, as ``Source`` says."""
        got = self.read_into(buffer, at)
        return None if got is None else piece_of(buffer[:got])

    def changed(self) -> bool:
        """Return False: a stream is what was read of it."""
        return False

    def close(self) -> None:
        """Do nothing: the stream stays open."""
