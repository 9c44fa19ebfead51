"""The handshake by a code and of a pair: what holds, and every way in which it must not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from objxfer.errors import (
    AuthenticationError,
    IntegrityError,
    ProtocolMismatch,
    WrongCode,
    WrongKey,
)
from objxfer.protocol.handshake import Handshake, Held
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.security.keys import Key
from objxfer.security.pairing import Code, Invitation, Pair, Pake
from objxfer.security.sealing import TAG_SIZE
from support.handshakes import (
    CODE,
    ENCRYPTED_CHANNEL,
    PAIRED,
    agreed,
    client,
    guest,
    half,
    hello,
    host,
    paired_client,
    paired_server,
    server,
    shake_hands,
)

OTHER_CODE = Code(4, ("walnut", "copper", "anvil"))
OTHER_CHANNEL = b"tls" + b"m" * 32
SOMEBODY = b"somebody else..."


def wrong_proof(side: Handshake) -> AuthenticationError:
    """What a side says to a proof of zeros."""
    with pytest.raises(AuthenticationError) as caught:
        side.receive(bytes(TAG_SIZE))
    assert side.established is None
    return caught.value


# --- by a code ---


def test_the_client_proves_first_and_the_server_says_nothing_of_the_code_before() -> None:
    one, other = guest(), host()
    answer = other.receive(one.greeting())
    assert answer == other.own.pack()
    proof = one.receive(answer)
    assert len(proof) == TAG_SIZE
    answer = other.receive(proof)
    assert len(answer) == TAG_SIZE
    assert other.established is not None
    assert one.receive(answer + b"the first bytes") == b""
    assert one.established is not None
    assert one.established.early == b"the first bytes"


def test_each_connection_has_elements_and_keys_of_its_own() -> None:
    made = [shake_hands(guest(), host()) for _ in range(2)]
    (one, other), (again, _) = made
    assert one.own.element != again.own.element
    tag = one.sealer.seal(bytes(48))
    with pytest.raises(IntegrityError):
        again.opener.check(bytes(48), tag)
    other.opener.check(bytes(48), tag)


def test_one_byte_at_a_time() -> None:
    one, other = guest(), host()
    to_server, to_client = one.greeting(), b""
    while to_server or to_client:
        to_client = b"".join(other.receive(bytes((byte,))) for byte in to_server)
        to_server = b"".join(one.receive(bytes((byte,))) for byte in to_client)
    assert one.established is not None
    assert other.established is not None


def test_both_derive_the_key_of_a_pair() -> None:
    one, other = shake_hands(guest(), host())
    ours, theirs = one.pair, other.pair
    assert ours is not None
    assert theirs is not None
    assert ours.key == theirs.key
    assert (ours.own, ours.peer) == (theirs.peer, theirs.own) == (b"\x11" * 16, b"\x12" * 16)
    assert one.key_id == other.key_id == bytes.fromhex(ours.key.id)
    again, _ = shake_hands(guest(), host())
    assert again.pair is not None
    assert again.pair.key != ours.key


@pytest.mark.parametrize("peer_id", [hello(Role.SERVER).peer_id, bytes(16)])
def test_one_makes_no_pair_with_oneself_or_nobody(peer_id: bytes) -> None:
    own = replace(hello(Role.CLIENT, Mode.CODE), peer_id=peer_id)
    one, other = shake_hands(guest(own=own), host())
    assert other.pair is None
    assert len(one.key_id) == 4


@pytest.mark.parametrize("mode", [Mode.NONE, Mode.KEY, Mode.PAIR])
def test_only_a_code_makes_a_pair(mode: Mode) -> None:
    for side in agreed(mode):
        assert side.pair is None
        assert side.key_id == side.own.key_id


@pytest.mark.parametrize("channel", [b"plain", b"unix", b""])
def test_a_code_is_used_over_tls_only(channel: bytes) -> None:
    for make in (guest, host):
        with pytest.raises(AuthenticationError, match="over TLS only"):
            make(channel=channel)


# --- wrong codes, and lies ---


@pytest.mark.parametrize("code", [OTHER_CODE, Code(5, CODE._words)])
def test_a_client_with_another_code_learns_nothing(code: Code) -> None:
    one, other = guest(code), host()
    proof = one.receive(other.receive(one.greeting()))
    with pytest.raises(WrongCode):
        other.receive(proof)
    assert other.last_words == b""
    assert other.guessed is (code.room == CODE.room)
    assert isinstance(one.lost(), WrongCode)


def test_a_server_with_another_code_is_found_out() -> None:
    one, other = guest(), host(Invitation(OTHER_CODE))
    other.receive(one.greeting())
    one.receive(other.own.pack())
    assert isinstance(wrong_proof(one), WrongCode)


def proofs() -> dict[str, Callable[[Handshake, Handshake], bytes]]:
    """What may lie where the client's proof should, given both sides that have met."""

    def right(one: Handshake, _: Handshake) -> bytes:
        return one._proof()

    def of(make: Callable[[], tuple[Handshake, Handshake]]) -> bytes:
        one, other = make()
        return one.receive(other.receive(one.greeting()))

    return {
        "of zeros": lambda *_: bytes(TAG_SIZE),
        "with a bit flipped": lambda *sides: bytes((right(*sides)[0] ^ 1,)) + right(*sides)[1:],
        "extended in front": lambda *sides: b"\0" + right(*sides),
        "the server's": lambda _, other: other._proof(),
        "of another session": lambda *_: of(lambda: (guest(), host())),
        "of another channel": lambda *_: of(
            lambda: (guest(channel=OTHER_CHANNEL), host(channel=OTHER_CHANNEL))
        ),
        "of mode none": lambda *_: of(lambda: (client(key=None), server(key=None))),
        "of a pair": lambda *_: paired_proof(),
    }


def paired_proof() -> bytes:
    one, other = paired_client(), paired_server()
    return one.receive(other.receive(one.greeting()))


@pytest.mark.parametrize("name", list(proofs()))
def test_no_other_proof_will_do(name: str) -> None:
    one, other = guest(), host()
    one.receive(other.receive(one.greeting()))
    proof = proofs()[name](one, other)
    with pytest.raises(WrongCode):
        other.receive(proof)
    assert other.established is None
    assert other.guessed


def test_a_proof_cut_off_is_no_guess() -> None:
    one, other = guest(), host()
    proof = one.receive(other.receive(one.greeting()))
    for byte in proof[:-1]:
        assert other.receive(bytes((byte,))) == b""
    assert not other.guessed
    error = other.lost()
    assert type(error) is AuthenticationError


def test_somebody_between_with_a_certificate_of_their_own() -> None:
    one, other = guest(channel=OTHER_CHANNEL), host()
    proof = one.receive(other.receive(one.greeting()))
    with pytest.raises(WrongCode):
        other.receive(proof)


def test_the_halves_of_two_sessions_do_not_fit() -> None:
    """Somebody between holds two sessions, and gives each side the other's element."""
    invitation = Invitation(CODE)
    one, two = guest(), guest()
    first, second = host(invitation), host(invitation)
    to_one, to_two = first.receive(one.greeting()), second.receive(two.greeting())
    with pytest.raises(WrongCode):
        first.receive(one.receive(to_two))
    with pytest.raises(WrongCode):
        second.receive(two.receive(to_one))


def test_what_a_guest_said_is_of_no_use_again() -> None:
    invitation = Invitation(CODE)
    one, other = guest(), host(invitation)
    greeting = one.greeting()
    proof = one.receive(other.receive(greeting))
    again = host(Invitation(CODE))
    again.receive(greeting)
    with pytest.raises(WrongCode):
        again.receive(proof)


def test_a_clients_element_in_the_other_role() -> None:
    """Its hello comes back as that of a server: the element, the role, and all else."""
    one = guest()
    greeting = one.greeting()
    reflected = replace(Hello.unpack(greeting), role=Role.SERVER)
    with pytest.raises(WrongCode):
        one.receive(reflected.pack())


def test_two_clients_are_not_each_others_servers() -> None:
    """Each is given the other's words with the role changed, and the other's proof."""
    one, two = guest(), guest()
    said = [Hello.unpack(each.greeting()) for each in (one, two)]
    ones, twos = (replace(each, role=Role.SERVER).pack() for each in said)
    proof = one.receive(twos)
    with pytest.raises(WrongCode):
        two.receive(ones + proof)


def test_a_host_is_not_its_own_guest() -> None:
    """The server's words come back as a client's: they are nobody's proof."""
    one, other = guest(), host()
    answer = Hello.unpack(other.receive(one.greeting()))
    again = host()
    again.receive(replace(answer, role=Role.CLIENT).pack())
    with pytest.raises(WrongCode):
        again.receive(other._proof())


@pytest.mark.parametrize(
    "element",
    [
        b"\1" + bytes(31),
        b"\2" + bytes(31),
        bytes(32),
        b"\xff" * 32,
        (2**255 - 18).to_bytes(32, "little"),
    ],
)
def test_elements_that_are_none(element: bytes) -> None:
    one, other = guest(), host()
    said = replace(hello(Role.CLIENT, Mode.CODE), element=element)
    other.receive(said.pack())
    assert isinstance(wrong_proof(other), WrongCode)
    one.greeting()
    with pytest.raises(WrongCode):
        one.receive(replace(hello(Role.SERVER, Mode.CODE), element=element).pack())


def test_every_bit_of_it_counts() -> None:
    one, other = guest(), host()
    greeting = one.greeting()
    answer = other.receive(greeting)
    proof = one.receive(answer)
    for at in range(0, len(greeting), 3):
        changed = greeting[:at] + bytes((greeting[at] ^ 1,)) + greeting[at + 1 :]
        mine = host()
        with contextlib.suppress(AuthenticationError, ProtocolMismatch):
            mine.receive(changed + proof)
        assert mine.established is None


# --- one guess ---


@pytest.mark.parametrize("many", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_one_guess_over_many_handshakes_in_flight(many: int) -> None:
    """All hellos first, then a proof each: one is looked at, and the rest fail unseen."""
    invitation = Invitation(CODE)
    element = Pake(OTHER_CODE, connecting=True).element
    hosts = [host(invitation) for _ in range(many)]
    for each in hosts:
        each.receive(replace(hello(Role.CLIENT, Mode.CODE), element=element).pack())
    for each in hosts:
        wrong_proof(each)
    assert [each.guessed for each in hosts] == [True] + [False] * (many - 1)
    one, late = guest(), host(invitation)
    proof = one.receive(late.receive(one.greeting()))
    with pytest.raises(WrongCode):
        late.receive(proof)
    assert not late.guessed


def test_who_was_in_flight_when_the_code_was_burnt_is_not_let_in() -> None:
    invitation = Invitation(CODE)
    one, other, rogue = guest(), host(invitation), host(invitation)
    proof = one.receive(other.receive(one.greeting()))
    rogue.receive(guest().greeting())
    wrong_proof(rogue)
    invitation.burn()
    with pytest.raises(WrongCode):
        other.receive(proof)
    assert not other.guessed
    assert invitation.code is not None
    again = guest(invitation.code)
    shake_hands(again, host(invitation))


def test_who_leaves_without_a_guess_burns_nothing() -> None:
    invitation = Invitation(CODE)
    for _ in range(20):
        leaver = host(invitation)
        leaver.receive(guest().greeting())
        leaver.receive(bytes(TAG_SIZE - 1))
        assert not leaver.guessed
    shake_hands(guest(), host(invitation))


def test_a_code_that_let_one_in_lets_in_no_other() -> None:
    invitation = Invitation(CODE)
    shake_hands(guest(), host(invitation))
    one, other = guest(), host(invitation)
    with pytest.raises(WrongCode):
        other.receive(one.receive(other.receive(one.greeting())))


# --- pairs ---


def test_a_pair_meets_again() -> None:
    one, other = shake_hands(guest(), host())
    assert one.pair is not None
    assert other.pair is not None
    pair = one.pair
    own = replace(
        hello(Role.CLIENT, Mode.PAIR, intended=pair.peer), key_id=bytes.fromhex(pair.key.id)
    )
    met, _ = shake_hands(
        Handshake(own, b"plain", Held(pair.key.secret())), paired_server(other.pair)
    )
    assert met.key_id == one.key_id
    assert met.theirs.intended == pair.own


def test_a_pair_holds_the_other_way_round() -> None:
    """Who was the client may be the server the next time."""
    ours = half(Role.CLIENT)
    own = replace(hello(Role.SERVER, Mode.PAIR), peer_id=ours.own)
    caller = replace(hello(Role.CLIENT, Mode.PAIR), peer_id=ours.peer, intended=ours.own)
    shake_hands(paired_client(caller), paired_server(ours, own=own))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"peer_id": SOMEBODY}, id="under another peer id"),
        pytest.param({"peer_id": half(Role.SERVER).own}, id="under the server's own"),
        pytest.param({"key_id": b"????"}, id="under another key id"),
        pytest.param({"key_id": bytes(4)}, id="under a key id of zeros"),
    ],
)
def test_the_key_of_a_pair_is_of_no_use(changes: dict[str, bytes]) -> None:
    own = replace(hello(Role.CLIENT, Mode.PAIR, intended=half(Role.CLIENT).peer), **changes)  # type: ignore[arg-type]
    one, other = paired_client(own), paired_server()
    known = paired_server().receive(paired_client().greeting())
    answer = other.receive(one.greeting())
    assert len(answer) == len(known)  # nothing tells that it is not known
    with pytest.raises(WrongKey):
        one.receive(answer)
    wrong_proof(other)


def test_a_client_that_is_steered_to_itself() -> None:
    """A has a pair with B. Its call for B is led to A's own inbox, as it is or with changed ids."""
    ours = half(Role.CLIENT)
    inbox = replace(hello(Role.SERVER, Mode.PAIR), peer_id=ours.own)
    one, other = paired_client(), paired_server(ours, own=inbox)
    with pytest.raises(AuthenticationError, match="meant to reach somebody else"):
        other.receive(one.greeting())
    # Somebody between makes it a call of B for A: that pair is known, and the proof is A's own.
    one, other = paired_client(), paired_server(ours, own=inbox)
    called = Hello.unpack(one.greeting())
    forged = replace(called, peer_id=ours.peer, intended=ours.own).pack()
    answer = other.receive(forged)
    theirs, proof = Hello.unpack(answer[:-TAG_SIZE]), answer[-TAG_SIZE:]
    with pytest.raises(WrongKey):
        one.receive(replace(theirs, peer_id=ours.peer, intended=ours.own).pack() + proof)
    wrong_proof(other)


def test_another_peer_that_answers_is_refused() -> None:
    pair = Pair(PAIRED, SOMEBODY, half(Role.CLIENT).own)
    other = paired_server(pair, own=replace(hello(Role.SERVER, Mode.PAIR), peer_id=SOMEBODY))
    one = paired_client()
    with pytest.raises(AuthenticationError, match="meant to reach somebody else"):
        other.receive(one.greeting())
    with pytest.raises(AuthenticationError, match="somebody else"):
        one.receive(other.last_words)


def test_a_server_finds_the_pair_of_each_client() -> None:
    own = hello(Role.SERVER).peer_id
    pairs = [Pair(Key.generate(), own, bytes([number]) * 16) for number in range(1, 9)]
    for pair in pairs:
        said = replace(
            hello(Role.CLIENT, Mode.PAIR, intended=own),
            peer_id=pair.peer,
            key_id=bytes.fromhex(pair.key.id),
        )
        shake_hands(Handshake(said, b"plain", Held(pair.key.secret())), paired_server(*pairs))


# --- between the modes ---

CLIENTS: dict[Mode, Callable[[], Handshake]] = {
    Mode.NONE: lambda: client(key=None, channel=ENCRYPTED_CHANNEL),
    Mode.KEY: lambda: client(channel=ENCRYPTED_CHANNEL),
    Mode.CODE: guest,
    Mode.PAIR: paired_client,
}
SERVERS: dict[Mode, Callable[[], Handshake]] = {
    Mode.NONE: lambda: server(key=None, channel=ENCRYPTED_CHANNEL),
    Mode.KEY: lambda: server(channel=ENCRYPTED_CHANNEL),
    Mode.CODE: host,
    Mode.PAIR: paired_server,
}
DIFFERENT = [(here, there) for here in Mode for there in Mode if here is not there]


@pytest.mark.parametrize(("here", "there"), DIFFERENT)
def test_two_modes_do_not_meet_and_both_know(here: Mode, there: Mode) -> None:
    one, other = CLIENTS[here](), SERVERS[there]()
    with pytest.raises(AuthenticationError, match=r"the peer uses .*, and we use "):
        other.receive(one.greeting())
    assert not other.guessed
    with pytest.raises(AuthenticationError, match=r"the peer uses .*, and we use "):
        one.receive(other.last_words)


@pytest.mark.parametrize(("here", "there"), DIFFERENT)
def test_a_mode_that_was_changed_on_the_way_is_noticed(here: Mode, there: Mode) -> None:
    """The client's hello is rewritten for the server, and the server's for the client."""
    one, other = CLIENTS[here](), SERVERS[there]()
    room, key_id = CODE.room.to_bytes(4, "big"), bytes.fromhex(PAIRED.id)
    names = {Mode.NONE: b"", Mode.CODE: room, Mode.PAIR: key_id, Mode.KEY: b"\xab\xcd\xef\x01"}

    def as_if(said: Hello, mode: Mode) -> bytes:
        element = guest().secret.element if mode is Mode.CODE else b""
        intended = (half(said.role).peer) if mode is Mode.PAIR else bytes(16)
        changed = replace(said, mode=mode, key_id=names[mode], element=element, intended=intended)
        return changed.pack()

    called = Hello.unpack(one.greeting())
    answer = other.receive(as_if(called, there))
    size = len(other.own.pack())
    back = as_if(Hello.unpack(answer[:size]), here) + answer[size:]
    with contextlib.suppress(AuthenticationError):
        other.receive(one.receive(back))
    assert one.established is None is other.established
