from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from objxfer.errors import (
    ConnectionLost,
    ExitCode,
    IntegrityError,
    ObjxferError,
    PeerError,
)
from objxfer.files.entries import Action, Answer, Entry, Kind, Receipt, Verdict
from objxfer.limits import KIB, MIB, Limits
from objxfer.protocol.answers import Accept, Receipts, Wanted
from objxfer.protocol.chunks import ENTRIES_LIMIT, OVERHEAD, PAYLOAD_LIMIT, Type
from objxfer.protocol.hello import Mode
from objxfer.protocol.messages import (
    Abort,
    Credit,
    Data,
    Done,
    End,
    Failure,
    Message,
    Object,
    Opening,
    Ping,
    Taken,
)
from objxfer.protocol.session import INITIAL_CREDIT, Event, Session, data
from objxfer.protocol.trees import Entries, Fate, File, FileEnd, Flush, Offer, Pack, Packed
from support.handshakes import agreed, client, server
from support.messages import EXAMPLES, LARGE, OFFER
from support.pair import (
    Cut,
    Pair,
    at_random,
    byte_by_byte,
    chunk,
    feed,
    heard,
    own_memory,
    packed,
    whole,
    written,
)

ABORT: Final = Abort(ExitCode.REFUSED, b"photos/a", "no")
NODE: Final = data(bytes(MIB))
SMALL: Final = EXAMPLES[Type.OBJECT]
FAILURE_SIZE: Final = OVERHEAD


class Line(NamedTuple):
    """One thing that is said in ``TOUR``."""

    by_client: bool
    item: int
    message: Message


def _tour() -> Iterator[Line]:
    """A short connection in which each type of message is said."""
    yield Line(True, 0, Ping(1))
    yield Line(True, 1, EXAMPLES[Type.OBJECT])
    yield Line(True, 3, EXAMPLES[Type.OBJECTS])
    yield Line(True, 5, Object("raw", 1, (4,), receipt_wanted=True, content=None))
    yield Line(True, 5, data(b"h"))
    yield Line(False, 5, Credit(113))
    yield Line(True, 5, data(b"body"))
    yield Line(True, 5, Done())
    yield Line(False, 5, Taken())
    yield Line(True, 7, Offer((b"t",), b"", None, 3, 9))
    yield Line(False, 7, Accept(4))
    yield Line(True, 7, Entries([Entry(b"t/%d" % at, Kind.FILE, 3) for at in range(4)]))
    yield Line(False, 7, Wanted([Verdict(Answer.WANTED)] * 3 + [Verdict(Answer.UNCHANGED)]))
    yield Line(True, 7, Pack([Packed(Fate.READ, 3, 0, 0o600), Packed(Fate.LOST, 0, 0, 0)]))
    yield Line(True, 7, data(b"abc"))
    yield Line(True, 7, File(3, 0, 0o600))
    yield Line(True, 7, data(b"ab"))
    yield Line(True, 7, data(b"c"))
    yield Line(True, 7, FileEnd(Fate.READ, 3))
    yield Line(True, 7, Flush())
    yield Line(False, 7, Receipts([Receipt(Action.RECEIVED, 3, b"d" * 32, True)] * 2))
    yield Line(True, 7, Done())
    yield Line(False, 7, Done())
    yield Line(False, 2, OFFER)
    yield Line(True, 2, ABORT)
    yield Line(True, 0, End())
    yield Line(False, 0, End())


TOUR: Final = list(_tour())


def say(session: Session, line: Line) -> None:
    """Have a session say a line of the tour; its items are numbered by themselves."""
    message = line.message
    if isinstance(message, Ping):
        session.ping(message.number)
    elif isinstance(message, End):
        session.end()
    elif isinstance(message, Opening):
        assert session.open(message) == line.item
    elif isinstance(message, Abort):
        session.abort(line.item, message)
    else:
        assert session.send(line.item, message)


def plain(events: list[Event]) -> list[Event]:
    """The events with payloads that compare by what they hold."""
    return [
        Event(item, Data(bytes(message.payload), message.digest), size)
        if isinstance(message, Data)
        else Event(item, message, size)
        for item, message, size in events
    ]


def expected(*, of_client: bool) -> list[Event]:
    """What one side hears of the tour."""
    return [
        Event(item, message, OVERHEAD + len(packed(message)))
        for by_client, item, message in TOUR
        if by_client is not of_client and item
    ]


# --- everything said is heard, however it is cut ---


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    "cut", [whole, byte_by_byte, at_random(1, 7), at_random(2, 200), at_random(3)]
)
def test_what_is_said_is_heard_however_it_is_cut(cut: Cut, mode: Mode) -> None:
    pair = Pair(mode, cut=cut)
    for line in TOUR:
        say(pair.client if line.by_client else pair.server, line)
        pair.carry()
    assert plain(heard(pair.server)) == expected(of_client=False)
    # The server answers the abort of its offer; nobody waits for that.
    assert plain(heard(pair.client)) == [
        event for event in expected(of_client=True) if event.message.type is not Type.ABORT
    ]
    for session in (pair.client, pair.server):
        assert session.ended
        assert session.peer_ended
        assert not any(session.live(line.item) for line in TOUR)
        assert (session.proof is None) is (mode is Mode.NONE)
    assert pair.client.bytes_in == pair.server.bytes_out == pair.server.bytes_queued
    assert pair.server.bytes_in == pair.client.bytes_out == pair.client.bytes_queued


@pytest.mark.parametrize("longest", [5000, 65_537, 300_000, 3_000_000])
def test_large_and_small_messages_are_heard_in_order(longest: int) -> None:
    pair = Pair(cut=at_random(4, longest))
    contents = [b"a" * size for size in (1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB, 7)]
    entries = [Entry(b"p" * 4000, Kind.FILE) for _ in range(60)]
    item = pair.client.open(Object("raw", 5, (), receipt_wanted=False, content=None))
    offer = pair.client.open(Offer((b"t" * 255,) * 4000, b"", None, 0, 0))
    for content in contents:
        assert pair.client.send(item, data(content))
    pair.carry()
    pair.say(pair.server, offer, Accept(4096))
    pair.say(pair.client, offer, Entries(entries))
    messages = [event.message for event in heard(pair.server)]
    assert [bytes(one.payload) for one in messages if isinstance(one, Data)] == contents
    assert messages[-1] == Entries(entries)


def test_a_million_entries() -> None:
    pair = Pair()
    item = pair.client.open(OFFER)
    pair.carry()
    pair.say(pair.server, item, Accept(4096))
    batch = Entries([Entry(b"top/%08d" % at, Kind.FILE, at) for at in range(4000)])
    assert len(batch.pack()) <= ENTRIES_LIMIT
    count = 0
    for _ in range(250):
        while not pair.client.send(item, batch):
            pair.say(pair.server, item, Credit(INITIAL_CREDIT))
        pair.carry()
        for event in heard(pair.server):
            if isinstance(event.message, Entries):
                count += len(event.message.entries)
    assert count == 1_000_000
    assert pair.server.failure is None


def test_large_payload_is_passed_on_not_copied() -> None:
    session = Pair().client
    payload = memoryview(bytearray(MIB))
    item = session.open(LARGE)
    assert session.send(item, Data(payload, NODE.digest))
    assert session.outgoing[-1] is payload
    assert session.queued == session.bytes_queued == sum(map(len, session.outgoing))


@pytest.mark.parametrize("step", [1, 50, 5000])
def test_what_is_written_is_taken_off(step: int) -> None:
    pair = Pair()
    item = pair.client.open(LARGE)
    pair.client.send(item, data(b"x" * 70_000))
    stream = b"".join(pair.client.outgoing)[:6000]
    taken = bytearray()
    while len(taken) < len(stream):
        taken += b"".join(pair.client.outgoing)[:step]
        pair.client.sent(step)
    assert taken.startswith(stream)
    assert pair.client.bytes_out == len(taken)


# --- damage ---


def _record() -> list[Line | bytes]:
    """The tour as a server lives through it: what it says, and what comes of the client."""
    pair = Pair()
    record: list[Line | bytes] = []
    for line in TOUR:
        say(pair.client if line.by_client else pair.server, line)
        if line.by_client:
            record.append(b"".join(pair.client.outgoing))
        else:
            record.append(line)
        pair.carry()
    return record


RECORD: Final = _record()
SIZE: Final = sum(len(part) for part in RECORD if isinstance(part, bytes))


def live_through(session: Session, record: list[Line | bytes]) -> None:
    for part in record:
        if isinstance(part, bytes):
            feed(session, part)
        else:
            say(session, part)


def with_a_bit_flipped(at: int) -> list[Line | bytes]:
    record = []
    for part in RECORD:
        if isinstance(part, bytes):
            if 0 <= at < len(part):
                part = part[:at] + bytes((part[at] ^ 1 << at % 8,)) + part[at + 1 :]
                at = -1
            else:
                at -= len(part)
        record.append(part)
    return record


def cut_off(end: int) -> list[Line | bytes]:
    record: list[Line | bytes] = []
    for part in RECORD:
        if isinstance(part, bytes):
            if len(part) > end:
                return [*record, part[:end]]
            end -= len(part)
        record.append(part)
    return record


def is_prefix(events: list[Event], of: list[Event]) -> bool:
    return plain(events) == of[: len(events)]


def test_the_record_is_the_tour() -> None:
    session = Pair().server
    live_through(session, RECORD)
    assert session.peer_ended
    assert plain(heard(session)) == expected(of_client=False)


def test_no_flipped_bit_goes_unseen() -> None:
    right = expected(of_client=False)
    for at in range(SIZE):
        session = Pair().server
        with pytest.raises(IntegrityError):
            live_through(session, with_a_bit_flipped(at))
        assert is_prefix(heard(session), right)
        assert isinstance(session.failure, IntegrityError)


def test_no_cut_looks_like_an_end() -> None:
    right = expected(of_client=False)
    for end in range(SIZE):
        session = Pair().server
        live_through(session, cut_off(end))
        assert not session.peer_ended
        assert is_prefix(heard(session), right)
        error = session.lost()
        assert isinstance(error, ConnectionLost)
        assert session.failure is error
        with pytest.raises(ConnectionLost):
            session.open(LARGE)


def test_a_stream_that_ends_behind_an_end_is_no_failure() -> None:
    pair = Pair()
    pair.client.end()
    pair.carry()
    pair.server.lost()
    assert pair.server.failure is None


def pings(count: int, pair: Pair) -> list[bytes]:
    chunks = []
    for number in range(count):
        pair.client.ping(number)
        chunks.append(written(pair.client))
    return chunks


@pytest.mark.parametrize(
    "order",
    [
        pytest.param((0, 2), id="dropped"),
        pytest.param((0, 1, 1, 2), id="repeated"),
        pytest.param((1, 0, 2), id="swapped"),
        pytest.param((2,), id="the first ones dropped"),
    ],
)
def test_chunks_come_in_their_order_each_once(order: tuple[int, ...]) -> None:
    pair = Pair()
    chunks = pings(3, pair)
    with pytest.raises(IntegrityError):
        feed(pair.server, b"".join(chunks[at] for at in order))


def test_a_chunk_sent_back_is_no_chunk() -> None:
    pair = Pair()
    (ping,) = pings(1, pair)
    with pytest.raises(IntegrityError):
        feed(pair.client, ping)


def test_a_chunk_of_another_connection_is_no_chunk() -> None:
    pair = Pair(Mode.NONE)
    (ping,) = pings(1, Pair())
    with pytest.raises(IntegrityError):
        feed(pair.server, ping)


def test_a_chunk_cannot_be_moved_to_another_item() -> None:
    pair = Pair()
    for _ in range(2):
        pair.client.open(LARGE)
    pair.carry()
    pair.client.send(1, data(b"hello"))
    said = bytearray(written(pair.client))
    said[7] = 3
    with pytest.raises(IntegrityError):
        feed(pair.server, bytes(said))


def test_a_payload_is_not_used_before_its_digest_holds() -> None:
    pair = Pair()
    said = bytearray(chunk(pair.client_sealer, Type.OFFER, 1, packed(OFFER)))
    said[-1] ^= 1
    with pytest.raises(IntegrityError, match="digest"):
        feed(pair.server, bytes(said))
    assert not pair.server.events
    assert not pair.server.live(1)


# --- sizes ---


def no_memory(_item: int, _at: int, _size: int) -> memoryview:
    raise AssertionError("memory was asked for")


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (Type.DATA, 0),
        (Type.DATA, MIB + 1),
        (Type.DATA, 2**32 - 1),
        (Type.CREDIT, PAYLOAD_LIMIT[Type.CREDIT] + 1),
    ],
)
def test_a_size_is_judged_before_there_is_memory_for_it(kind: Type, size: int) -> None:
    pair = Pair(landing=no_memory)
    pair.client.open(LARGE)
    pair.carry()
    with pytest.raises(PeerError):
        feed(pair.server, chunk(pair.client_sealer, kind, 1, size=size))


def test_huge_sizes_inside_an_object_are_only_numbers_here() -> None:
    pair = Pair(landing=no_memory)
    huge = Object("raw", 2**32 - 1, (2**63, 2**64 - 1), receipt_wanted=False, content=None)
    pair.client.open(huge)
    pair.carry()
    assert heard(pair.server)[0].message == huge


def test_a_credit_may_be_huge_and_is_never_nothing() -> None:
    pair = Pair()
    pair.client.open(LARGE)
    pair.carry()
    pair.say(pair.server, 1, Credit(2**63))
    with pytest.raises(PeerError, match="a credit of 0"):
        feed(pair.client, chunk(pair.server_sealer, Type.CREDIT, 1, bytes(8)))


# --- credit ---


def test_data_waits_for_credit_and_its_chunks_count() -> None:
    pair = Pair()
    item = pair.client.open(LARGE)
    for _ in range(7):
        assert pair.client.send(item, NODE)
    queued = pair.client.bytes_queued
    assert not pair.client.send(item, NODE)
    assert pair.client.bytes_queued == queued
    left = INITIAL_CREDIT - 7 * (OVERHEAD + MIB)
    assert not pair.client.send(item, data(bytes(left - OVERHEAD + 1)))
    assert pair.client.send(item, data(bytes(left - OVERHEAD)))
    assert not pair.client.send(item, data(b"x"))
    assert pair.client.send(item, Done())  # needs none


def test_a_credit_lets_as_much_more_come() -> None:
    pair = Pair()
    item = pair.client.open(LARGE)
    while pair.client.send(item, NODE):
        pair.carry()
    left = INITIAL_CREDIT - 7 * (OVERHEAD + MIB)
    pair.say(pair.server, item, Credit(OVERHEAD + MIB - left - 1))
    assert not pair.client.send(item, NODE)
    pair.say(pair.server, item, Credit(1))
    assert pair.client.send(item, NODE)
    pair.carry()
    assert pair.server.failure is None


@pytest.mark.parametrize("kind", [Type.DATA, Type.ENTRIES])
def test_more_data_than_credit_is_an_error(kind: Type) -> None:
    pair = Pair()
    pair.client.open(LARGE if kind is Type.DATA else OFFER)
    pair.carry()
    if kind is Type.ENTRIES:
        pair.say(pair.server, 1, Accept(4096))
    payload = bytes(MIB)
    if kind is Type.ENTRIES:
        payload = Entries([Entry(b"p" * 4000, Kind.FILE)] * 60).pack()
    fitting = INITIAL_CREDIT // (OVERHEAD + len(payload))
    for _ in range(fitting):
        feed(pair.server, chunk(pair.client_sealer, kind, 1, payload))
    heard(pair.server)
    with pytest.raises(PeerError, match="more data than credit"):
        feed(pair.server, chunk(pair.client_sealer, kind, 1, payload)[:OVERHEAD])


def test_items_have_their_own_credit() -> None:
    pair = Pair()
    first, second = pair.client.open(LARGE), pair.client.open(LARGE)
    while pair.client.send(first, NODE):
        pass
    assert pair.client.send(second, NODE)


# --- items ---


@pytest.mark.parametrize("item", [0, 2, 3, 4, 5, 2**32 - 1])
def test_items_are_opened_in_turn(item: int) -> None:
    pair = Pair()
    with pytest.raises(PeerError):
        feed(pair.server, chunk(pair.client_sealer, Type.OBJECT, item, packed(SMALL)))


def test_no_item_is_opened_twice() -> None:
    pair = Pair()
    opening = packed(SMALL)
    for item in (1, 3):
        feed(pair.server, chunk(pair.client_sealer, Type.OBJECT, item, opening))
    with pytest.raises(PeerError, match="out of turn"):
        feed(pair.server, chunk(pair.client_sealer, Type.OBJECT, 3, opening))


def test_the_client_opens_odd_items_and_the_server_even_ones() -> None:
    pair = Pair()
    assert [pair.client.open(LARGE), pair.client.open(OFFER)] == [1, 3]
    assert [pair.server.open(LARGE), pair.server.open(OFFER)] == [2, 4]
    pair.carry()
    assert [event.item for event in heard(pair.client)] == [2, 4]


def test_so_many_items_may_be_open_at_once_and_no_more() -> None:
    pair = Pair()
    for _ in range(1024):
        pair.client.open(LARGE)
        pair.server.open(LARGE)
    pair.carry()
    pair.client.send(1, Done())
    pair.client.open(SMALL_OBJECT)  # one is over, there is room for one
    pair.client.open(LARGE)
    pair.carry()
    assert len(heard(pair.server)) == 1024 + 3
    with pytest.raises(PeerError, match="more than 1024 items"):
        feed(pair.server, chunk(pair.client_sealer, Type.OBJECT, 2053, packed(SMALL)))


SMALL_OBJECT: Final = Object("raw", 1, (), receipt_wanted=False, content=b"x")


def test_what_small_objects_leave_behind_is_nothing() -> None:
    pair = Pair()
    for _ in range(3000):
        pair.client.open(SMALL_OBJECT)
    pair.carry()
    assert len(heard(pair.server)) == 3000
    assert not pair.server.live(1)


@pytest.mark.parametrize("kind", set(Type) - {Type.END, Type.PING, Type.PONG, Type.FAILURE})
def test_only_openings_are_said_on_items_that_never_were(kind: Type) -> None:
    for item in (2, 3):
        pair = Pair()
        with pytest.raises(PeerError):
            feed(pair.server, chunk(pair.client_sealer, kind, item, packed(EXAMPLES[kind])))


def test_only_credit_and_aborts_may_come_late() -> None:
    late = {Type.CREDIT, Type.ABORT}
    items = set(Type) - {Type.END, Type.PING, Type.PONG, Type.FAILURE}
    for kind in items:
        pair = Pair()
        item = pair.client.open(LARGE)
        pair.say(pair.client, item, Done())
        on_wire = chunk(pair.server_sealer, kind, item, packed(EXAMPLES[kind]))
        if kind in late:
            feed(pair.client, on_wire)
            assert not pair.client.events
            assert not pair.client.queued
        else:
            with pytest.raises(PeerError):
                feed(pair.client, on_wire)


def test_credit_crosses_the_end_of_an_item() -> None:
    pair = Pair()
    item = pair.client.open(LARGE)
    pair.carry()
    pair.server.send(item, Credit(1000))
    pair.client.send(item, Done())
    pair.carry()
    assert not pair.client.live(item)
    assert pair.client.failure is None


def test_a_late_message_is_checked_before_it_is_thrown_away() -> None:
    pair = Pair()
    item = pair.client.open(LARGE)
    pair.say(pair.client, item, Done())
    with pytest.raises(PeerError, match="a credit of 0"):
        feed(pair.client, chunk(pair.server_sealer, Type.CREDIT, item, bytes(8)))


# --- aborts ---


def test_what_comes_of_an_aborted_item_is_thrown_away() -> None:
    pair = Pair(landing=no_memory)
    item = pair.client.open(LARGE)
    pair.carry()
    heard(pair.server)
    pair.server.abort(item, ABORT)
    pair.client.send(item, NODE)  # before the abort has come
    feed(pair.server, written(pair.client))
    assert not pair.server.events
    assert pair.server.live(item)
    pair.carry()
    assert [event.message for event in heard(pair.client)] == [ABORT]
    assert not pair.client.live(item)
    assert not pair.server.live(item)
    assert not pair.server.events  # the answer is nobody's business


def test_what_comes_of_an_aborted_item_is_still_checked() -> None:
    pair = Pair()
    item = pair.client.open(LARGE)
    pair.carry()
    pair.server.abort(item, ABORT)
    with pytest.raises(PeerError, match="ENTRIES on item 1 while BODY"):
        feed(
            pair.server, chunk(pair.client_sealer, Type.ENTRIES, 1, packed(EXAMPLES[Type.ENTRIES]))
        )


def test_credit_is_counted_for_aborted_items_too() -> None:
    pair = Pair()
    item = pair.client.open(LARGE)
    pair.carry()
    pair.server.abort(item, ABORT)
    payload = bytes(MIB)
    for _ in range(7):
        feed(pair.server, chunk(pair.client_sealer, Type.DATA, item, payload))
    with pytest.raises(PeerError, match="credit"):
        feed(pair.server, chunk(pair.client_sealer, Type.DATA, item, payload))


def test_an_item_aborted_while_its_data_comes_ends_well() -> None:
    pair = Pair()
    item = pair.client.open(LARGE)
    pair.client.send(item, NODE)
    said = written(pair.client)
    feed(pair.server, said[:-1])
    pair.server.abort(item, ABORT)
    feed(pair.server, said[-1:])
    pair.carry()
    assert [event.message.type for event in heard(pair.server)] == [Type.OBJECT]
    assert not pair.server.live(item)


def test_an_item_that_ends_while_a_message_of_it_comes_ends_well() -> None:
    pair = Pair()
    item = pair.client.open(LARGE)
    pair.carry()
    pair.server.send(item, Credit(5))
    said = written(pair.server)
    feed(pair.client, said[:-1])
    pair.client.send(item, Done())
    feed(pair.client, said[-1:])
    assert not pair.client.events
    assert pair.client.failure is None


def test_aborting_what_is_over_says_nothing() -> None:
    pair = Pair()
    item = pair.client.open(LARGE)
    pair.say(pair.client, item, Done())
    pair.client.abort(item, ABORT)
    assert not pair.client.queued


def test_an_aborted_item_does_not_touch_another() -> None:
    pair = Pair()
    first, second = pair.client.open(LARGE), pair.client.open(LARGE)
    pair.carry()
    pair.client.abort(first, ABORT)
    pair.carry()
    heard(pair.server)
    pair.say(pair.client, second, data(b"hello"))
    pair.say(pair.client, second, Done())
    assert [event.message.type for event in heard(pair.server)] == [Type.DATA, Type.DONE]


# --- the connection itself ---


def test_a_ping_is_answered_with_its_number() -> None:
    pair = Pair()
    pair.client.ping(2**64 - 1)
    feed(pair.server, written(pair.client))
    answer = written(pair.server)
    assert answer == chunk(Pair().server_sealer, Type.PONG, 0, b"\xff" * 8)
    feed(pair.client, answer)
    assert not pair.client.events
    assert pair.client.chunks_in == 1


def test_who_never_reads_the_answers_is_given_up() -> None:
    pair = Pair()
    for _ in range(9):
        item = pair.server.open(LARGE)
        while pair.server.send(item, NODE):
            pass
    pair.client.ping(1)
    feed(pair.server, written(pair.client))
    pair.server.open(LARGE)
    item = pair.server.open(LARGE)
    while pair.server.send(item, NODE):
        pass
    pair.client.ping(2)
    with pytest.raises(PeerError, match="does not read"):
        feed(pair.server, written(pair.client))


def test_behind_the_end_only_answers_are_said() -> None:
    pair = Pair()
    item = pair.server.open(Object("raw", 1, (), receipt_wanted=True, content=b"x"))
    pair.client.end()
    pair.client.end()
    pair.carry()
    pair.server.ping(1)
    pair.carry()
    pair.say(pair.client, item, Taken())
    assert [event.message for event in heard(pair.server)] == [Taken()]
    assert pair.server.peer_ended


@pytest.mark.parametrize("kind", [Type.END, Type.OBJECT, Type.OBJECTS, Type.OFFER])
def test_behind_the_end_nothing_is_opened_and_nothing_ended(kind: Type) -> None:
    pair = Pair()
    pair.client.end()
    pair.carry()
    item = 0 if kind is Type.END else 1
    with pytest.raises(PeerError):
        feed(pair.server, chunk(pair.client_sealer, kind, item, packed(EXAMPLES[kind])))


def test_each_direction_ends_by_itself() -> None:
    pair = Pair()
    pair.client.end()
    pair.carry()
    assert pair.server.open(SMALL_OBJECT) == 2
    pair.carry()
    assert heard(pair.client)[0].message == SMALL_OBJECT


def test_who_gives_up_says_so_and_the_other_side_has_lost_the_connection() -> None:
    pair = Pair()
    pair.client.give_up()
    with pytest.raises(ConnectionLost, match="gave the connection up"):
        pair.carry()
    assert isinstance(pair.server.failure, ConnectionLost)


def test_who_has_ended_has_nothing_to_give_up() -> None:
    pair = Pair()
    pair.client.end()
    pair.client.give_up()
    pair.carry()
    assert pair.server.peer_ended
    assert pair.server.failure is None


# --- failure ---


@pytest.mark.parametrize("error", [IntegrityError, PeerError])
def test_a_failure_is_the_last_word_and_stays(error: type[ObjxferError]) -> None:
    pair = Pair()
    item = pair.server.open(LARGE)
    pair.carry()
    bad = bytes(OVERHEAD)
    if error is PeerError:
        bad = chunk(pair.client_sealer, Type.DONE, 1)
    with pytest.raises(error) as first:
        feed(pair.server, bad)
    assert pair.server.failure is first.value
    last_words = b"".join(pair.server.outgoing)
    for call in (
        lambda: feed(pair.server, b"more"),
        lambda: pair.server.send(item, Done()),
        lambda: pair.server.open(LARGE),
    ):
        with pytest.raises(error) as again:
            call()
        assert again.value is first.value
    pair.server.end()
    pair.server.abort(item, ABORT)
    pair.server.give_up()
    assert b"".join(pair.server.outgoing) == last_words
    assert len(last_words) == FAILURE_SIZE
    with pytest.raises(ConnectionLost, match="gave the connection up"):
        feed(pair.client, last_words)


def test_a_peer_learns_nothing_of_why() -> None:
    words = []
    for bad in (bytes(OVERHEAD), chunk(Pair().client_sealer, Type.DONE, 1)):
        pair = Pair()
        with pytest.raises(ObjxferError):
            feed(pair.server, bad)
        words.append(written(pair.server))
    assert words[0] == words[1] == chunk(Pair().server_sealer, Type.FAILURE, 0)


def test_the_end_of_the_stream_does_not_hide_a_failure() -> None:
    pair = Pair()
    with pytest.raises(IntegrityError):
        feed(pair.server, bytes(OVERHEAD))
    pair.server.lost()
    assert isinstance(pair.server.failure, IntegrityError)


@pytest.mark.parametrize("message", [Done(), EXAMPLES[Type.WANTED], Taken(), Failure()])
def test_our_own_mistakes_are_found_before_they_are_said(message: Message) -> None:
    session = Pair().client
    item = session.open(OFFER)
    queued = session.bytes_queued
    with pytest.raises(AssertionError):
        session.send(item, message)
    with pytest.raises(AssertionError):
        session.send(item + 2, message)
    assert session.bytes_queued == queued


def test_nothing_of_ours_is_opened_behind_our_end() -> None:
    session = Pair().client
    session.end()
    with pytest.raises(AssertionError):
        session.open(LARGE)


# --- what came behind the proof ---


def server_with_early(early: bytes) -> Session:
    one, other = client(), server()
    proof = one.receive(other.receive(one.greeting()))
    other.receive(proof + early)
    assert other.established is not None
    return Session(other.established, Limits(), own_memory)


def test_what_came_behind_the_proof_is_heard_at_once() -> None:
    one, _ = agreed()
    said = chunk(one.sealer, Type.OBJECT, 1, packed(SMALL)) + chunk(
        one.sealer, Type.PING, 0, bytes(8)
    )
    session = server_with_early(said[:-3])
    assert [event.message for event in heard(session)] == [SMALL]
    feed(session, said[-3:])
    assert session.queued == OVERHEAD + 8
    assert session.bytes_in == len(said)


def test_garbage_behind_the_proof_is_a_failure_that_waits_to_be_heard_of() -> None:
    session = server_with_early(bytes(OVERHEAD))
    assert isinstance(session.failure, IntegrityError)
    assert session.queued == FAILURE_SIZE
    with pytest.raises(IntegrityError):
        session.open(LARGE)


# --- where payload lands ---


def test_large_payload_lands_where_it_is_wanted() -> None:
    memory = memoryview(bytearray(2 * MIB + 100_000))
    asked: list[tuple[int, int, int]] = []

    def landing(item: int, at: int, size: int) -> memoryview:
        asked.append((item, at, size))
        return memory[at : at + size]

    pair = Pair(landing=landing, cut=at_random(5, 100_000))
    item = pair.client.open(LARGE)
    contents = [b"a" * MIB, b"b" * 10, b"c" * 64 * KIB]
    for content in contents:
        pair.say(pair.client, item, data(content))
    assert asked == [(item, 0, MIB), (item, MIB + 10, 64 * KIB)]
    messages = [event.message for event in heard(pair.server)[1:]]
    payloads = [one.payload for one in messages if isinstance(one, Data)]
    assert [bytes(payload) for payload in payloads] == contents
    assert bytes(memory[:MIB]) == contents[0]
    assert bytes(memory[MIB + 10 : MIB + 10 + 64 * KIB]) == contents[2]
    assert isinstance(payloads[2], memoryview)
    assert payloads[2].obj is memory.obj


def test_without_memory_nothing_more_is_read_until_there_is_some() -> None:
    free: list[memoryview] = []
    pair = Pair(landing=lambda _item, _at, _size: free.pop() if free else None)
    item = pair.client.open(LARGE)
    pair.client.send(item, NODE)
    pair.client.ping(1)
    said = written(pair.client)
    buffer = pair.server.get_buffer()
    assert buffer is not None
    size = len(buffer)
    buffer[:] = said[:size]
    pair.server.received(size)
    stalled = pair.server.stalled
    assert stalled
    assert pair.server.get_buffer() is None
    assert pair.server.get_buffer() is None
    free.append(memoryview(bytearray(MIB)))
    feed(pair.server, said[size:])
    stalled = pair.server.stalled
    assert not stalled
    assert not free
    assert [event.message.type for event in heard(pair.server)] == [Type.OBJECT, Type.DATA]
    assert pair.server.queued == OVERHEAD + 8  # the pong


def test_a_payload_that_had_come_whole_is_taken_when_there_is_memory() -> None:
    free: list[memoryview] = []
    pair = Pair(landing=lambda _item, _at, _size: free.pop() if free else None)
    item = pair.client.open(LARGE)
    pair.client.send(item, data(b"x" * 70_000))
    feed(pair.server, written(pair.client))
    assert pair.server.get_buffer() is None
    free.append(memoryview(bytearray(70_000)))
    assert pair.server.get_buffer() is not None
    assert len(heard(pair.server)) == 2


def test_a_stalled_payload_is_checked_like_any_other() -> None:
    free: list[memoryview] = []
    pair = Pair(landing=lambda _item, _at, _size: free.pop() if free else None)
    item = pair.client.open(LARGE)
    pair.client.send(item, data(b"x" * 70_000))
    said = bytearray(written(pair.client))
    said[-1] ^= 1
    feed(pair.server, bytes(said))
    free.append(memoryview(bytearray(70_000)))
    with pytest.raises(IntegrityError):
        pair.server.get_buffer()
    with pytest.raises(IntegrityError):
        pair.server.received(0)
