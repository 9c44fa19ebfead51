"""A stream as the place for a single file: standard output, or anything like it."""

from __future__ import annotations

import io
import select
from collections.abc import Sequence
from typing import BinaryIO

from objxfer.errors import ExitCode, FileFailed
from objxfer.files.digest import Buffer, FileDigest, file_digest
from objxfer.files.entries import Action, Answer, Entry, Receipt, Verdict, why
from objxfer.files.paths import shown
from objxfer.files.sink import Arrived


class Outlet:
    """Takes one file into a binary stream, as it comes; see ``Sink`` for the contract.

    Every byte that is written was verified before. What is written cannot be taken back: a file
    that ends early raises ``FileFailed`` from ``Inflow.leave``. The stream stays the caller's.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._taken = False
        self._finished: list[tuple[Entry, Receipt]] = []

    def judge(self, entries: Sequence[Entry]) -> list[Verdict]:
        """Want the first file, and refuse all others."""
        verdicts = []
        for entry in entries:
            wanted = not self._taken and b"/" not in entry.path
            self._taken = True
            verdicts.append(_WANTED if wanted else _REFUSED)
        return verdicts

    def forgo(self, entry: Entry) -> None:
        """Raise: the stream would be taken for an empty file.

        Raises:
            FileFailed: always.
        """
        raise _ended_early(entry)

    def open(self, entry: Entry, held: int = 0) -> Inflow:
        """Begin the file, of which nothing is ever held."""
        assert not held
        return Inflow(self, entry)

    def publish(self) -> list[tuple[Entry, Receipt]]:
        """Flush the stream; return the receipt of the file."""
        self._flush()
        finished, self._finished = self._finished, []
        return finished

    def pack(self, files: Sequence[Arrived]) -> None:
        """Write the file, which is small."""
        for file in files:
            self.write(file.contents)
            self.finished(file.entry, len(file.contents), file_digest(file.contents))

    def links(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Refuse links."""
        return [_NOT_HERE] * len(entries)

    def folders(self, entries: Sequence[Entry]) -> list[Receipt]:
        """Refuse folders."""
        return [_NOT_HERE] * len(entries)

    def close(self) -> None:
        """Do nothing: the stream stays open."""

    def write(self, data: Buffer) -> None:
        """Write all of ``data``.

        Raises:
            FileFailed: the stream does not take it.
        """
        try:
            left = memoryview(data)
            while left:
                taken = self._offer(left)
                left = left[taken:]
                if not taken:
                    self._wait()
        except OSError as error:
            raise FileFailed(f"the output takes no more: {why(error)}") from error

    def _offer(self, data: memoryview) -> int:
        """Return how much the stream took; 0 where it is one that does not wait, and is full."""
        try:
            return self._stream.write(data) or 0  # None, says a raw stream
        except BlockingIOError as full:
            return full.characters_written

    def _flush(self) -> None:
        try:
            while True:
                try:
                    return self._stream.flush()
                except BlockingIOError:
                    self._wait()
        except OSError as error:
            raise FileFailed(f"the output takes no more: {why(error)}") from error

    def _wait(self) -> None:
        """Wait until the stream may take more."""
        room = select.poll()
        try:
            room.register(self._stream, select.POLLOUT)
        except io.UnsupportedOperation as error:
            raise FileFailed("the output is full, and does not tell when it is not") from error
        room.poll()

    def finished(self, entry: Entry, size: int, digest: bytes) -> None:
        """Hear that the file is whole, and as durable as in a stream: whoever reads it has it."""
        self._finished.append((entry, Receipt(Action.RECEIVED, size, digest, durable=True)))


class Inflow:
    """A file on its way into an outlet."""

    failure = None
    """What fails here is raised."""
    surrendered = False
    brief = False
    """Whether ``write`` is short work: whoever reads the stream may keep us waiting."""

    def __init__(self, outlet: Outlet, entry: Entry) -> None:
        self.entry = entry
        self._outlet = outlet
        self._nodes = FileDigest()

    def put(self, index: int, data: Buffer, node: bytes) -> None:
        """Write the next node to the stream; raises as ``Outlet.write``."""
        self._outlet.write(data)
        self._nodes.add(node)

    def compare(self, first: int, nodes: Sequence[bytes]) -> list[bool]:
        """Return that nothing is known of what went through."""
        return [False] * len(nodes)

    def finish(self, size: int, mtime_ns: int, mode: int) -> None:
        """Hear that the file is whole."""
        self._outlet.finished(self.entry, size, self._nodes.value(size))

    def leave(self) -> None:
        """Raise: what was written is only the beginning of the file.

        Raises:
            FileFailed: always.
        """
        raise _ended_early(self.entry)


_WANTED = Verdict(Answer.WANTED)
_REFUSED = Verdict(
    Answer.REFUSED, code=ExitCode.REFUSED, reason="this receiver takes a single file"
)
_NOT_HERE = Receipt(
    Action.FAILED, code=ExitCode.REFUSED, reason="this receiver takes a single file"
)


def _ended_early(entry: Entry) -> FileFailed:
    return FileFailed(f"{shown(entry.path)} could not be read to its end at the sender")
