"""Guests with a code, those who guess at it, and whoever stands between."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest

import objxfer
from objxfer.blocking import listener as listening_module
from objxfer.errors import (
    AuthenticationError,
    ConnectionLost,
    ExitCode,
    ObjxferError,
    ProtocolMismatch,
    Timeout,
    WrongCode,
)
from objxfer.protocol.handshake import Handshake
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.security.pairing import Code, Invitation, Pake
from objxfer.security.sealing import TAG_SIZE
from objxfer.transports import tls
from support.connected import KEY, PATIENCE, begin
from support.relay import Legs, relay
from support.wire import Wire

CODE = Code(4, ("walnut", "copper", "tiger"))
OTHER_CODE = Code(4, ("walnut", "copper", "anvil"))


class Door:
    """A listener with an invitation; who was not let in, and the codes that followed the first."""

    def __init__(self, **terms: Any) -> None:
        self.refusals: SimpleQueue[ObjxferError] = SimpleQueue()
        self.codes: SimpleQueue[Code | None] = SimpleQueue()
        self.invitation = Invitation(CODE, on_burnt=self.codes.put)
        self.listener = objxfer.listen(
            "tls://127.0.0.1:0",
            key=self.invitation,
            on_refused=lambda _, error: self.refusals.put(error),
            **terms,
        )
        self.url = self.listener.url

    def refused(self) -> ObjxferError:
        return self.refusals.get(timeout=PATIENCE)

    def burnt(self) -> Code | None:
        return self.codes.get(timeout=PATIENCE)

    def let_in(self, code: Code, **terms: Any) -> tuple[objxfer.Connection, objxfer.Connection]:
        guest = objxfer.connect(self.url, key=code, timeout=PATIENCE, **terms)
        return guest, self.listener.accept(PATIENCE)

    def shut_to(self, code: Code) -> None:
        with pytest.raises(WrongCode):
            objxfer.connect(self.url, key=code, timeout=PATIENCE)


@pytest.fixture
def door() -> Iterator[Door]:
    opened = Door()
    yield opened
    opened.listener.close()


def by_hand(wire: Wire, code: Code = OTHER_CODE) -> Handshake:
    """A guest's side of a handshake."""
    room = code.room.to_bytes(4, "big")
    own = Hello(Role.CLIENT, Mode.CODE, os.urandom(32), os.urandom(16), key_id=room)
    return Handshake(own, wire.channel, Pake(code, connecting=True))


def met(door: Door, code: Code = OTHER_CODE) -> tuple[Wire, bytes]:
    """A guest that has said and heard a hello, and the proof that it would say now."""
    wire = Wire(door.url)
    handshake = by_hand(wire, code)
    wire.send(handshake.greeting())
    proof = b""
    while not proof:
        proof = handshake.receive(wire.sock.recv(65536))
    return wire, proof


def reset(wire: Wire) -> None:
    """Leave so that what is under way may be lost."""
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.sock.close()


# --- one guest ---


def test_a_guest_gets_in_and_both_can_do_all_that_a_key_lets_do(door: Door) -> None:
    guest, host = door.let_in(CODE)
    guest.send({"a": 1})
    assert host.recv(PATIENCE) == {"a": 1}
    assert guest.encrypted
    ending = begin(host.close)
    guest.close()
    ending.result(PATIENCE)
    assert door.codes.empty()
    assert door.refusals.empty()


def test_a_guest_may_send_pickles_where_they_are_accepted() -> None:
    door = Door(accepts=["pickle"])
    guest, host = door.let_in(CODE)
    guest.send({1, 2}, serializer="pickle")
    assert host.recv(PATIENCE) == {1, 2}
    guest.abandon()
    host.abandon()
    door.listener.close()


def test_files_by_a_code(inbox: Any, tmp_path: Any) -> None:
    (tmp_path / "source").write_bytes(b"contents")
    door = Door(into=inbox)

    def take() -> Any:
        with door.listener.accept(PATIENCE) as host:
            return host.recv(PATIENCE)

    taken = begin(take)
    report = objxfer.push(tmp_path / "source", to=door.url, key=CODE)
    assert report.exit_code is ExitCode.OK
    assert taken.result(PATIENCE).exit_code is ExitCode.OK
    assert (inbox / "source").read_bytes() == b"contents"
    door.listener.close()


def test_a_code_lets_in_one_guest(door: Door) -> None:
    guest, host = door.let_in(CODE)
    door.shut_to(CODE)
    assert door.codes.empty()
    guest.abandon()
    host.abandon()


def test_a_guest_that_gave_the_right_proof_and_did_not_get_in_is_told_of(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ObjxferError("this one is not taken")

    with monkeypatch.context() as faults:
        faults.setattr(listening_module, "Connection", fail)
        with contextlib.suppress(ObjxferError):
            objxfer.connect(door.url, key=CODE).abandon()
        code = door.burnt()
    assert code is not None
    for connection in door.let_in(code):
        connection.abandon()


# --- who guesses ---


def test_a_wrong_code_is_told_on_both_sides_and_burns_the_right_one(door: Door) -> None:
    with pytest.raises(WrongCode) as caught:
        objxfer.connect(door.url, key=OTHER_CODE)
    assert caught.value.exit_code is ExitCode.NOT_AUTHENTICATED
    assert "new code" in caught.value.hint
    assert isinstance(door.refused(), WrongCode)
    code = door.burnt()
    assert code is not None
    assert code == door.invitation.code
    door.shut_to(CODE)
    assert isinstance(door.refused(), WrongCode)
    assert door.codes.empty(), "who still has the code that is burnt makes no guess at the next"
    for connection in door.let_in(code):
        connection.abandon()


def test_three_codes_and_no_more(door: Door) -> None:
    waiting = begin(door.listener.accept, PATIENCE)
    code: Code | None = CODE
    while code is not None:
        door.shut_to(Code(code.room, OTHER_CODE._words))
        code = door.burnt()
    with pytest.raises(AuthenticationError):
        waiting.result(PATIENCE)
    for _ in range(2):
        with pytest.raises(AuthenticationError, match="guessed wrong") as caught:
            door.listener.accept(PATIENCE)
        assert caught.value.exit_code is ExitCode.NOT_AUTHENTICATED
    door.shut_to(CODE)


STAGES: dict[str, Callable[[Door], Wire]] = {
    "connected": lambda door: Wire(door.url.replace("tls:", "tcp:")),
    "encrypted": lambda door: Wire(door.url),
    "in its hello": lambda door: saying(door, lambda hello: hello[:-1]),
    "after its hello": lambda door: saying(door, bytes),
    "after ours": lambda door: met(door)[0],
    "in its proof": lambda door: proving(door, TAG_SIZE - 1),
}


def saying(door: Door, what: Callable[[bytes], bytes]) -> Wire:
    wire = Wire(door.url)
    wire.send(what(by_hand(wire).greeting()))
    return wire


def proving(door: Door, size: int) -> Wire:
    wire, proof = met(door)
    wire.send(proof[:size])
    return wire


@pytest.mark.parametrize("leave", STAGES.values(), ids=STAGES.keys())
@pytest.mark.parametrize("go", [Wire.__exit__, reset], ids=["closes", "resets"])
def test_who_leaves_before_a_guess_burns_nothing(
    door: Door, leave: Callable[[Door], Wire], go: Callable[[Wire], None]
) -> None:
    for _ in range(4):
        go(leave(door))
        if leave is not STAGES["connected"]:  # who is gone by the time it is looked at
            assert not isinstance(door.refused(), WrongCode)
    assert door.codes.empty()
    for connection in door.let_in(CODE):
        connection.abandon()


def guess_all(door: Door, wires: list[tuple[Wire, bytes]]) -> list[bytes]:
    """Say all proofs at once; what is answered to each."""
    start = threading.Barrier(len(wires))

    def guess(wire: Wire, proof: bytes) -> bytes:
        start.wait(PATIENCE)
        with wire, contextlib.suppress(OSError):
            wire.send(proof)
            return wire.rest()
        return b""

    return [future.result(PATIENCE) for future in [begin(guess, *each) for each in wires]]


@pytest.mark.parametrize("many", [40, pytest.param(500, marks=pytest.mark.long)])
def test_many_at_once_have_one_guess(
    door: Door, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are as far as a proof when the first is said: one wrong, and all others the right one."""
    monkeypatch.setattr(listening_module, "HANDSHAKE_SECONDS", PATIENCE * 4)
    wires = [met(door)] + [met(door, CODE) for _ in range(many - 1)]
    first, proof = wires.pop(0)
    with first:
        first.send(proof)
        assert first.rest() == b""
    code = door.burnt()
    assert guess_all(door, wires) == [b""] * (many - 1), "none of them is answered any more"
    for _ in range(many):
        assert isinstance(door.refused(), WrongCode)
    assert door.codes.empty()
    assert code is not None
    with pytest.raises(Timeout):
        door.listener.accept(0)
    for connection in door.let_in(code):
        connection.abandon()


def test_of_many_that_guess_right_one_gets_in(door: Door) -> None:
    wires = [met(door, CODE) for _ in range(20)]
    begun = begin(guess_all, door, wires)
    door.listener.accept(PATIENCE).abandon()
    answers = begun.result(PATIENCE)
    assert sorted(map(len, answers)) == [0] * 19 + [TAG_SIZE]
    assert door.codes.empty()


@pytest.mark.parametrize("go", [Wire.__exit__, reset], ids=["closes", "resets"])
def test_leaving_right_behind_a_guess_wins_no_second_one(
    door: Door, go: Callable[[Wire], None]
) -> None:
    """If the proof arrived, it counts; if it did not, nobody learnt anything by it."""
    for _ in range(6):
        before = door.invitation.code
        if before is None:
            return
        wire, proof = met(door, Code(before.room, OTHER_CODE._words))
        wire.send(proof)
        go(wire)
        guessed = isinstance(door.refused(), WrongCode)
        if guessed:
            door.burnt()
        assert (door.invitation.code != before) is guessed


def test_asking_for_another_room_is_no_guess(door: Door) -> None:
    door.shut_to(Code(5, ("walnut", "copper", "tiger")))
    assert isinstance(door.refused(), WrongCode)
    assert door.codes.empty()
    for connection in door.let_in(CODE):
        connection.abandon()


def test_a_fault_of_who_is_told_keeps_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    told = threading.Event()

    def fail(_: Code | None) -> None:
        told.set()
        raise LookupError("this program's own fault")

    invitation = Invitation(CODE, on_burnt=fail)
    with objxfer.listen("tls://127.0.0.1:0", key=invitation) as listener:
        with pytest.raises(WrongCode):
            objxfer.connect(listener.url, key=OTHER_CODE)
        assert told.wait(PATIENCE)
        assert invitation.code is not None
        objxfer.connect(listener.url, key=invitation.code).abandon()
        listener.accept(PATIENCE).abandon()
    assert "on_burnt failed" in caplog.text


# --- who answers for somebody else, or stands between ---


def test_a_rogue_that_answers_for_the_room_has_one_guess_and_the_guest_does_not_come_back() -> None:
    visits: list[str] = []
    with objxfer.listen(
        "tls://127.0.0.1:0",
        key=Invitation(OTHER_CODE),
        on_refused=lambda peer, _: visits.append(peer),
    ) as rogue:
        with pytest.raises(WrongCode):
            objxfer.push(__file__, to=rogue.url, key=CODE)
        # The next who comes is another: nobody was there in between.
        with pytest.raises(WrongCode):
            objxfer.connect(rogue.url, key=Code(5, ("walnut", "copper", "tiger")))
        with pytest.raises(Timeout):
            rogue.accept(0.0)
    assert visits == ["127.0.0.1"] * 2


def test_somebody_between_with_a_certificate_of_their_own(door: Door) -> None:
    private_key, certificate, _ = tls._self_signed()
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.minimum_version = ssl.TLSVersion.TLSv1_3
    tls._load(own, private_key + certificate)
    with (
        relay(door.url, legs=Legs(own, tls.client_context())) as url,
        pytest.raises(WrongCode),
    ):
        objxfer.connect(url, key=CODE, timeout=PATIENCE)
    assert isinstance(door.refused(), WrongCode)
    assert door.burnt() is not None
    with pytest.raises(Timeout):
        door.listener.accept(0)


@pytest.mark.parametrize("make", [objxfer.connect, objxfer.listen])
def test_a_code_over_tcp_is_refused_before_anything_happens(make: Callable[..., object]) -> None:
    key = CODE if make is objxfer.connect else Invitation(CODE)
    with pytest.raises(ObjxferError, match="over tls:// only") as caught:
        make("tcp://127.0.0.1:1", key=key)
    assert caught.value.exit_code is ExitCode.USAGE
    with pytest.raises(ObjxferError, match="over tls:// only"):
        make("tcp://127.0.0.1:1", key=key, insecure=True)


def test_a_guest_over_tcp_is_refused_by_who_has_a_key() -> None:
    refusals: SimpleQueue[ObjxferError] = SimpleQueue()
    with (
        objxfer.listen(
            "tcp://127.0.0.1:0", key=KEY, on_refused=lambda _, error: refusals.put(error)
        ) as listener,
        Wire(listener.url) as wire,
    ):
        element = Pake(CODE, connecting=True).element
        own = Hello(Role.CLIENT, Mode.CODE, bytes(32), b"p" * 16, key_id=bytes(4), element=element)
        wire.send(own.pack() + bytes(TAG_SIZE))
        answer = Hello.unpack(wire.rest())
        assert answer.mode is Mode.KEY
        assert not answer.element
        assert type(refusals.get(timeout=PATIENCE)) is AuthenticationError


@pytest.mark.parametrize(("key", "insecure"), [(KEY, False), (None, True)], ids=["a key", "no key"])
def test_who_has_a_code_talks_to_nobody_who_has_none(
    door: Door, key: objxfer.Key | None, insecure: bool
) -> None:
    with pytest.raises(AuthenticationError, match="we use"):
        objxfer.connect(door.url, key=key, insecure=insecure)
    assert type(door.refused()) is AuthenticationError
    with objxfer.listen("tls://127.0.0.1:0", key=key, insecure=insecure) as listener:
        with pytest.raises(AuthenticationError, match="we use a code"):
            objxfer.connect(listener.url, key=CODE)
        with pytest.raises(Timeout):
            listener.accept(0)
    assert door.codes.empty()


# --- what is lost, and what shows ---


def test_a_delivery_by_a_code_is_not_begun_again(inbox: Any) -> None:
    door = Door(into=inbox)
    lost = begin(objxfer.push, __file__, to=door.url, key=CODE)
    door.listener.accept(PATIENCE).abandon()
    with pytest.raises(ConnectionLost):
        lost.result(PATIENCE)
    assert door.refusals.empty()
    door.listener.close()


def said_with_a_code_that_is_known(caplog: pytest.LogCaptureFixture) -> str:
    """Return what is said where somebody is let in, which may hold a word of any other code."""
    door = Door()
    guest, host = door.let_in(CODE)
    said = "".join(map(repr, (guest, host, guest.pair)))
    guest.abandon()
    host.abandon()
    door.listener.close()
    return said + caplog.text


def test_nothing_shows_a_code(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = {*CODE.spoken().split("-")[1:], *OTHER_CODE.spoken().split("-")[1:]}
    anyway = said_with_a_code_that_is_known(caplog)
    shown = [repr(door.invitation), repr(CODE), repr(door.listener)]
    with pytest.raises(WrongCode) as caught:
        objxfer.connect(door.url, key=OTHER_CODE)
    shown += [str(caught.value), caught.value.hint, repr(caught.value), str(door.refused())]
    code = door.burnt()
    assert code is not None
    secrets |= {word for word in code.spoken().split("-")[1:] if word not in anyway}
    guest, host = door.let_in(code)
    shown += [repr(guest), repr(host), repr(guest.pair)]
    guest.abandon()
    host.abandon()
    calls: list[Callable[[str], object]] = [
        lambda typed: objxfer.connect("tls://127.0.0.1:1", key=typed),
        lambda typed: objxfer.listen("tls://127.0.0.1:0", key=typed),
        objxfer.Keyring,
        objxfer.Key.load,
    ]
    for make in calls:
        for typed in (CODE.spoken(), "4 walnut coper tiger"):
            with pytest.raises(ObjxferError) as refused:
                make(typed)
            shown += [str(refused.value), refused.value.hint]
    shown.append(caplog.text)
    for secret in {*secrets, "coper"}:
        assert [text for text in shown if secret in text] == []


def test_what_is_no_hello_is_none_here_either(door: Door) -> None:
    with Wire(door.url) as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        assert type(door.refused()) is ProtocolMismatch
    assert door.codes.empty()
