"""Attacks on the handshake: each of them in each mode, with TLS and without.

Two tables, ``ATTACKS`` on who listens by somebody who speaks by hand, and ``FORGERIES`` by somebody
who stands between two honest ones, and even holds the server's certificate. What is attacked
accepts pickles and files, and may have loaded and written nothing in the end.

Not in the tables, for it has no meaning there: a code without TLS, which is refused before anything
is said (``test_codes.py``); and in mode none a proof says nothing of who somebody is, so all that
is held there is that two connections cannot be mixed.
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from objxfer.blocking.connecting import connect
from objxfer.blocking.listener import Listener, listen
from objxfer.blocking.terms import SAFE, Terms
from objxfer.blocking.trust import Trusted
from objxfer.errors import (
    AuthenticationError,
    ConnectionLost,
    IntegrityError,
    ObjxferError,
    ProtocolMismatch,
    Timeout,
    WrongCode,
    WrongKey,
)
from objxfer.files.entries import KEEP
from objxfer.limits import Limits
from objxfer.protocol.chunks import OVERHEAD, Type
from objxfer.protocol.handshake import NOTHING, PLAIN, Handshake, Held
from objxfer.protocol.hello import ANYBODY, FieldNumber, Hello, Mode, Role
from objxfer.security.keys import Key, Keyring
from objxfer.security.pairing import Invitation, Pair, Pake
from objxfer.security.sealing import TAG_SIZE
from objxfer.transports import tls
from support.connected import KEY, OTHER_KEY, PATIENCE
from support.handshakes import CODE, PAIRED, half
from support.marks import Marks
from support.relay import Forge, Legs, relay
from support.wire import Wire, packed_object

REFUSALS: Final = (AuthenticationError, ProtocolMismatch)
LOST: Final = (AuthenticationError, ProtocolMismatch, ConnectionLost)
SCHEMES: Final = ("tcp", "tls")


class Way(NamedTuple):
    """How two trust each other, and over what."""

    mode: Mode
    scheme: str

    def trusted(self, role: Role) -> Trusted | None:
        """What ``key=`` is on one side."""
        client = role is Role.CLIENT
        match self.mode:
            case Mode.KEY:
                return KEY
            case Mode.CODE:
                return CODE if client else Invitation(CODE)
            case Mode.PAIR:
                return half(role)
            case Mode.NONE:
                return None

    def terms(self, role: Role) -> dict[str, Any]:
        """What one side is told."""
        if self.mode is Mode.NONE:
            return {"key": None, "insecure": True}
        return {"key": self.trusted(role), "accepts": ("msgpack", "pickle")}

    def side(self, role: Role, channel: bytes) -> Handshake:
        """One side of a handshake as it really is, spoken by hand."""
        told: dict[str, Any] = {"insecure": False, "accepts": SAFE} | self.terms(role)
        terms = Terms.check(
            "by hand",
            role=role,
            encrypted=True,
            peer_id=None,
            serializer="msgpack",
            classes=None,
            timeout=PATIENCE,
            into=None,
            if_exists="rename",
            keep_partial=KEEP,
            limits=Limits(),
            **told,
        )
        return terms.handshake(role, channel)


def ways(scheme: str, *modes: Mode, marks: Any = ()) -> list[Any]:
    return [
        pytest.param(Way(mode, scheme), id=f"{mode.name.lower()}-{scheme}", marks=marks)
        for mode in modes
    ]


WAYS: Final = [
    *ways("tcp", Mode.NONE, Mode.KEY, Mode.PAIR),
    *ways("tls", Mode.CODE),
    # All that TLS adds to these is another channel, which has tests of its own.
    *ways("tls", Mode.NONE, Mode.KEY, Mode.PAIR, marks=pytest.mark.long),
]


class Door:
    """A listener that would take anything from who proves it."""

    def __init__(self, way: Way, inbox: Path, **terms: Any) -> None:
        self._refusals: queue.SimpleQueue[ObjxferError] = queue.SimpleQueue()
        self.listener: Listener = listen(
            f"{way.scheme}://127.0.0.1:0",
            into=inbox,
            on_refused=lambda _, error: self._refusals.put(error),
            **(way.terms(Role.SERVER) | terms),
        )

    def refused(self) -> ObjxferError:
        return self._refusals.get(timeout=PATIENCE)

    def check_empty(self) -> None:
        with pytest.raises(Timeout):
            self.listener.accept(0)


class Scene:
    """One way, who listens in it, and who speaks by hand."""

    def __init__(self, way: Way, folder: Path, exit_stack: ExitStack) -> None:
        self.way = way
        self.mark = folder / "mark"
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        self.wires: list[Wire] = []
        self._exit_stack = exit_stack
        self.door = self.open()

    def open(self, **terms: Any) -> Door:
        door = Door(self.way, self.inbox, **terms)
        self._exit_stack.callback(door.listener.close)
        return door

    def wire(self, door: Door | None = None) -> Wire:
        """Connect to who listens."""
        wire = Wire((door or self.door).listener.url)
        self._exit_stack.callback(wire.sock.close)
        self.wires.append(wire)
        return wire

    def client(self, wire: Wire, channel: bytes | None = None) -> Handshake:
        """The client's side on a connection, with the right secret."""
        side = self.way.side(Role.CLIENT, b"tls" + bytes(32))
        side.channel = channel or wire.channel
        return side

    def honest(self) -> bytes:
        """All that an honest client says: the handshake, and a signed pickle."""
        door = self.open()
        wire = Wire(door.listener.url)
        with wire:
            side = self.client(wire)
            hello, proof = side.greeting(), met(wire, side)
            wire.send(proof)
            while side.established is None:
                side.receive(wire.sock.recv(65536))
            wire.established = side.established
            name, head = "pickle", pickle.dumps(Marks(self.mark))
            if self.way.mode is Mode.NONE:
                name, head = "raw", b"b"
            chunk = wire.chunk(Type.OBJECT, 1, packed_object(name, head, content=head))
            wire.send(chunk)
            server = door.listener.accept(PATIENCE)
            server.recv(PATIENCE)
            server.abandon()
        if name == "pickle":
            self.mark.rmdir()  # so it can be loaded
        return hello + proof + chunk

    def check_unharmed(self) -> None:
        """Nobody was let in, and nothing was loaded or written."""
        self.door.check_empty()
        assert not self.mark.exists()
        assert list(self.inbox.iterdir()) == []


@pytest.fixture(params=WAYS)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as exit_stack:
        yield Scene(request.param, tmp_path, exit_stack)


def met(wire: Wire, side: Handshake, hello: bytes | None = None) -> bytes:
    """Say a client's hello, hear the server's; return the proof that it would say now."""
    wire.send(hello or side.greeting())
    proof = b""
    while not proof:
        heard = wire.sock.recv(65536)
        assert heard, "it hung up"
        proof = side.receive(heard)
    return proof


def answer(wire: Wire, side: Handshake) -> tuple[Hello, bytes]:
    """Say a client's hello; return the server's, and the proof behind it if there is one."""
    wire.send(side.greeting())
    heard = b""
    while len(heard) < 9 or len(heard) < _size(heard) + _proof_size(side):
        heard += wire.sock.recv(65536)
    return Hello.unpack(heard[: _size(heard)]), heard[_size(heard) :]


def blind(wire: Wire, side: Handshake) -> bytes:
    """The proof that this side would say without a look at the server's."""
    hello, _ = answer(wire, side)
    side.receive(hello.pack())
    return side._proof()


def _size(heard: bytes) -> int:
    return int.from_bytes(heard[7:9], "big")


def _proof_size(side: Handshake) -> int:
    return 0 if side.own.mode is Mode.CODE else TAG_SIZE


# --- somebody who speaks by hand to who listens ---


def replayed(scene: Scene) -> None:
    """A whole connection of an honest client, again."""
    said = scene.honest()
    scene.wire().send(said)


def replayed_unspent(scene: Scene) -> None:
    """A hello and a proof that were never delivered where they belong."""
    one, other = scene.wire(), scene.wire()
    side = scene.client(one)
    hello = side.greeting()
    other.send(hello + met(one, side, hello))


def reflected_proof(scene: Scene) -> None:
    wire = scene.wire()
    hello, proof = answer(wire, scene.client(wire))
    wire.send(proof or hello.pack()[-TAG_SIZE:])


def reflected_hello(scene: Scene) -> None:
    """What one connection's server said, as the client of another."""
    one, other = scene.wire(), scene.wire()
    hello, proof = answer(one, scene.client(one))
    other.send(replace(hello, role=Role.CLIENT).pack() + (proof or bytes(TAG_SIZE)))


def swapped_roles(scene: Scene) -> None:
    wire = scene.wire()
    side = scene.client(wire)
    side.greeting()
    wire.send(replace(side.own, role=Role.SERVER).pack() + bytes(TAG_SIZE))


def spliced(scene: Scene) -> None:
    """One client's hello to two servers' sides, and the proof for the one to the other."""
    one, other = scene.wire(), scene.wire()
    side = scene.client(one)
    hello = side.greeting()
    other.send(hello)
    other.send(met(one, side, hello))


def crossed(scene: Scene) -> None:
    """Two clients, and the proof of each to the other one's server."""
    wires = scene.wire(), scene.wire()
    proofs = [met(wire, scene.client(wire)) for wire in wires]
    for wire, proof in zip(wires, reversed(proofs), strict=True):
        wire.send(proof)


def other_modes(scene: Scene) -> None:
    """The hellos of all other modes, in which this side trusts nobody."""
    for mode in set(Mode) - {scene.way.mode}:
        wire = scene.wire()
        side = Way(mode, "tls").side(Role.CLIENT, b"tls" + bytes(32))
        wire.send(side.greeting() + bytes(TAG_SIZE))


def secret_of_none(scene: Scene) -> None:
    """In the right mode, and with what stands for no secret."""
    wire = scene.wire()
    side = scene.client(wire)
    hello, _ = answer(wire, side)
    side.secret = Held(bytes(32))
    side.receive(hello.pack())
    wire.send(side._proof())


def versions(scene: Scene) -> None:
    """Of no version that is spoken here."""
    for low, high in ((2, 3), (255, 255)):
        wire = scene.wire()
        side = scene.client(wire)
        side.greeting()
        wire.send(replace(side.own, versions=(low, high)).pack() + bytes(TAG_SIZE))


def other_channels(scene: Scene) -> None:
    """Proofs for what is no channel of this connection."""
    for channel in (PLAIN, b"tls" + bytes(32), b"unix"):
        wire = scene.wire()
        if channel != wire.channel:
            wire.send(blind(wire, scene.client(wire, channel)))
        else:
            scene.wires.remove(wire)
            wire.sock.close()
            scene.door.refused()


def without_tls(scene: Scene) -> None:
    """The right words where TLS is spoken, or TLS where it is not."""
    url = scene.door.listener.url
    if scene.way.scheme == "tls":
        wire = Wire(url.replace("tls:", "tcp:"))
        wire.send(scene.client(wire).greeting())
    else:
        wire = Wire(url)
        outgoing = ssl.MemoryBIO()
        speaking = tls.client_context().wrap_bio(ssl.MemoryBIO(), outgoing)
        with contextlib.suppress(ssl.SSLWantReadError):
            speaking.do_handshake()
        wire.send(outgoing.read())
    scene._exit_stack.callback(wire.sock.close)
    scene.wires.append(wire)


PROOFS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "of zeros": lambda proof: bytes(len(proof)),
    "first bit off": lambda proof: bytes((proof[0] ^ 0x80,)) + proof[1:],
    "last bit off": lambda proof: proof[:-1] + bytes((proof[-1] ^ 1,)),
    "truncated": lambda proof: proof[:-1],
    "half": lambda proof: proof[: TAG_SIZE // 2],
    "empty": lambda _: b"",
    "extended in front": lambda proof: b"\0" + proof,
    "shifted": lambda proof: proof[1:] + b"\0",
}


def proof_that_is(change: Callable[[bytes], bytes]) -> Callable[[Scene], None]:
    def attack(scene: Scene) -> None:
        wire = scene.wire()
        wire.send(change(met(wire, scene.client(wire))))

    return attack


ATTACKS: Final[dict[str, Callable[[Scene], None]]] = {
    "replay": replayed,
    "replay of what was never delivered": replayed_unspent,
    "reflected proof": reflected_proof,
    "reflected hello": reflected_hello,
    "roles swapped": swapped_roles,
    "two sessions spliced": spliced,
    "two sessions crossed": crossed,
    "downgrade to another mode": other_modes,
    "downgrade to no secret": secret_of_none,
    "another version": versions,
    "another channel": other_channels,
    "another transport": without_tls,
    **{f"proof {name}": proof_that_is(change) for name, change in PROOFS.items()},
}
HARMLESS: Final = {("downgrade to no secret", Mode.NONE)}
"""What is the honest thing to say in a mode."""


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_gets_in(name: str, scene: Scene) -> None:
    if (name, scene.way.mode) in HARMLESS:
        return
    ATTACKS[name](scene)
    for wire in scene.wires:
        with contextlib.suppress(OSError):
            wire.sock.shutdown(2)
    for _ in scene.wires:
        error = scene.door.refused()
        assert isinstance(error, REFUSALS), error
        assert str(error).isprintable()
    scene.check_unharmed()


def test_what_stands_behind_a_right_proof_is_no_chunk(scene: Scene) -> None:
    """The tag extended: who said it is in, and it is not taken."""
    wire = scene.wire()
    wire.send(met(wire, scene.client(wire)) + bytes(OVERHEAD))
    server = scene.door.listener.accept(PATIENCE)
    with pytest.raises(IntegrityError):
        server.recv(PATIENCE)
    server.abandon()
    scene.check_unharmed()


def test_tls_of_an_older_version_is_not_spoken(tmp_path: Path) -> None:
    door = Door(Way(Mode.KEY, "tls"), tmp_path)
    older = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    older.check_hostname, older.verify_mode = False, ssl.CERT_NONE
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with Wire(door.listener.url.replace("tls:", "tcp:")) as wire, pytest.raises(ssl.SSLError):
        older.wrap_socket(wire.sock)
    assert isinstance(door.refused(), ProtocolMismatch)
    door.listener.close()


# --- names that are not those of the key ---

ALONE: Final = half(Role.SERVER)
"""A pair, as who listens has it."""
SECOND: Final = Pair(Key.from_bytes(bytes(range(7, 39))), ALONE.own, b"second peer here")
THIRD: Final = Key.from_bytes(bytes(range(9, 41)))


class Claim(NamedTuple):
    """What a hello names, and the key that is really there."""

    mode: Mode
    key_id: str
    secret: bytes
    peer_id: bytes = b"whoever it may be"[:16]
    intended: bytes = ANYBODY


CLAIMS: Final = {
    "a key under another's id": Claim(Mode.KEY, OTHER_KEY.id, KEY.secret()),
    "the other one": Claim(Mode.KEY, KEY.id, OTHER_KEY.secret()),
    "a strange key under a known id": Claim(Mode.KEY, KEY.id, THIRD.secret()),
    "a strange key": Claim(Mode.KEY, THIRD.id, THIRD.secret()),
    "an unknown id and zeros": Claim(Mode.KEY, "00000000", bytes(32)),
    "a key of a pair as that of a group": Claim(Mode.KEY, PAIRED.id, PAIRED.secret()),
    "and under the group's id": Claim(Mode.KEY, KEY.id, PAIRED.secret()),
    "a group's key as that of a pair": Claim(
        Mode.PAIR, KEY.id, KEY.secret(), ALONE.peer, ALONE.own
    ),
    "and under the pair's id": Claim(Mode.PAIR, PAIRED.id, KEY.secret(), ALONE.peer, ALONE.own),
    "a pair under the other peer's id": Claim(
        Mode.PAIR, PAIRED.id, PAIRED.secret(), SECOND.peer, ALONE.own
    ),
    "and with its key's id": Claim(
        Mode.PAIR, SECOND.key.id, PAIRED.secret(), SECOND.peer, ALONE.own
    ),
    "the other one's key under one's own name": Claim(
        Mode.PAIR, PAIRED.id, SECOND.key.secret(), ALONE.peer, ALONE.own
    ),
    "a pair under the listener's own id": Claim(
        Mode.PAIR, PAIRED.id, PAIRED.secret(), ALONE.own, ALONE.own
    ),
    "a pair that means somebody else": Claim(
        Mode.PAIR, PAIRED.id, PAIRED.secret(), ALONE.peer, SECOND.peer
    ),
    "a pair of zeros": Claim(Mode.PAIR, "00000000", bytes(32), ALONE.peer, ALONE.own),
    "a pair and a peer id of zeros": Claim(
        Mode.PAIR, PAIRED.id, PAIRED.secret(), ANYBODY, ALONE.own
    ),
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS.keys())
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_name_and_a_key_that_do_not_belong_together(
    claim: Claim, scheme: str, tmp_path: Path
) -> None:
    """Who listens has two keys, and is paired with two."""
    with ExitStack() as exit_stack:
        scene = Scene(Way(Mode.KEY, scheme), tmp_path, exit_stack)
        door = scene.open(key=[Keyring(KEY, OTHER_KEY), ALONE, SECOND])
        wire = scene.wire(door)
        own = Hello(
            Role.CLIENT,
            claim.mode,
            b"n" * 32,
            claim.peer_id,
            claim.intended,
            key_id=bytes.fromhex(claim.key_id),
        )
        side = Handshake(own, wire.channel, Held(claim.secret))
        wire.send(side.greeting())
        hello = Hello.unpack(hello_in(wire))
        if claim.intended in (ANYBODY, ALONE.own):
            # Nothing tells it from one that fits: the same answer, and a proof.
            assert (hello.mode, hello.key_id) == (claim.mode, own.key_id)
            side.receive(hello.pack())
            wire.send(side._proof())
        assert isinstance(door.refused(), WrongKey | AuthenticationError)
        door.check_empty()
        scene.check_unharmed()


def hello_in(wire: Wire) -> bytes:
    heard = b""
    while len(heard) < 9 or len(heard) < _size(heard):
        heard += wire.sock.recv(65536)
    return heard[: _size(heard)]


@pytest.mark.parametrize("room", [CODE.room - 1, CODE.room + 1, 0, 2**32 - 1])
def test_a_code_in_another_room(room: int, tmp_path: Path) -> None:
    with ExitStack() as exit_stack:
        scene = Scene(Way(Mode.CODE, "tls"), tmp_path, exit_stack)
        wire = scene.wire()
        side = scene.client(wire)
        side.own = replace(side.own, key_id=room.to_bytes(4, "big"))
        wire.send(met(wire, side))
        assert isinstance(scene.door.refused(), WrongCode)
        scene.check_unharmed()


# --- somebody between two who are honest ---


def of_hello(**changes: Any) -> Callable[[Hello], Hello]:
    return lambda hello: replace(hello, **changes)


CHANGES: Final[dict[str, Callable[[Hello], Hello]]] = {
    "nonce": of_hello(nonce=b"n" * 32),
    "peer id": of_hello(peer_id=b"p" * 16),
    "intended peer": of_hello(intended=b"i" * 16),
    "role": lambda hello: replace(hello, role=Role(3 - hello.role)),
    "versions": of_hello(versions=(1, 2)),
    "serialisers": of_hello(serializers=("pickle",)),
    "python": of_hello(python="3.0"),
    "trees": lambda hello: replace(hello, trees=not hello.trees),
    "limits": of_hello(limits=None),
    "key id": lambda hello: replace(hello, key_id=bytes(len(hello.key_id))),
    "element": lambda hello: replace(hello, element=hello.element and _element()),
}
"""Of a hello on its way; of all its fields."""
UNCHANGED: Final = {
    ("key id", Mode.NONE),
    *(("element", mode) for mode in (Mode.NONE, Mode.KEY, Mode.PAIR)),
}
"""Where there is nothing of the kind."""


def _element() -> bytes:
    return Pake(CODE, connecting=True).element


def first(change: Callable[[bytes], bytes]) -> Forge:
    """Change what comes first, and pass on what follows."""
    changed = False

    def forge(data: bytes) -> bytes:
        nonlocal changed
        if changed or not data:
            return data
        changed = True
        return change(data)

    return forge


def hello_with(change: Callable[[Hello], Hello]) -> Forge:
    def forge(data: bytes) -> bytes:
        size = _size(data)
        return change(Hello.unpack(data[:size])).pack() + data[size:]

    return first(forge)


def last_proof(side: Role, way: Way, change: Callable[[bytes], bytes]) -> Forge:
    """Change the proof of one side, wherever it stands in what that side says."""
    proves_alone = (side is Role.CLIENT) or way.mode is Mode.CODE
    said = 0

    def forge(data: bytes) -> bytes:
        nonlocal said
        if not data:
            return data
        said += 1
        if proves_alone and said == 2:
            return change(data[:TAG_SIZE]) + data[TAG_SIZE:]
        if not proves_alone and said == 1:
            size = _size(data)
            return data[:size] + change(data[size : size + TAG_SIZE]) + data[size + TAG_SIZE :]
        return data

    return forge


def between(scene: Scene, forged: Role, forge: Forge) -> None:
    """Let two honest ones meet through somebody who holds the server's own certificate."""
    legs = None
    if scene.way.scheme == "tls":
        legs = Legs(tls.server_context(), tls.client_context())
    says: Sequence[Forge] = (forge, bytes) if forged is Role.CLIENT else (bytes, forge)
    terms = scene.way.terms(Role.CLIENT)
    with relay(scene.door.listener.url, *says, legs=legs) as url, contextlib.suppress(*LOST):
        client = connect(url, timeout=PATIENCE, **terms)
        assert forged is Role.CLIENT, "the client believes a forged server"
        with contextlib.suppress(ObjxferError):
            client.send(Marks(scene.mark), serializer="pickle")
        client.abandon()


def check_refused(scene: Scene, forged: Role) -> None:
    if forged is Role.SERVER and scene.way.mode is Mode.CODE:
        # The guest was right, and is in; but does not stay with who answered.
        with contextlib.suppress(Timeout):
            server = scene.door.listener.accept(0)
            with pytest.raises(ObjxferError):
                server.recv(PATIENCE)
            server.abandon()
    else:
        assert isinstance(scene.door.refused(), LOST)
    scene.check_unharmed()


@pytest.mark.parametrize("forged", Role)
@pytest.mark.parametrize("name", CHANGES)
def test_nothing_of_a_hello_can_be_changed(name: str, forged: Role, scene: Scene) -> None:
    if (name, scene.way.mode) in UNCHANGED:
        return
    between(scene, forged, hello_with(CHANGES[name]))
    check_refused(scene, forged)


@pytest.mark.parametrize("forged", Role)
@pytest.mark.parametrize("name", ["of zeros", "first bit off", "last bit off", "shifted"])
def test_no_proof_can_be_changed(name: str, forged: Role, scene: Scene) -> None:
    between(scene, forged, last_proof(forged, scene.way, PROOFS[name]))
    check_refused(scene, forged)


@pytest.mark.parametrize("forged", Role)
def test_a_field_that_is_added_is_noticed(forged: Role, scene: Scene) -> None:
    def add(data: bytes) -> bytes:
        size = _size(data)
        more = b"\x0f\xff\0\0"
        assert max(FieldNumber) < 0xFFF
        return data[:7] + (size + len(more)).to_bytes(2, "big") + data[9:size] + more + data[size:]

    between(scene, forged, first(add))
    check_refused(scene, forged)


@pytest.mark.parametrize("mode", Mode)
def test_somebody_between_with_a_certificate_of_their_own(mode: Mode, tmp_path: Path) -> None:
    private_key, certificate, _ = tls._self_signed()
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.minimum_version = ssl.TLSVersion.TLSv1_3
    tls._load(own, private_key + certificate)
    with ExitStack() as exit_stack:
        scene = Scene(Way(mode, "tls"), tmp_path, exit_stack)
        legs = Legs(own, tls.client_context())
        with relay(scene.door.listener.url, legs=legs) as url, pytest.raises(AuthenticationError):
            connect(url, timeout=PATIENCE, **scene.way.terms(Role.CLIENT))
        assert isinstance(scene.door.refused(), LOST)
        scene.check_unharmed()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_peer_that_is_led_to_its_own_inbox(scheme: str, tmp_path: Path) -> None:
    """A calls B, and is led to where A itself takes what B sends."""
    ours = half(Role.CLIENT)
    with ExitStack() as exit_stack:
        scene = Scene(Way(Mode.PAIR, scheme), tmp_path, exit_stack)
        own = scene.open(key=ours)
        with (
            relay(own.listener.url) as url,
            pytest.raises(AuthenticationError, match="somebody else"),
        ):
            connect(url, key=ours, timeout=PATIENCE)
        assert "meant to reach somebody else" in str(own.refused())
        own.check_empty()
        scene.check_unharmed()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_and_whose_call_is_made_one_of_the_peer(scheme: str, tmp_path: Path) -> None:
    """The one between changes the ids, so that it looks like a call of B to A, and back."""
    ours = half(Role.CLIENT)
    turned = hello_with(lambda hello: replace(hello, peer_id=ours.peer, intended=ours.own))
    back = hello_with(lambda hello: replace(hello, peer_id=ours.peer, intended=ours.own))
    with ExitStack() as exit_stack:
        scene = Scene(Way(Mode.PAIR, scheme), tmp_path, exit_stack)
        own = scene.open(key=ours)
        legs = Legs(tls.server_context(), tls.client_context()) if scheme == "tls" else None
        with relay(own.listener.url, turned, back, legs=legs) as url, pytest.raises(WrongKey):
            connect(url, key=ours, timeout=PATIENCE)
        assert isinstance(own.refused(), AuthenticationError)
        own.check_empty()
        scene.check_unharmed()


# --- somebody who answers in the place of who listens ---


def replayed_answer(way: Way, channel: bytes) -> Forge:
    """What an honest server said to another client."""
    server, client = way.side(Role.SERVER, channel), way.side(Role.CLIENT, channel)
    said = server.receive(client.greeting())
    if way.mode is Mode.CODE:
        said += server.receive(client.receive(said))
    return first(lambda _: said)


def mirrored(way: Way, channel: bytes) -> Forge:
    """What the client itself says, as the server's words."""
    return first(
        lambda data: replace(Hello.unpack(data), role=Role.SERVER).pack() + bytes(TAG_SIZE)
    )


def echoed(way: Way, channel: bytes) -> Forge:
    return first(bytes)


def downgraded(mode: Mode) -> Callable[[Way, bytes], Forge]:
    """A right answer, in another mode."""

    def answers(way: Way, channel: bytes) -> Forge:
        def say(data: bytes) -> bytes:
            hello = Way(mode, way.scheme).side(Role.SERVER, b"tls" + bytes(32)).own
            key_id = b"" if mode is Mode.NONE else bytes(4)
            hello = replace(hello, key_id=key_id, intended=Hello.unpack(data).peer_id)
            side = Handshake(hello, b"tls", NOTHING)
            side.channel = channel
            side.theirs = Hello.unpack(data)
            return hello.pack() + side._proof()

        return first(say)

    return answers


ANSWERS: Final[dict[str, Callable[[Way, bytes], Forge]]] = {
    "replay": replayed_answer,
    "mirror": mirrored,
    "echo": echoed,
    **{f"mode {mode.name.lower()}": downgraded(mode) for mode in Mode},
}


@pytest.mark.parametrize("name", ANSWERS)
def test_nobody_else_answers_for_a_server(name: str, scene: Scene) -> None:
    """Whoever answers holds the certificate, and not the secret."""
    way, heard = scene.way, b""
    if name == f"mode {way.mode.name.lower()}":
        return
    channel = PLAIN
    legs = None
    if way.scheme == "tls":
        channel = b"tls" + tls._identity().certificate_hash
        legs = Legs(tls.server_context(), tls.client_context())
    forge = ANSWERS[name](way, channel)
    words = b""

    def listen_in(data: bytes) -> bytes:
        nonlocal heard, words
        if not heard and data:
            words = forge(data)
        heard += data
        return data

    with (
        relay(scene.door.listener.url, listen_in, first(lambda _: words), legs=legs) as url,
        pytest.raises(REFUSALS),
    ):
        connect(url, timeout=PATIENCE, **way.terms(Role.CLIENT))
    said = heard[_size(heard) :]
    assert len(said) <= (TAG_SIZE if way.mode is Mode.CODE else 0), "it says more than a hello"
    scene.check_unharmed()
