"""Chunks under tags that are right: all that a peer with the key can say, in whatever order.

An input is what happens on a connection, step by step: the peer says a chunk, whose header and
payload are what the input makes of them, or the tested side says something of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from fuzz.harness import Choices, Harness, cut
from objxfer.errors import ConnectionLost, ExitCode, IntegrityError, ObjxferError, PeerError
from objxfer.files.digest import NODE
from objxfer.limits import KIB, MIB, Limits
from objxfer.protocol.chunks import (
    CONNECTION,
    HEADER,
    HEADER_SIZE,
    OPENING,
    OVERHEAD,
    VERSION,
    Type,
    pack_header,
    payload_digest,
    unpack_header,
)
from objxfer.protocol.fields import bytes16
from objxfer.protocol.messages import Abort
from objxfer.protocol.session import Session
from objxfer.security.sealing import Opener, Sealer
from support.handshakes import agreed
from support.messages import EXAMPLES, LARGE, OFFER
from support.pair import feed, heard, own_memory, packed, written

_BOTH: Final = agreed()
_OUR_KEY: Final = b"o" * 32
_THEIR_KEY: Final = b"t" * 32
_LIMITS: Final = Limits()
_ITEMS: Final = (0, 1, 2, 3, 4, 5, 6, 7)
_KINDS: Final = tuple(Type)
_SIZES: Final = (0, 1, 64 * KIB - 1, 64 * KIB, 128 * KIB, 256 * KIB, 1 * MIB, 1 * MIB + 1)
_PIECES: Final = (1, 7, 64, 1000, 2 * MIB)
_MOST_PIECES: Final = 100
_ENDS: Final = (IntegrityError, PeerError, ConnectionLost)
_OWN: Final = [one for kind, one in EXAMPLES.items() if kind not in OPENING | CONNECTION]


def _feed(said: bytes) -> None:
    choices = Choices(said)
    _read(choices.take(HEADER_SIZE))
    established = _BOTH[choices.number() & 1]
    opener, sealer = Opener(_THEIR_KEY, authenticated=True), Sealer(_OUR_KEY)
    session = Session(replace(established, opener=opener, sealer=sealer), _LIMITS, own_memory)
    sealer, stream = Sealer(_THEIR_KEY), b""
    try:
        while choices:
            stream += _step(choices, session, sealer)
    except _ENDS as error:
        assert session.failure is error
        _check_dead(session, error)
    else:
        assert session.failure is None
    opener = Opener(_OUR_KEY, authenticated=True)
    _check_said(stream + written(session), opener, dead=session.failure is not None)


def _read(packed_header: bytes) -> None:
    if len(packed_header) == HEADER_SIZE:
        try:
            header = unpack_header(packed_header, _LIMITS.chunk)
        except PeerError:
            return
        assert pack_header(*header) == packed_header


def _step(choices: Choices, session: Session, sealer: Sealer) -> bytes:
    """Have one side say something; return what is written of the tested side's by that."""
    what, some = choices.number(), b""
    if what < 32:
        some = _say(choices, session)
    else:
        stream = _chunk(what, choices, sealer)
        piece = max(choices.one_of(_PIECES), len(stream) // _MOST_PIECES)
        feed(session, stream, lambda whole: cut(whole, piece))
    for event in heard(session):
        assert event.item > 0
        assert event.size >= OVERHEAD
    return some


def _chunk(what: int, choices: Choices, sealer: Sealer) -> bytes:
    """A chunk of the peer; only where ``what`` says so is there something wrong about it."""
    kind: int = choices.one_of(_KINDS)
    item = choices.one_of(_ITEMS)
    size = choices.number(2)
    if size >> 8 == 0xFF:
        payload = bytes([size & 0xF]) * _SIZES[size % len(_SIZES)]
    elif size & 0x8000:
        payload = packed(EXAMPLES[Type(kind)])
    else:
        payload = choices.take(size)
    said, raw, version, flags = len(payload), len(payload), VERSION, 0
    of_data = kind == Type.DATA and 0 < len(payload) <= NODE
    digest = payload_digest(Type.DATA if of_data else Type.END, payload)
    match what:
        case 32:
            said = raw = choices.number(4)
        case 33:
            raw = choices.number(4)
        case 34:
            kind, version = choices.number(), choices.number()
        case 35:
            flags, item = choices.number(2), choices.number(4)
        case 36:
            digest = choices.take(32).ljust(32)
        case _:
            pass
    header = HEADER.pack(version, kind, flags, item, said, raw, digest)
    tag = sealer.seal(header)
    return header + (choices.take(32).ljust(32) if what == 37 else tag) + payload


def _say(choices: Choices, session: Session) -> bytes:
    """Have the tested side say something that is legal now, or have some of it written."""
    match choices.number() % 8:
        case (0 | 1) as large:
            if not session.ended and len(session._items) < len(_ITEMS):
                session.open(LARGE if large else OFFER)
        case 2:
            session.ping(choices.number())
        case 3:
            session.end()
        case 4:
            size = min(choices.number(), session.queued)
            some = b"".join(session.outgoing)[:size]
            session.sent(size)
            return some
        case 5:
            session.abort(choices.one_of(_ITEMS), Abort(ExitCode.FAILED, b"", ""))
        case _:
            message, item = choices.one_of(_OWN), choices.one_of(_ITEMS)
            if not session.live(item):
                return b""
            if session._items[item].takes(session._own_side(item), message.type):
                session.send(item, message)
    return b""


def _check_dead(session: Session, error: ObjxferError) -> None:
    """Nothing more comes of a session that is dead."""
    for call in (lambda: session.received(0), lambda: session.open(LARGE)):
        try:
            call()
        except ObjxferError as again:
            assert again is error
        else:
            raise AssertionError("a dead session goes on")


def _check_said(stream: bytes, opener: Opener, *, dead: bool) -> None:
    """What the tested side said is well-formed, and its last word the generic one if it is dead."""
    kind = None
    while stream:
        packed_header = stream[:HEADER_SIZE]
        opener.check(packed_header, stream[HEADER_SIZE:OVERHEAD])
        header = unpack_header(packed_header, _LIMITS.chunk)
        kind, stream = header.type, stream[OVERHEAD + header.size :]
    assert (kind is Type.FAILURE) == dead


def _seeds() -> Iterator[bytes]:
    client, server = (pack_header(Type.DONE, 1, 0, bytes(32)) + bytes((role,)) for role in range(2))
    for kind in _KINDS:
        for begin, theirs in ((client, 2), (server, 1)):
            yield begin + _says(kind, 0 if kind in CONNECTION else theirs)
    offers, sends, ends, pings, aborts = (bytes((0, what)) for what in (0, 1, 3, 2, 5))
    answers = (Type.ACCEPT, Type.CREDIT, Type.WANTED, Type.COMPARED, Type.RECEIPTS, Type.DONE)
    tells = (Type.ENTRIES, Type.PACK, Type.DATA, Type.FILE, Type.NODES, Type.PATCH, Type.DATA)
    rest = (Type.FILE_END, Type.FLUSH, Type.DONE)
    # Each side sends the other one a tree.
    yield (
        client + offers + _says(Type.ACCEPT, 1) + b"".join(_own(kind, 1) for kind in tells + rest)
        + b"".join(_says(kind, 1) for kind in answers[1:]) + ends + _says(Type.END, 0)
    )  # fmt: skip
    yield (
        server + _says(Type.OFFER, 1) + _own(Type.ACCEPT, 1)
        + b"".join(_says(kind, 1) for kind in tells + rest)
        + b"".join(_own(kind, 1) for kind in answers[1:]) + pings + bytes((0, 4, 99))
    )  # fmt: skip
    # And objects, one of them of whole nodes, one given up.
    big = bytes((64, _KINDS.index(Type.DATA), 1, 0xFF, 0xFE, 3))
    large = bytes((64, _KINDS.index(Type.OBJECT), 1)) + bytes16(LARGE.pack()) + b"\4"
    yield server + large + big + big + _says(Type.DONE, 1) + sends + aborts + b"\2"
    yield client + sends + _own(Type.DATA, 1) + _own(Type.DONE, 1) + _says(Type.ABORT, 1)
    for what in (32, 33, 34, 35, 36, 37):
        yield server + _says(Type.OFFER, 1, what) + b"\1" * 40


def _says(kind: Type, item: int, what: int = 64) -> bytes:
    """The step in which the peer says the example of a message, all at once."""
    return bytes((what, _KINDS.index(kind), item, 0x80, 0, 4))


def _own(kind: Type, item: int) -> bytes:
    """The step in which the tested side does."""
    return bytes((0, 7, _OWN.index(EXAMPLES[kind]), item))


HARNESS: Final = Harness(_feed, _seeds, at_most=12 * MIB)
