"""A stream as a source: standard input, or anything that can be read."""

from __future__ import annotations

import io
import select
from typing import BinaryIO, Final

from objxfer.errors import ExitCode, FileFailed
from objxfer.files.entries import UNKNOWN_SIZE, why

_PATIENCE: Final = 200
"""Milliseconds that a read waits before it lets others look whether to go on."""


class SourceStream:
    """Reads a stream as ``SourceFile`` reads a file. The stream stays the caller's.

    Attributes:
        size: not known until it ends.
        mtime_ns: when it was begun.
        mode: that of a new file.
    """

    size: Final = UNKNOWN_SIZE
    mode: Final = 0o666
    brief: Final = False

    def __init__(self, stream: BinaryIO, now_ns: int) -> None:
        self.mtime_ns = now_ns
        self._stream = stream
        self._poll: select.poll | None = None
        try:
            descriptor = stream.fileno()
        except (OSError, io.UnsupportedOperation):
            return
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def read_into(self, buffer: memoryview) -> int | None:
        """Fill ``buffer``, all of it but at the end.

        Returns:
            How many bytes; or None where the stream keeps us waiting, with nothing read.

        Raises:
            FileFailed: it cannot be read (3).
        """
