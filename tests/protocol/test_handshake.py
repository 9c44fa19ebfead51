from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from objxfer.errors import (
    AuthenticationError,
    ConnectionLost,
    IntegrityError,
    ObjxferError,
    ProtocolMismatch,
)
from objxfer.protocol.handshake import Handshake
from objxfer.protocol.hello import HELLO_LIMIT, MAGIC, NONCE_SIZE, Hello, Largest, Mode, Role
from objxfer.security.pairing import ELEMENT_SIZE, PEER_ID_SIZE
from objxfer.security.sealing import TAG_SIZE
from support.handshakes import KEY, KEY_ID, agreed, client, hello, holding, server, shake_hands

FIXED_SIZE = 77
OTHER_KEY = bytes(32)[:-1] + b"\x07"


def fields_of(packed: bytes, *fields: tuple[int, bytes]) -> bytes:
    """The fixed part of a packed hello with other fields behind it, of the right length."""
    body = b"".join(struct.pack(">HH", number, len(value)) + value for number, value in fields)
    return packed[:7] + struct.pack(">H", FIXED_SIZE + len(body)) + packed[9:FIXED_SIZE] + body


def end_with(side: Handshake, data: bytes) -> bytes:
    """Let the last bytes of the peer arrive, and say what the end of the stream means."""
    answer = side.receive(data)
    if side.established is None and not answer:
        raise side.lost()
    return answer


# --- hellos ---


@given(
    st.sampled_from(Role),
    st.sampled_from(Mode),
    st.binary(min_size=NONCE_SIZE, max_size=NONCE_SIZE),
    st.binary(min_size=PEER_ID_SIZE, max_size=PEER_ID_SIZE),
    st.binary(min_size=PEER_ID_SIZE, max_size=PEER_ID_SIZE),
    st.lists(st.text("abcz09_", min_size=1, max_size=9), max_size=9),
    st.text("0123456789.", max_size=9),
    st.booleans(),
    st.none()
    | st.builds(
        Largest, st.integers(1, 2**32 - 1), st.integers(1, 2**64 - 1), st.integers(1, 2**32 - 1)
    ),
    st.tuples(st.integers(1, 9), st.integers(0, 9)),
    st.binary(min_size=ELEMENT_SIZE, max_size=ELEMENT_SIZE),
)
def test_what_a_hello_says_is_heard(
    role: Role,
    mode: Mode,
    nonce: bytes,
    peer_id: bytes,
    intended: bytes,
    serializers: list[str],
    python: str,
    trees: bool,
    limits: Largest | None,
    versions: tuple[int, int],
    element: bytes,
) -> None:
    assume(mode is not Mode.PAIR or any(intended))
    said = Hello(
        role,
        mode,
        nonce,
        peer_id,
        intended,
        b"" if mode is Mode.NONE else KEY_ID,
        tuple(serializers),
        python,
        trees,
        limits,
        (versions[0], sum(versions)),
        element if mode is Mode.CODE else b"",
    )
    assert Hello.unpack(said.pack()) == said
    assert Hello.unpack(said.pack()).pack() == said.pack()


@given(st.binary(max_size=200), st.integers(0, 2))
def test_no_hello_is_anything_but_heard_or_malformed(garbage: bytes, start: int) -> None:
    packed = hello(Role.CLIENT).pack()
    data = (garbage, packed[:FIXED_SIZE] + garbage, fields_of(packed, (9, garbage)))[start]
    with contextlib.suppress(ProtocolMismatch):
        Hello.unpack(data)


def test_fields_that_are_not_known_are_skipped() -> None:
    packed = hello(Role.CLIENT).pack()
    heard = Hello.unpack(
        fields_of(packed, (1, KEY_ID), (3, b"3.99"), (0x77, b"later"), (0x78, b""))
    )
    assert heard.python == "3.99"
    assert heard.serializers == ()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([(1, KEY_ID), (0x8000 | 0x77, b"")], id="critical and not known"),
        pytest.param([(1, KEY_ID), (3, b"3"), (2, b"raw")], id="not ascending"),
        pytest.param([(1, KEY_ID), (3, b"3"), (3, b"4")], id="twice"),
        pytest.param([(1, KEY_ID), (3, b"3"), (0x8003, b"4")], id="twice, once critical"),
        pytest.param([(1, KEY_ID), (2, b"r\xe4w")], id="serialisers not ascii"),
        pytest.param([(1, KEY_ID), (3, b"\xff")], id="python not ascii"),
        pytest.param([(1, KEY_ID), (4, b"\0")], id="trees neither taken nor not"),
        pytest.param([(1, KEY_ID), (5, bytes(16))], id="limits of zero"),
        pytest.param([(1, KEY_ID), (5, bytes(15))], id="limits cut"),
        pytest.param([(1, b"")], id="empty key id"),
        pytest.param([(1, KEY_ID + b"\0")], id="long key id"),
        pytest.param([(1, bytes(HELLO_LIMIT - FIXED_SIZE - 4))], id="huge key id"),
        pytest.param([], id="no key id"),
    ],
)
@pytest.mark.parametrize("make", [client, server])
def test_hellos_that_are_malformed_or_need_what_we_have_not(
    make: Callable[[], Handshake], fields: list[tuple[int, bytes]]
) -> None:
    side = make()
    side.greeting()
    theirs = hello(Role.SERVER if side.own.role is Role.CLIENT else Role.CLIENT)
    with pytest.raises(ProtocolMismatch):
        side.receive(fields_of(theirs.pack(), *fields))
    assert not side.heard


def test_a_critical_field_that_is_known_is_a_field() -> None:
    packed = hello(Role.CLIENT).pack()
    assert Hello.unpack(fields_of(packed, (0x8001, KEY_ID), (0x8003, b"3"))).key_id == KEY_ID


def test_a_hello_without_a_key_names_none() -> None:
    packed = hello(Role.CLIENT, Mode.NONE).pack()
    with pytest.raises(ProtocolMismatch):
        Hello.unpack(fields_of(packed, (1, KEY_ID)))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        pytest.param(8, b"\x4c", id="shorter than the fixed part"),
        pytest.param(7, b"\x10\x01", id="over the limit"),
        pytest.param(9, b"\x00", id="versions from 0"),
        pytest.param(9, b"\x02\x01", id="versions the wrong way round"),
        pytest.param(11, b"\x00", id="role 0"),
        pytest.param(11, b"\x03", id="role 3"),
        pytest.param(12, b"\x04", id="mode 4"),
    ],
)
def test_the_fixed_part_is_checked(at: int, value: bytes) -> None:
    packed = bytearray(hello(Role.CLIENT).pack())
    packed[at : at + len(value)] = value
    with pytest.raises(ProtocolMismatch, match="malformed"):
        server().receive(bytes(packed))


def test_a_hello_cut_inside_a_field_is_malformed() -> None:
    packed = hello(Role.CLIENT).pack()
    for cut in range(FIXED_SIZE + 1, len(packed)):
        short = packed[:7] + struct.pack(">H", cut) + packed[9:cut]
        try:
            heard = Hello.unpack(short)
        except ProtocolMismatch:
            continue
        assert heard.pack() == short  # it was cut between two fields


# --- through to the end ---


@pytest.mark.parametrize("key", [KEY, None])
def test_both_sides_get_through_and_know_each_other(key: bytes | None) -> None:
    one, other = client(key=key), server(key=key)
    established, accepted = shake_hands(one, other)
    assert established.theirs == accepted.own == other.own
    assert accepted.theirs == established.own == one.own
    assert established.mode is accepted.mode is (Mode.KEY if key else Mode.NONE)
    header = bytes(48)
    accepted.opener.check(header, established.sealer.seal(header))
    established.opener.check(header, accepted.sealer.seal(header))


@pytest.mark.parametrize("mode", Mode)
def test_only_a_secret_makes_proof(mode: Mode) -> None:
    for side in agreed(mode):
        assert (side.opener.proof is None) is (mode is Mode.NONE)


def test_the_server_takes_up_the_key_that_was_named() -> None:
    _, accepted = shake_hands(client(), server())
    assert accepted.own.key_id == KEY_ID


@pytest.mark.parametrize("key", [KEY, None])
def test_one_byte_at_a_time(key: bytes | None) -> None:
    one, other = client(key=key), server(key=key)
    to_server, to_client = one.greeting(), b""
    while to_server or to_client:
        for byte in to_server:
            to_client += other.receive(bytes((byte,)))
        to_server = b""
        for byte in to_client:
            to_server += one.receive(bytes((byte,)))
        to_client = b""
    assert one.established is not None
    assert other.established is not None


def test_what_comes_behind_the_proof_is_kept_for_the_session() -> None:
    one, other = client(), server()
    proof = one.receive(other.receive(one.greeting()))
    assert other.receive(proof + b"the first bytes") == b""
    assert other.established is not None
    assert other.established.early == b"the first bytes"


def test_the_server_proves_first_and_the_client_says_nothing_before() -> None:
    one, other = client(), server()
    greeting = one.greeting()
    assert other.greeting() == b""
    answer = other.receive(greeting)
    assert answer == other.own.pack() + answer[-TAG_SIZE:]
    assert other.established is None
    assert one.receive(answer[:-1]) == b""
    assert len(one.receive(answer[-1:])) == TAG_SIZE


# --- who does not hold the key ---


def test_a_client_with_another_key_fails_at_the_servers_proof_and_says_nothing() -> None:
    one, other = client(key=OTHER_KEY), server()
    with pytest.raises(AuthenticationError):
        one.receive(other.receive(one.greeting()))
    assert one.established is None


def test_a_server_that_knows_no_such_key_id_answers_like_one_that_does() -> None:
    known, unknown = server(), server()
    unknown.find = {Mode.KEY: holding({})}
    greeting = client().greeting()
    answers = known.receive(greeting), unknown.receive(greeting)
    assert answers[0][:-TAG_SIZE] == answers[1][:-TAG_SIZE]
    assert answers[0] != answers[1]
    for side in (known, unknown):
        with pytest.raises(AuthenticationError, match="does not hold our key"):
            side.receive(bytes(TAG_SIZE))


def test_nobody_gets_in_under_an_unknown_key_id_with_a_key_of_zeros() -> None:
    other = server()
    other.find = {Mode.KEY: holding({})}
    one = client(key=bytes(32))
    with pytest.raises(AuthenticationError):
        one.receive(other.receive(one.greeting()))


def proofs() -> dict[str, Callable[[], bytes]]:
    """What may lie where the client's proof should."""

    def right() -> bytes:
        one, other = client(), server()
        return one.receive(other.receive(one.greeting()))

    def from_another(one: Handshake, other: Handshake) -> Callable[[], bytes]:
        return lambda: one.receive(other.receive(one.greeting()))

    new = hello(Role.CLIENT, nonce=b"n" * 32)
    return {
        "reflected from the server": lambda: server().receive(client().greeting())[-TAG_SIZE:],
        "of zeros": lambda: bytes(TAG_SIZE),
        "with a bit flipped": lambda: right()[:-1] + bytes((right()[-1] ^ 1,)),
        "of another connection": from_another(client(new), server()),
        "of another mode": from_another(client(key=None), server(key=None)),
        "of another channel": from_another(
            client(channel=b"tls" + b"c" * 32), server(channel=b"tls" + b"c" * 32)
        ),
        "of another key": from_another(client(key=OTHER_KEY), server(key=OTHER_KEY)),
        "of another server": from_another(client(), server(hello(Role.SERVER, nonce=b"s" * 32))),
    }


@pytest.mark.parametrize("name", list(proofs()))
def test_no_other_proof_will_do_for_a_client(name: str) -> None:
    other = server()
    other.receive(client().greeting())
    with pytest.raises(AuthenticationError, match="does not hold our key"):
        other.receive(proofs()[name]())
    assert other.established is None


@pytest.mark.parametrize(
    "answering",
    [
        pytest.param(lambda: server(key=OTHER_KEY), id="of another key"),
        pytest.param(lambda: server(channel=b"tls" + bytes(32)), id="of another channel"),
    ],
)
def test_no_other_proof_will_do_for_a_server(answering: Callable[[], Handshake]) -> None:
    one = client()
    answer = answering().receive(one.greeting())
    with pytest.raises(AuthenticationError, match="does not hold our key"):
        one.receive(answer)


def test_somebody_between_with_another_certificate_fails() -> None:
    one, other = client(channel=b"tls" + b"m" * 32), server(channel=b"tls" + b"s" * 32)
    with pytest.raises(AuthenticationError):
        one.receive(other.receive(one.greeting()))


def test_a_servers_answer_cannot_be_replayed() -> None:
    answer = server().receive(client().greeting())
    one = client(hello(Role.CLIENT, nonce=b"n" * 32))
    one.greeting()
    with pytest.raises(AuthenticationError):
        one.receive(answer)


def test_a_clients_connection_cannot_be_replayed() -> None:
    one, other = client(), server()
    greeting = one.greeting()
    proof = one.receive(other.receive(greeting))
    again = server(hello(Role.SERVER, nonce=b"s" * 32))
    again.receive(greeting)
    with pytest.raises(AuthenticationError):
        again.receive(proof)


def test_a_proof_cut_off_is_waited_for_and_one_extended_is_no_proof() -> None:
    one, other = client(), server()
    proof = one.receive(other.receive(one.greeting()))
    for at in range(len(proof)):
        assert other.receive(proof[at : at + 1] if at < len(proof) - 1 else b"") == b""
        assert other.established is None
    with pytest.raises(AuthenticationError):
        other.receive(b"\0" + proof[-1:] if proof[-1] else b"\1")


def test_every_bit_of_a_handshake_counts() -> None:
    greeting = client().greeting()
    answer = server().receive(greeting)
    for at in range(len(greeting)):
        other = server()
        changed = greeting[:at] + bytes((greeting[at] ^ 1,)) + greeting[at + 1 :]
        one = client()
        one.greeting()
        with pytest.raises((AuthenticationError, ProtocolMismatch)):
            end_with(one, end_with(other, changed))
    for at in range(len(answer)):
        one = client()
        one.greeting()
        with pytest.raises((AuthenticationError, ProtocolMismatch)):
            end_with(one, answer[:at] + bytes((answer[at] ^ 1,)) + answer[at + 1 :])


def test_a_handshake_cut_off_is_never_success() -> None:
    greeting = client().greeting()
    answer = server().receive(greeting)
    for at in range(len(greeting)):
        other = server()
        assert other.receive(greeting[:at]) == b""
        assert isinstance(other.lost(), ProtocolMismatch if at else ConnectionLost)
    for at in range(len(answer)):
        one = client()
        one.greeting()
        one.receive(answer[:at])
        assert one.established is None
        whole_hello = at >= len(answer) - TAG_SIZE
        assert isinstance(one.lost(), AuthenticationError if whole_hello else ProtocolMismatch)


# --- who wants something else ---


def test_garbage_is_told_from_a_hello_by_its_first_bytes() -> None:
    for garbage in (b"G", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0", b"objxfeR", b"\0"):
        with pytest.raises(ProtocolMismatch, match="does not speak objxfer"):
            server().receive(garbage)
        one = client()
        one.greeting()
        with pytest.raises(ProtocolMismatch, match="does not speak objxfer"):
            one.receive(garbage)


def test_an_oversized_hello_is_refused_before_it_has_come() -> None:
    with pytest.raises(ProtocolMismatch, match="malformed"):
        server().receive(MAGIC + struct.pack(">H", HELLO_LIMIT + 1))


def test_the_largest_hello_is_taken() -> None:
    packed = fields_of(
        hello(Role.CLIENT).pack(), (1, KEY_ID), (0x77, bytes(HELLO_LIMIT - FIXED_SIZE - 12))
    )
    assert len(packed) == HELLO_LIMIT
    assert server().receive(packed)


def test_a_server_with_a_key_tells_a_client_without_and_both_know() -> None:
    one, other = client(key=None), server()
    with pytest.raises(AuthenticationError, match="the peer uses no key"):
        other.receive(one.greeting())
    with pytest.raises(AuthenticationError, match="the peer uses a key"):
        one.receive(other.last_words)


def test_a_server_without_a_key_tells_a_client_with_one_and_both_know() -> None:
    one, other = client(), server(key=None)
    with pytest.raises(AuthenticationError, match="the peer uses a key"):
        other.receive(one.greeting())
    with pytest.raises(AuthenticationError, match="the peer uses no key"):
        one.receive(other.last_words)


@pytest.mark.parametrize(("ours", "theirs"), [((1, 1), (2, 3)), ((2, 3), (1, 1))])
def test_sides_without_a_common_version_show_both_hellos(
    ours: tuple[int, int], theirs: tuple[int, int]
) -> None:
    one = client(hello(Role.CLIENT, versions=ours))
    other = server(hello(Role.SERVER, versions=theirs))
    with pytest.raises(ProtocolMismatch, match=f"versions {theirs[0]} to .* versions {ours[0]} to"):
        other.receive(one.greeting())
    with pytest.raises(ProtocolMismatch, match=f"versions {ours[0]} to .* versions {theirs[0]} to"):
        one.receive(other.last_words)


def test_a_peers_words_are_escaped() -> None:
    one = client(hello(Role.CLIENT, versions=(2, 2)))
    one.own = replace(one.own, python="3.11\x1b[2J")
    with pytest.raises(ProtocolMismatch, match=r"3\.11\\x1b") as caught:
        server().receive(one.greeting())
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("versions", [(1, 2), (1, 255)])
def test_a_range_of_versions_that_overlaps_is_enough(versions: tuple[int, int]) -> None:
    shake_hands(client(hello(Role.CLIENT, versions=versions)), server())


def test_a_reflected_hello_is_not_a_server() -> None:
    one = client()
    with pytest.raises(ProtocolMismatch, match="same role"):
        one.receive(one.greeting())


def test_two_servers_do_not_talk() -> None:
    with pytest.raises(ProtocolMismatch, match="same role"):
        server().receive(hello(Role.SERVER).pack())


def test_who_is_not_the_intended_peer_says_so() -> None:
    one = client(hello(Role.CLIENT, intended=b"somebody else..."))
    other = server()
    with pytest.raises(AuthenticationError, match="somebody else"):
        other.receive(one.greeting())
    with pytest.raises(AuthenticationError):
        end_with(one, other.last_words)


def test_the_intended_peer_answers() -> None:
    other = server()
    shake_hands(client(hello(Role.CLIENT, intended=other.own.peer_id)), other)


def test_a_server_says_its_hello_once() -> None:
    one, other = client(), server()
    one.receive(other.receive(one.greeting()))
    with pytest.raises(AuthenticationError):
        other.receive(bytes(TAG_SIZE))
    assert other.last_words == b""


def test_a_server_that_malformed_hellos_reach_says_nothing() -> None:
    other = server()
    with pytest.raises(ProtocolMismatch):
        other.receive(b"\0")
    assert other.last_words == b""


def test_the_end_of_the_stream_before_a_hello_is_a_mismatch_and_behind_it_a_wrong_key() -> None:
    one = client()
    one.greeting()
    error: ObjxferError = one.lost()
    assert isinstance(error, ProtocolMismatch)
    one.receive(server().receive(client().greeting())[:-TAG_SIZE])
    assert one.heard
    assert isinstance(one.lost(), AuthenticationError)


def test_chunks_of_one_connection_are_nothing_on_another() -> None:
    one, other = agreed()
    _, stranger = shake_hands(client(hello(Role.CLIENT, nonce=b"n" * 32)), server())
    tag = one.sealer.seal(bytes(48))
    with pytest.raises(IntegrityError):
        stranger.opener.check(bytes(48), tag)
    with pytest.raises(IntegrityError):
        one.opener.check(bytes(48), tag)  # reflected
    other.opener.check(bytes(48), tag)
