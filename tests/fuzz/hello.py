"""Hellos, and both sides of a handshake in every mode, TLS left out.

An input is a hello, or whatever a peer says in its place. Where it begins with an odd number, the
peer also holds the secret, and goes on with the proof that suits what it said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from fuzz.harness import Choices, Harness, cut
from objxfer.errors import AuthenticationError, ProtocolMismatch
from objxfer.protocol.fields import bytes16
from objxfer.protocol.handshake import NOTHING, Find, Handshake, Held, Secret
from objxfer.protocol.hello import HELLO_LIMIT, Hello, Largest, Mode, Role, size_of
from objxfer.security.pairing import ELEMENT_SIZE
from objxfer.security.sealing import TAG_SIZE, Schedule, prove
from support.handshakes import ENCRYPTED_CHANNEL, hello

_SECRET: Final = bytes(range(100, 132))
_ELEMENT: Final = bytes(range(ELEMENT_SIZE))
_EARLY: Final = b"the first of the session"
_TESTED: Final = [(Role.SERVER, Mode.KEY), *((Role.CLIENT, mode) for mode in Mode)]
"""A server takes up every mode; a client has one."""


class _Outcome(NamedTuple):
    error: type[Exception] | None
    heard: bool
    in_by: Mode | None


def _feed(data: bytes) -> None:
    choices = Choices(data)
    proves, (role, mode), size = choices.number() & 1, choices.one_of(_TESTED), choices.number()
    said = choices.rest()
    _read(said)
    outcomes = [
        _meet(_tested(role, mode), pieces, proves=bool(proves))
        for pieces in ([said], cut(said, size or 1))
    ]
    assert outcomes[0] == outcomes[1], "it matters in which pieces a hello arrives"


def _read(said: bytes) -> None:
    with suppress(ProtocolMismatch):
        size = size_of(said)
        assert size is None or size <= HELLO_LIMIT
    try:
        theirs = Hello.unpack(said)
    except ProtocolMismatch:
        return
    assert size_of(said) == len(said)
    assert Hello.unpack(theirs.pack()) == theirs
    assert str(theirs).isprintable()


def _tested(role: Role, mode: Mode) -> Handshake:
    reached = hello(Role.SERVER).peer_id if mode is Mode.PAIR else bytes(16)
    own = hello(role, mode, intended=reached)
    if role is Role.CLIENT:
        return Handshake(own, ENCRYPTED_CHANNEL, _secret(mode))
    finds: dict[Mode, Find] = {each: lambda theirs: _secret(theirs.mode) for each in Mode}
    return Handshake(own, ENCRYPTED_CHANNEL, find=finds)


def _secret(mode: Mode) -> Secret:
    if mode is Mode.NONE:
        return NOTHING
    return Held(_SECRET, _ELEMENT if mode is Mode.CODE else b"")


def _meet(tested: Handshake, pieces: Iterable[bytes], *, proves: bool) -> _Outcome:
    """Let one side hear all that is said."""
    said = answer = b""
    greeting = tested.greeting()
    error: type[Exception] | None = None
    try:
        for piece in pieces:
            said += piece
            answer += tested.receive(piece)
            assert tested.established is None, "a proof was guessed"
        if proves and tested.heard:
            theirs = said[: size_of(said)]
            answer += tested.receive(_proof(tested, greeting, theirs, answer) + _EARLY)
            if len(said) == len(theirs):
                assert tested.established is not None, "the right proof is not taken"
                assert tested.established.early == _EARLY
    except (ProtocolMismatch, AuthenticationError) as refusal:
        error = type(refusal)
        assert not (proves and tested.guessed and len(said) == size_of(said)), "a right proof"
        assert str(refusal).isprintable()
    assert len(answer) <= HELLO_LIMIT + TAG_SIZE
    assert len(tested.last_words) <= HELLO_LIMIT
    assert str(tested.lost()).isprintable()
    in_by = tested.established.mode if tested.established else None
    return _Outcome(error, tested.heard, in_by)


def _proof(tested: Handshake, greeting: bytes, theirs: bytes, answer: bytes) -> bytes:
    """What a peer that holds the secret would say after its hello, from ``docs/protocol.md``."""
    server = tested.own.role is Role.SERVER
    mode = Hello.unpack(theirs).mode if server else tested.own.mode
    own = answer[: size_of(answer)] if server else greeting
    hellos = (theirs, own) if server else (own, theirs)
    parts = (mode.name.lower().encode(), ENCRYPTED_CHANNEL, *hellos)
    transcript = hashlib.sha256(b"".join(map(bytes16, parts))).digest()
    keys = Schedule.derive(bytes(32) if mode is Mode.NONE else _SECRET, transcript)
    return prove(keys.client_proof if server else keys.server_proof, transcript)


def _seeds() -> Iterator[bytes]:
    for proves in range(2):
        for number, (tested, mode) in enumerate(_TESTED):
            for other in Mode if tested is Role.SERVER else (mode,):
                peer = Role.CLIENT if tested is Role.SERVER else Role.SERVER
                said = hello(peer, other)
                changes = {
                    "intended": hello(tested).peer_id if other is Mode.PAIR else bytes(16),
                    "element": _ELEMENT if other is Mode.CODE else b"",
                    "trees": True,
                    "limits": Largest(1 << 24, 1 << 30, 4096),
                }
                for name, value in changes.items():
                    object.__setattr__(said, name, value)
                yield bytes((proves, number, 7)) + said.pack()
    yield b"\0\0\0GET / HTTP/1.1\r\n\r\n"


HARNESS: Final = Harness(_feed, _seeds)
