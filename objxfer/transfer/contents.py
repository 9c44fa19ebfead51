"""The contents of one file on their way out: all of them, or what does not lie there already.

Where the beginning of a file lies there from a time before, the new nodes go out at once. The
held ones are read and their digests sent alongside; the receiver reads its own again and says
which are the same, and only those that differ follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from objxfer.errors import ExitCode, FileFailed, PeerError
from objxfer.files.digest import NODE, FileDigest, NodeList, node_digest
from objxfer.files.source import Source
from objxfer.protocol.messages import Data
from objxfer.protocol.trees import Nodes, Patch
from objxfer.transfer.buffers import Ring
from objxfer.transfer.progress import Tally
from objxfer.transfer.steps import Port, Steps, run, send

_ASKED: Final = 8
"""Held nodes that wait for an answer; each keeps its megabyte until it has one."""
_ALONGSIDE: Final = 4
"""Held nodes that are read for each new one."""


class Gone(NamedTuple):
    """What went out of one file."""

    digest: bytes
    size: int
    kept: int
    """Bytes of it that lay there already, and were not sent."""


class _Asked(NamedTuple):
    """A held node that waits for its answer."""

    number: int
    piece: Data
    buffer: memoryview


class Listen(Protocol):
    """Takes what the receiver said: all that is there, or at least one message."""

    def __call__(self, *, wait: bool) -> Steps[None]:
        """Do it."""
        ...


class Contents:
    """Sends the contents of files, one after the other.

    Args:
        port: of the delivery.
        tally: counts along.
        listen: takes what the receiver said, and tells ``answered`` its part of it.
    """

    def __init__(self, port: Port, tally: Tally, listen: Listen) -> None:
        self._port = port
        self._tally = tally
        self._listen = listen
        self._ring = Ring()
        self._asked: deque[_Asked] = deque()
        self._answers: deque[bool] = deque()

    def answered(self, same: Sequence[bool]) -> None:
        """Hear which of the next nodes that were asked about are the same there.

        Raises:
            PeerError: so many were not asked about.
        """
        self._answers.extend(same)
        if len(self._answers) > len(self._asked):
            raise PeerError("more nodes compared than were asked about")

    def send(self, source: Source, held: int) -> Steps[Gone]:
        """Send what a source gives, but for those of its first ``held`` nodes that lie there."""
        if held:
            return (yield from self._go_on(source, held))
        digest, size = FileDigest(), 0
        while (read := (yield from self._read(source, size))) is not None:
            piece, buffer = read
            yield from self._send(piece, buffer)
            digest.add(piece.digest)
            size += len(piece.payload)
            yield from self._listen(wait=False)  # receipts for what went before
        return Gone(digest.value(size), size, 0)

    def _go_on(self, source: Source, held: int) -> Steps[Gone]:
        nodes = NodeList()
        next_held, next_new, size, kept = 0, held, 0, 0
        try:
            more = True
            while more or next_held < held or self._asked:
                if more and (source.anywhere or next_held == held):
                    read = yield from self._read(source, next_new * NODE)
                    more = read is not None
                    if read is not None:
                        nodes.put(next_new, read[0].digest)
                        size = next_new * NODE + len(read[0].payload)
                        next_new += 1
                        yield from self._send(*read)
                for _ in range(_ALONGSIDE):
                    if next_held == held or len(self._asked) == _ASKED:
                        break
                    read = yield from self._read(source, next_held * NODE)
                    if read is None or len(read[0].payload) < NODE:
                        if source.anywhere:
                            raise FileFailed("shrank", exit_code=ExitCode.CHANGED)
                        held, more = next_held, False  # a stream that is shorter this time
                        if read is not None:
                            nodes.put(next_held, read[0].digest)
                            size = next_held * NODE + len(read[0].payload)
                            yield from send(Patch(next_held))
                            yield from self._send(*read)
                        break
                    nodes.put(next_held, read[0].digest)
                    self._asked.append(_Asked(next_held, *read))
                    yield from send(Nodes([read[0].digest]))
                    next_held += 1
                    size = max(size, next_held * NODE)
                reads_on = more and (source.anywhere or next_held == held)
                asks_on = next_held < held and len(self._asked) < _ASKED
                yield from self._listen(wait=bool(self._asked) and not (reads_on or asks_on))
                kept += yield from self._settle()
            return Gone((yield from run(lambda: nodes.value(size))), size, kept)
        except FileFailed:
            while len(self._answers) < len(self._asked):  # they are not for the next file
                yield from self._listen(wait=True)
            raise
        finally:
            nodes.close()
            self._asked.clear()
            self._answers.clear()

    def _settle(self) -> Steps[int]:
        """Send the held nodes that differ there; return how many bytes need not be."""
        kept = 0
        while self._answers:
            index, piece, buffer = self._asked.popleft()
            if self._answers.popleft():
                self._ring.give(buffer, 0)
                kept += NODE
                self._count(NODE)
            else:
                yield from send(Patch(index))
                yield from self._send(piece, buffer)
        return kept

    def _send(self, piece: Data, buffer: memoryview) -> Steps[None]:
        self._ring.give(buffer, (yield from send(piece)))
        self._count(len(piece.payload))

    def _count(self, size: int) -> None:
        self._tally.bytes_done += size
        self._tally.path_done += size

    def _read(self, source: Source, at: int) -> Steps[tuple[Data, memoryview] | None]:
        """Read a node, and return it with the buffer it lies in; None at the end."""
        buffer = self._ring.take(self._port.written)

        def read() -> Data | int | None:
            got = source.read_into(buffer, at)
            return Data(buffer[:got], node_digest(buffer[:got])) if got else got

        while (piece := (yield from run(read, brief=source.brief))) is None:
            yield from self._listen(wait=False)
        if isinstance(piece, Data):
            return piece, buffer
        self._ring.give(buffer, 0)
        return None
