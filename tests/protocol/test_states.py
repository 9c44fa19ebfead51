from __future__ import annotations

from typing import Final

import pytest

from objxfer.errors import ExitCode, PeerError
from objxfer.protocol.answers import Accept
from objxfer.protocol.chunks import CONNECTION, OPENING, Type
from objxfer.protocol.messages import Abort, Done, Message, Object, Taken
from objxfer.protocol.session import Session
from objxfer.protocol.states import ANSWERS, LEGAL, OPENED, Side, State
from objxfer.protocol.trees import Fate, File, FileEnd, Flush, Offer, Pack, Packed, Patch
from support.messages import EXAMPLES, LARGE, OFFER
from support.pair import Pair, chunk, feed, packed

LARGE_WITH_RECEIPT: Final = Object("raw", 5, (), receipt_wanted=True, content=None)
SMALL_WITH_RECEIPT: Final = Object("raw", 5, (), receipt_wanted=True, content=b"hello")
PACK: Final = Pack([Packed(Fate.READ, 5, 0, 0o600)])
FILE: Final = File(5, 0, 0o600)
ABORT: Final = Abort(ExitCode.REFUSED, b"", "enough")
OPENER, TARGET = Side.OPENER, Side.TARGET

# How a new item comes into each state: its opening, and what its two sides say then.
WAYS: Final[dict[tuple[Side, State], tuple[Object | Offer, list[tuple[Side, Message]]]]] = {
    (OPENER, State.BODY): (LARGE, []),
    (OPENER, State.OFFERED): (OFFER, []),
    (OPENER, State.OPEN): (OFFER, [(TARGET, Accept(9))]),
    (OPENER, State.FLUSHED): (OFFER, [(TARGET, Accept(9)), (OPENER, Flush())]),
    (OPENER, State.PACKED): (OFFER, [(TARGET, Accept(9)), (OPENER, PACK)]),
    (OPENER, State.IN_FILE): (OFFER, [(TARGET, Accept(9)), (OPENER, FILE)]),
    (OPENER, State.PATCHING): (
        OFFER,
        [(TARGET, Accept(9)), (OPENER, FILE), (OPENER, Patch(0))],
    ),
    (OPENER, State.CLOSED): (OFFER, [(TARGET, Accept(9)), (OPENER, Done())]),
    (TARGET, State.SILENT): (LARGE, []),
    (TARGET, State.HEARING): (LARGE_WITH_RECEIPT, []),
    (TARGET, State.OWING): (SMALL_WITH_RECEIPT, []),
    (TARGET, State.ASKED): (OFFER, []),
    (TARGET, State.ANSWERING): (OFFER, [(TARGET, Accept(9))]),
    (TARGET, State.LAST): (OFFER, [(TARGET, Accept(9)), (OPENER, Done())]),
}

# What each side may say then, written down apart from the tables that decide it.
MAY_SAY: Final = {
    (OPENER, State.BODY): "DATA DONE ABORT",
    (OPENER, State.OFFERED): "ABORT",
    (OPENER, State.OPEN): "ENTRIES PACK FILE FLUSH DONE ABORT",
    (OPENER, State.FLUSHED): "ENTRIES PACK FILE DONE ABORT",
    (OPENER, State.PACKED): "DATA ABORT",
    (OPENER, State.IN_FILE): "DATA NODES PATCH FILE_END ABORT",
    (OPENER, State.PATCHING): "DATA ABORT",
    (OPENER, State.CLOSED): "",
    (TARGET, State.SILENT): "CREDIT ABORT",
    (TARGET, State.HEARING): "CREDIT ABORT",
    (TARGET, State.OWING): "CREDIT TAKEN ABORT",
    (TARGET, State.ASKED): "ACCEPT ABORT",
    (TARGET, State.ANSWERING): "CREDIT WANTED RECEIPTS COMPARED ABORT",
    (TARGET, State.LAST): "CREDIT WANTED RECEIPTS COMPARED DONE ABORT",
}


def in_state(side: Side, state: State) -> tuple[Pair, Session, int]:
    """A pair with an item in a state, the session that listens to that side of it, and its id."""
    opening, steps = WAYS[side, state]
    pair = Pair()
    speaker, listener = (pair.client, pair.server) if side is OPENER else (pair.server, pair.client)
    opener, target = (speaker, listener) if side is OPENER else (listener, speaker)
    item = opener.open(opening)
    pair.carry()
    for who, message in steps:
        pair.say(opener if who is OPENER else target, item, message)
    listener.events.clear()
    return pair, listener, item


@pytest.mark.parametrize("kind", Type)
@pytest.mark.parametrize(("side", "state"), WAYS)
def test_what_is_legal_is_heard_and_nothing_else(side: Side, state: State, kind: Type) -> None:
    pair, listener, item = in_state(side, state)
    sealer = pair.client_sealer if side is OPENER else pair.server_sealer
    on_wire = chunk(sealer, kind, item, packed(EXAMPLES[kind]))
    if kind.name in MAY_SAY[side, state].split():
        feed(listener, on_wire)
        assert [event.message for event in listener.events] == [EXAMPLES[kind]]
    else:
        with pytest.raises(PeerError):
            feed(listener, on_wire)
        assert not listener.events


def test_every_state_is_reached_and_every_rule_used() -> None:
    assert set(WAYS) == set(MAY_SAY) == set(LEGAL) | {(OPENER, State.CLOSED)}
    for place, legal in LEGAL.items():
        assert {kind.name for kind in legal} | {"ABORT"} == set(MAY_SAY[place].split())
    assert {key[0] for key in OPENED} | {Type.OBJECTS} == OPENING
    assert {kind for _, kind in ANSWERS} <= {kind for legal in LEGAL.values() for kind in legal}


@pytest.mark.parametrize("kind", sorted(CONNECTION - {Type.FAILURE, Type.END}))
@pytest.mark.parametrize(("side", "state"), WAYS)
def test_the_connections_messages_do_not_touch_items(side: Side, state: State, kind: Type) -> None:
    pair, listener, item = in_state(side, state)
    sealer = pair.client_sealer if side is OPENER else pair.server_sealer
    feed(listener, chunk(sealer, kind, 0, packed(EXAMPLES[kind])))
    assert not listener.events
    assert listener.live(item)


def test_a_receipt_does_not_come_before_what_it_is_for() -> None:
    pair, listener, item = in_state(TARGET, State.HEARING)
    pair.say(listener, item, EXAMPLES[Type.DATA])
    with pytest.raises(PeerError, match="TAKEN on item 1 while HEARING"):
        feed(listener, chunk(pair.server_sealer, Type.TAKEN, item))


def test_a_receipt_behind_the_last_data_ends_the_item() -> None:
    pair, listener, item = in_state(TARGET, State.HEARING)
    pair.say(listener, item, EXAMPLES[Type.DATA])
    pair.say(listener, item, Done())
    pair.say(pair.server, item, Taken())
    assert not listener.live(item)
    assert not pair.server.live(item)


def test_a_pack_of_empty_files_has_no_data_behind_it() -> None:
    pair, listener, item = in_state(OPENER, State.OPEN)
    empty = Pack([Packed(Fate.READ, 0, 0, 0o600), Packed(Fate.LOST, 0, 0, 0)])
    pair.say(pair.client, item, empty)
    pair.say(pair.client, item, empty)
    with pytest.raises(PeerError, match="DATA on item 1 while OPEN"):
        feed(listener, chunk(pair.client_sealer, Type.DATA, item, b"hello"))


@pytest.mark.parametrize("steps", [[PACK, EXAMPLES[Type.DATA]], [FILE, FileEnd(Fate.LOST, 0)]])
def test_behind_a_pack_and_a_file_the_tree_goes_on(steps: list[Message]) -> None:
    pair, listener, item = in_state(OPENER, State.OPEN)
    for message in steps:
        pair.say(pair.client, item, message)
    pair.say(pair.client, item, Flush())
    assert [event.message for event in listener.events] == [*steps, Flush()]


@pytest.mark.parametrize("opening", [EXAMPLES[Type.OBJECT], EXAMPLES[Type.OBJECTS]])
def test_what_is_whole_and_wants_no_receipt_is_over_at_once(opening: Message) -> None:
    pair = Pair()
    feed(pair.server, chunk(pair.client_sealer, opening.type, 1, packed(opening)))
    assert [event.message for event in pair.server.events] == [opening]
    assert not pair.server.live(1)
    with pytest.raises(PeerError, match="not open"):
        feed(pair.server, chunk(pair.client_sealer, Type.DATA, 1, b"more"))


@pytest.mark.parametrize(("side", "state"), WAYS)
def test_an_abort_ends_an_item_for_both_whatever_its_state(side: Side, state: State) -> None:
    pair, listener, item = in_state(side, state)
    speaker = pair.client if side is OPENER else pair.server
    if state is State.CLOSED:
        speaker.abort(item, ABORT)  # has nothing left to end
        pair.carry()
        assert listener.live(item)
        speaker = listener
    speaker.abort(item, ABORT)
    pair.carry()
    assert not listener.live(item)
    assert not speaker.live(item)


@pytest.mark.parametrize(("side", "state"), WAYS)
def test_aborts_may_cross(side: Side, state: State) -> None:
    pair, listener, item = in_state(side, state)
    pair.client.abort(item, ABORT)
    pair.server.abort(item, ABORT)
    pair.carry()
    assert not pair.client.live(item)
    assert not pair.server.live(item)
    assert listener.failure is None
