"""The contents of one file on their way out: all of them, or what does not lie there already.

Where the beginning of a file lies there from a time before, the new nodes go out at once. The
held ones are read and their digests sent alongside; the receiver reads its own again and says
which are the same, and only those that differ follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Final, NamedTuple, Protocol

from objxfer.errors import ExitCode, FileFailed, PeerError
from objxfer.files.digest import NODE, FileDigest, NodeList
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
_NO_ROOM: Final = memoryview(b"")
"""For sources that need none."""


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
    buffer: memoryview | None


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
        while (read := (yield from self.read(source, size))) is not None:
            piece, buffer = read
            yield from self.put(piece, buffer)
            digest.add(piece.digest)
            size += len(piece.payload)
            yield from self._listen(wait=False)  # receipts for what went before
        return Gone(digest.value(size), size, 0)

    def _go_on(self, source: Source, held: int) -> Steps[Gone]:
        with closing(_GoingOn(self, source, held)) as going_on:
            try:
                return (yield from going_on.send(self._listen))
            except FileFailed:
                while len(self._answers) < len(self._asked):  # they are not for the next file
                    yield from self._listen(wait=True)
                raise
            finally:
                self._asked.clear()
                self._answers.clear()

    def ask(self, number: int, piece: Data, buffer: memoryview | None) -> Steps[None]:
        """Ask whether a held node is the same there; ``settle`` tells what comes of it."""
        self._asked.append(_Asked(number, piece, buffer))
        yield from send(Nodes([piece.digest]))

    @property
    def asking(self) -> int:
        """How many held nodes wait for their answer."""
        return len(self._asked)

    def settle(self) -> Steps[int]:
        """Send the held nodes that differ there; return how many bytes need not be."""
        kept = 0
        while self._answers:
            number, piece, buffer = self._asked.popleft()
            if self._answers.popleft():
                self._free(buffer, 0)
                kept += NODE
                self._count(NODE)
            else:
                yield from send(Patch(number))
                yield from self.put(piece, buffer)
        return kept

    def put(self, piece: Data, buffer: memoryview | None) -> Steps[None]:
        """Send a node; the buffer it lies in is used again."""
        self._free(buffer, (yield from send(piece)))
        self._count(len(piece.payload))

    def _free(self, buffer: memoryview | None, mark: int) -> None:
        if buffer is not None:
            self._ring.give(buffer, mark)

    def _count(self, size: int) -> None:
        self._tally.bytes_done += size
        self._tally.path_done += size

    def read(self, source: Source, at: int) -> Steps[tuple[Data, memoryview | None] | None]:
        """Read a node, and return it with the buffer of ours it lies in; None at the end."""
        buffer = None if source.lends else self._ring.take(self._port.written)
        room = _NO_ROOM if buffer is None else buffer

        while (
            piece := (yield from run(partial(source.piece, at, room), brief=source.brief))
        ) is None:
            yield from self._listen(wait=False)
        if piece.contents:
            return Data(*piece), buffer
        self._free(buffer, 0)
        return None


class _GoingOn:
    """One file on its way whose first nodes seem to lie there."""

    def __init__(self, contents: Contents, source: Source, held: int) -> None:
        self._contents = contents
        self._source = source
        self._held = held
        self._nodes = NodeList()
        self._next_held = 0
        self._next_new = held
        self._more = True
        self._size = 0

    def send(self, listen: Listen) -> Steps[Gone]:
        contents, kept = self._contents, 0
        while self._more or self._next_held < self._held or contents.asking:
            if self._reads_on:
                yield from self._send_new()
            for _ in range(_ALONGSIDE):
                if self._asks_on:
                    yield from self._ask()
            idle = not (self._reads_on or self._asks_on)
            yield from listen(wait=idle and bool(contents.asking))
            kept += yield from contents.settle()
        digest = yield from run(lambda: self._nodes.value(self._size))
        return Gone(digest, self._size, kept)

    @property
    def _reads_on(self) -> bool:
        """Whether new nodes can be read: a stream comes to them behind the held ones."""
        return self._more and (self._source.anywhere or self._next_held == self._held)

    @property
    def _asks_on(self) -> bool:
        return self._next_held < self._held and self._contents.asking < _ASKED

    def _send_new(self) -> Steps[None]:
        read = yield from self._contents.read(self._source, self._next_new * NODE)
        if read is None:
            self._more = False
            return
        self._note(self._next_new, read[0])
        self._next_new += 1
        yield from self._contents.put(*read)

    def _ask(self) -> Steps[None]:
        number = self._next_held
        read = yield from self._contents.read(self._source, number * NODE)
        if read is not None and len(read[0].payload) == NODE:
            self._note(number, read[0])
            self._next_held += 1
            yield from self._contents.ask(number, *read)
            return
        if self._source.anywhere:
            raise FileFailed("shrank", exit_code=ExitCode.CHANGED)
        # A stream that is shorter this time: what it has left takes the place of what is held.
        self._held, self._more = number, False
        if read is not None:
            self._note(number, read[0])
            yield from send(Patch(number))
            yield from self._contents.put(*read)

    def _note(self, number: int, piece: Data) -> None:
        self._nodes.put(number, piece.digest)
        self._size = max(self._size, number * NODE + len(piece.payload))

    def close(self) -> None:
        self._nodes.close()
