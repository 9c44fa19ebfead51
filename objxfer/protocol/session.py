"""The multiplexing session: bytes in, messages by item; messages out, buffers.

It starts where the handshake ends. It holds the sequence and tags of both directions, the
states of all live items and their credit, and knows nothing of sockets, threads or the clock.

Its owner does three things, in any order, under one lock: lets it fill (``get_buffer``, then
``received``) and takes the ``events``; says things (``open``, ``send``, ``end``); writes what is
``outgoing`` and says how much of it was taken (``sent``). The shape of filling is that of
``asyncio.BufferedProtocol``: large payload lands where the owner's ``landing`` wants it.

Failures are sticky. What the peer did wrong is raised out of ``received``: ``IntegrityError`` for
bytes that do not match, ``PeerError`` for messages that are not legal; the session is dead then
and has queued its one generic ``FAILURE`` as its last word.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple, cast

from objxfer.errors import ConnectionLost, ObjxferError, PeerError
from objxfer.files.digest import node_digest
from objxfer.limits import MIB, Limits
from objxfer.protocol.chunks import (
    CREDITED,
    OPENING,
    OVERHEAD,
    Header,
    Type,
    pack_header,
    payload_digest,
)
from objxfer.protocol.handshake import Established
from objxfer.protocol.hello import Role
from objxfer.protocol.incoming import DIRECT, Incoming
from objxfer.protocol.items import Item
from objxfer.protocol.messages import (
    READERS,
    Abort,
    Credit,
    Data,
    End,
    Failure,
    Message,
    Opening,
    Ping,
    Pong,
)
from objxfer.protocol.states import OPENED, Side, State

INITIAL_CREDIT: Final = 8 * MIB
"""Bytes of an item that may be sent before the receiver has said anything."""
_ITEMS: Final = 1024
"""Items the peer may have open at once."""
_UNREAD: Final = 64 * MIB
"""Bytes that may wait to be written while more is read: who sends without end and never reads
the answers is given up. Sides that wait for credit and answers never come near it."""

Landing = Callable[[int, int, int], memoryview | None]


class Event(NamedTuple):
    """A message of the peer, legal and verified."""

    item: int
    message: Message
    size: int
    """Bytes of its chunk, header included."""


class Session:
    """One authenticated connection, without I/O. Not for use by two threads at once.

    Args:
        established: what the handshake agreed on.
        limits: what this side accepts.
        landing: called for a data payload of at least ``DIRECT`` bytes whose header is verified,
            with the item, the bytes of data of the item before it, and its size; returns
            writable memory of exactly that size, or None where there is none now (then
            ``get_buffer`` returns None until there is).

    What came behind the proof is taken at once: there may be ``events`` from the start, or a
    ``failure``, which the first call that can raise it does.
    """

    def __init__(self, established: Established, limits: Limits, landing: Landing) -> None:
        client = established.role is Role.CLIENT
        self._landing = landing
        self._sealer = established.sealer
        self.proof = established.opener.proof
        """Goes with every message of the peer; None in mode none."""
        self._items: dict[int, Item] = {}
        self._next_own, self._last_theirs = (1, 0) if client else (2, -1)
        self._incoming = Incoming(established.opener, limits, self._judge, self._land)
        self.events: deque[Event] = deque()
        """What the peer said and nobody has taken yet."""
        self.outgoing: deque[bytes | bytearray | memoryview] = deque()
        """What waits to be written, in order; taken off by ``sent``."""
        self.queued = 0
        """Bytes in ``outgoing``."""
        self.failure: ObjxferError | None = None
        """Why the session is dead, once it is."""
        self.ended = False
        """We have said that we are through."""
        self.peer_ended = False
        """The peer has said that it is through."""
        self.ponged = 0
        """The number of the last ping that the peer has answered; 0 before."""
        self.chunks_in = self.bytes_in = self.bytes_out = 0
        """Verified chunks, and bytes both ways, as a statistic."""
        early = established.early
        if early:
            self._incoming.get_buffer()[: len(early)] = early
            with suppress(ObjxferError):  # it stays in ``failure``
                self.received(len(early))

    # --- saying things ---

    @property
    def bytes_queued(self) -> int:
        """Bytes ever put into ``outgoing``: they are written once ``bytes_out`` is as much."""
        return self.bytes_out + self.queued

    def open(self, message: Opening) -> int:
        """Open an item and return its id.

        Raises:
            ObjxferError: the session is dead or ended.
        """
        if self.failure is not None:
            raise self.failure
        assert not self.ended, "an item after the end"
        item = self._next_own
        self._next_own += 2
        self._start(item, message)
        kind, payload = message.type, message.pack()
        self._queue(kind, item, payload, payload_digest(kind, payload))
        return item

    def send(self, item: int, message: Message) -> bool:
        """Queue one message of a live item; the payload of data is passed on, not copied.

        Returns:
            Whether there was credit for it; if not, nothing happened.

        Raises:
            ObjxferError: the session is dead.
            AssertionError: the message is not legal now: our own mistake.
        """
        if self.failure is not None:
            raise self.failure
        kind = message.type
        if isinstance(message, Data):
            payload, digest = message.payload, message.digest
        else:
            payload = message.pack()
            digest = payload_digest(kind, payload)
        state = self._items.get(item)
        assert state is not None, f"{kind.name} on item {item}, which is over"
        if kind in CREDITED:
            size = OVERHEAD + len(payload)
            if state.credit < size:
                return False
            state.credit -= size
        elif isinstance(message, Credit):
            state.credit += message.number
        self._advance(item, state, self._own_side(item), message)
        self._queue(kind, item, payload, digest)
        return True

    def ping(self, number: int) -> None:
        """Ask the peer for a sign of life."""
        self._say(Ping(number))

    def end(self) -> None:
        """Say that this direction is through. Nothing but answers may be sent after it."""
        if not self.ended and self.failure is None:
            self._say(End())
            self.ended = True

    def give_up(self) -> None:
        """Say that this side gives the connection up; nothing more can be said after it."""
        if self.failure is None and not self.ended:
            self._say(Failure())

    def abort(self, item: int, message: Abort) -> None:
        """End our side of an item now; what still comes of it is thrown away.

        Does nothing for an item whose our side is closed already.
        """
        state = self._items.get(item)
        if state is None or self.failure is not None:
            return
        own = self._own_side(item)
        if state.of(own) is not State.CLOSED:
            self.send(item, message)
        state = self._items.get(item)
        if state is not None:
            state.dropped = True

    def live(self, item: int) -> bool:
        """Tell whether an item is not over yet."""
        return item in self._items

    def sent(self, size: int) -> None:
        """Take ``size`` bytes off ``outgoing``: they are written."""
        self.queued -= size
        self.bytes_out += size
        outgoing = self.outgoing
        if not self.queued:
            outgoing.clear()
            return
        while size:
            first = outgoing[0]
            if len(first) > size:
                outgoing[0] = memoryview(first)[size:]
                return
            size -= len(first)
            outgoing.popleft()

    def copy_queued(self) -> None:
        """Copy what is ``outgoing``: the payload that was passed on may change from now on."""
        self.outgoing = deque(map(bytes, self.outgoing))

    def _say(self, message: End | Ping | Pong | Failure) -> None:
        payload = message.pack()
        self._queue(message.type, 0, payload, payload_digest(message.type, payload))

    def _queue(
        self, kind: Type, item: int, payload: bytes | bytearray | memoryview, digest: bytes
    ) -> None:
        header = pack_header(kind, item, len(payload), digest)
        start = header + self._sealer.seal(header)
        if len(payload) < DIRECT:
            self.outgoing.append(start + payload)
        else:
            self.outgoing += (start, payload)
        self.queued += OVERHEAD + len(payload)

    # --- being told things ---

    @property
    def owed(self) -> bool:
        """Whether the peer has yet to say something on an item."""
        return any(
            state.of(self._their_side(item)) is not State.CLOSED
            for item, state in self._items.items()
        )

    @property
    def stalled(self) -> bool:
        """Whether there was no memory for what comes next; ``get_buffer`` asks again."""
        return self._incoming.stalled

    def get_buffer(self) -> memoryview | None:
        """Return where the next bytes of the peer go, never empty; None: no memory now, wait."""
        if self._incoming.stalled:
            self._take_chunks()
            if self._incoming.stalled:
                return None
        return self._incoming.get_buffer()

    def received(self, size: int) -> None:
        """Say that ``size`` bytes were written to the start of ``get_buffer``.

        Raises:
            IntegrityError: bytes that were not sent so.
            PeerError: a message that is not legal.
            ConnectionLost: the peer gave the connection up.
        """
        self.bytes_in += size
        self._incoming.received(size)
        self._take_chunks()

    def lost(self) -> ConnectionLost:
        """The stream ended; return what that means where no end was said."""
        error = ConnectionLost("the connection ended without an end message")
        if self.failure is None and not self.peer_ended:
            self.failure = error
        return error

    def _take_chunks(self) -> None:
        if self.failure is not None:
            raise self.failure
        try:
            while (chunk := self._incoming.next_chunk()) is not None:
                self._take(*chunk)
                if self.queued > _UNREAD:
                    raise PeerError("the peer does not read what it is answered")
        except ObjxferError as error:
            self._say(Failure())
            self.failure = error
            raise

    def _land(self, header: Header) -> memoryview | None:
        if header.type is not Type.DATA or self._dropped(header.item):
            return memoryview(bytearray(header.size))
        return self._landing(header.item, self._items[header.item].data, header.size)

    def _dropped(self, item: int) -> bool:
        state = self._items.get(item)
        return state is None or state.dropped

    def _own_side(self, item: int) -> Side:
        return Side.OPENER if item % 2 == self._next_own % 2 else Side.TARGET

    def _their_side(self, item: int) -> Side:
        return Side.TARGET if item % 2 == self._next_own % 2 else Side.OPENER

    def _judge(self, header: Header) -> None:
        """Judge by the header alone, before the payload is read."""
        kind, item = header.type, header.item
        if item == 0:
            if self.peer_ended and kind is Type.END:
                raise PeerError("a second end")
            return
        if kind in OPENING:
            if item != self._last_theirs + 2 or self.peer_ended:
                raise PeerError(f"{kind.name} opens item {item} out of turn")
            live = len(self._items)
            if live >= _ITEMS and sum(one % 2 == item % 2 for one in self._items) >= _ITEMS:
                raise PeerError(f"more than {_ITEMS} items at once")
            return
        side = self._their_side(item)
        state = self._items.get(item)
        if state is None:
            # Credit and aborts may cross the end of an item; nothing else can.
            late = item < self._next_own if side is Side.TARGET else item <= self._last_theirs
            if not late or kind not in (Type.CREDIT, Type.ABORT):
                raise PeerError(f"{kind.name} on item {item}, which is not open")
            return
        if not state.takes(side, kind):
            raise PeerError(f"{kind.name} on item {item} while {state.of(side).name}")
        if kind in CREDITED:
            state.credit -= OVERHEAD + header.size
            if state.credit < 0:
                raise PeerError(f"more data than credit on item {item}")

    def _take(self, header: Header, payload: bytes | memoryview) -> None:
        self.chunks_in += 1
        kind, item = header.type, header.item
        read = READERS.get(kind)
        message = Data(payload, header.digest) if read is None else read.unpack(bytes(payload))
        if item == 0:
            self._take_own(message)
            return
        if kind in OPENING:
            self._last_theirs = item
            self._start(item, cast("Opening", message))
            self.events.append(Event(item, message, OVERHEAD + header.size))
            return
        state = self._items.get(item)
        if state is None:
            return
        side = self._their_side(item)
        dropped = state.dropped
        self._advance(item, state, side, message)
        if isinstance(message, Data):
            state.data += len(message.payload)
        elif isinstance(message, Credit):
            state.credit += message.number
        elif isinstance(message, Abort):
            # The answer: our side closes too, so the item is over for both.
            self.abort(item, Abort(message.code, b"", ""))
        if not dropped:
            self.events.append(Event(item, message, OVERHEAD + header.size))

    def _take_own(self, message: Message) -> None:
        match message:
            case Ping(number):
                self._say(Pong(number))
            case End():
                self.peer_ended = True
            case Failure():
                raise ConnectionLost("the peer gave the connection up; its log says why")
            case _:
                assert isinstance(message, Pong)
                self.ponged = message.number

    def _start(self, item: int, message: Opening) -> None:
        """Put a new item into the states its opening leaves it in; over, it is not kept."""
        whole, receipt_wanted = message.whole, message.receipt_wanted
        if whole and not receipt_wanted:
            return
        opener, target = OPENED[message.type, whole, receipt_wanted]
        self._items[item] = Item(opener, target, INITIAL_CREDIT)

    def _advance(self, item: int, state: Item, side: Side, message: Message) -> None:
        state.advance(side, message)
        if state.over:
            del self._items[item]


def data(payload: bytes | bytearray | memoryview) -> Data:
    """Return the data message of at most one node of bytes."""
    return Data(payload, node_digest(payload))
