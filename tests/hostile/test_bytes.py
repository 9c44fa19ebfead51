"""Bytes that change on their way, and streams that end too soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from objxfer.blocking.connecting import connect
from objxfer.blocking.listener import listen
from objxfer.errors import (
    AuthenticationError,
    ConnectionClosed,
    ConnectionLost,
    ExitCode,
    IntegrityError,
    ObjxferError,
    ProtocolMismatch,
    Timeout,
)
from objxfer.files.entries import Action, Answer, Receipt, Verdict
from objxfer.limits import Limits
from objxfer.protocol.answers import Accept, Receipts, Wanted
from objxfer.protocol.chunks import OVERHEAD
from objxfer.protocol.hello import Role
from objxfer.protocol.messages import Done, Message, Object, Taken
from objxfer.protocol.session import Session, data
from objxfer.protocol.trees import Entries, Flush
from support.byhand import CONTENTS, CONTENTS_FOLLOW, file, offer
from support.connected import KEY, PATIENCE, begin
from support.handshakes import client, server
from support.pair import feed, heard, own_memory, written
from support.relay import Forge, cutting, flipping, relay

# --- in memory, at every offset ---

Heard = dict[Role, list[tuple[int, Message]]]
INLINE: Final = Object("text", 5, (), receipt_wanted=True, content=b"hello")
LARGE: Final = Object("raw", 0, (900,), receipt_wanted=False, content=None)


class Scene:
    """A small session of everything, over a link that forges one direction."""

    def __init__(self, forged: Role | None = None, forge: Forge = bytes) -> None:
        self.forges = {role: forge if role is forged else bytes for role in Role}
        self.heard: Heard = {Role.CLIENT: [], Role.SERVER: []}
        self.sizes = dict.fromkeys(Role, 0)

    def play(self) -> None:
        """Play it to its end, or to the first error, of whichever side."""
        one, other = client(), server()
        answer = other.receive(self.carried(Role.CLIENT, one.greeting()))
        proof = one.receive(self.carried(Role.SERVER, answer))
        other.receive(self.carried(Role.CLIENT, proof))
        if one.established is None or other.established is None:
            raise Timeout("a side waits for more")
        ours = Session(one.established, Limits(), own_memory)
        theirs = Session(other.established, Limits(), own_memory)
        self.sessions = {Role.CLIENT: ours, Role.SERVER: theirs}
        for _ in self.script(ours, theirs):
            self.carry(Role.CLIENT, ours, theirs)
            self.carry(Role.SERVER, theirs, ours)

    def script(self, ours: Session, theirs: Session) -> Iterator[None]:
        item = ours.open(LARGE)
        ours.send(item, data(bytes(900)))
        ours.send(item, Done())
        item = ours.open(INLINE)
        yield
        theirs.send(item, Taken())
        item = ours.open(offer(b"t"))
        yield
        theirs.send(item, Accept(9))
        yield
        ours.send(item, Entries([file(b"t/a"), file(b"t/b")]))
        yield
        theirs.send(item, Wanted([Verdict(Answer.WANTED), Verdict(Answer.UNCHANGED, b"t/b (1)")]))
        yield
        for message in (*CONTENTS_FOLLOW, Flush()):
            ours.send(item, message)
        yield
        theirs.send(item, Receipts([Receipt(Action.RECEIVED, len(CONTENTS), b"d" * 32, True)]))
        ours.send(item, Done())
        yield
        theirs.send(item, Done())
        item = theirs.open(LARGE)
        theirs.send(item, data(bytes(900)))
        theirs.send(item, Done())
        ours.end()
        theirs.end()
        yield

    def carry(self, role: Role, sender: Session, receiver: Session) -> None:
        stream = self.carried(role, written(sender))
        to = Role.SERVER if role is Role.CLIENT else Role.CLIENT
        try:
            feed(receiver, stream)
        finally:
            self.heard[to] += [(item, message) for item, message, _ in heard(receiver)]

    def carried(self, role: Role, stream: bytes) -> bytes:
        self.sizes[role] += len(stream)
        return self.forges[role](stream)


def played() -> Scene:
    scene = Scene()
    scene.play()
    return scene


PLAYED: Final = played()
BITS = [pytest.param((0,), id="a bit"), pytest.param(range(8), id="bits", marks=pytest.mark.long)]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("role", Role)
def test_a_bit_that_is_flipped_at_any_offset_is_found(role: Role, bits: range) -> None:
    assert PLAYED.sizes[role] > 1500
    for offset in range(PLAYED.sizes[role]):
        for bit in bits:
            scene = Scene(role, flipping(offset, (offset + bit) % 8))
            with pytest.raises(
                (IntegrityError, AuthenticationError, ProtocolMismatch, Timeout)
            ) as caught:
                scene.play()
            assert caught.value.exit_code in (30, 13, 15, 12)
            for side in Role:
                whole, some = PLAYED.heard[side], scene.heard[side]
                assert some == whole[: len(some)], f"something else is heard at {offset}"


@pytest.mark.parametrize("role", Role)
def test_a_stream_that_ends_at_any_offset_is_lost(role: Role) -> None:
    to = Role.SERVER if role is Role.CLIENT else Role.CLIENT
    for offset in range(PLAYED.sizes[role]):
        scene = Scene(role, cutting(offset))
        try:
            scene.play()
        except Timeout:
            continue
        except Exception as error:  # noqa: BLE001 - the cut itself, which the link raises
            last = getattr(error, "last", None)
            if last is None or not hasattr(scene, "sessions"):
                assert last is not None, "not the cut"
                continue
            receiver = scene.sessions[to]
            feed(receiver, last)
            scene.heard[to] += [(item, message) for item, message, _ in heard(receiver)]
            assert isinstance(receiver.lost(), ConnectionLost)
            assert isinstance(receiver.failure, ConnectionLost)
        whole, some = PLAYED.heard[to], scene.heard[to]
        assert some == whole[: len(some)]


# --- over real connections, at some offsets or all ---

OBJECTS: Final = ["one", b"\0" * 3000, {"two": [2.0, None]}]
TREE: Final = {"a": b"contents of a", "d/b": b"contents of b" * 999, "d/empty": b""}
TLS_END: Final = 64
"""Bytes of two records' headers and tags, and of the alert in the second."""
CODES: Final = {
    ExitCode.CONNECTION_LOST,
    ExitCode.TIMEOUT,
    ExitCode.NOT_AUTHENTICATED,
    ExitCode.MISMATCH,
    ExitCode.INTEGRITY,
}


def deliver(url: str, source: Path) -> None:
    with connect(url, key=KEY, timeout=1.0) as connection:
        for obj in OBJECTS:
            connection.send(obj)
        assert connection.push(source, silence=2.0).exit_code == ExitCode.OK
        connection.send("last", wait=True, silence=2.0)


def outcome(call: Callable[[], None]) -> ObjxferError | None:
    try:
        call()
    except ObjxferError as error:
        return error
    return None


def delivered(
    scheme: str, source: Path, inbox: Path, client_says: Forge, server_says: Forge
) -> bool:
    """Run one session through a relay; whether both sides say that it went well."""
    inbox.mkdir()
    objects: list[object] = []
    with listen(f"{scheme}://127.0.0.1:0", key=KEY, into=inbox) as listener:

        def take() -> None:
            connection = listener.accept(PATIENCE)
            try:
                while True:
                    objects.append(connection.recv(silence=2.0))
            except ConnectionLost:
                connection.abandon()
                raise
            except ConnectionClosed:
                connection.close()
            except ObjxferError:
                connection.abandon()
                raise

        taking = begin(outcome, take)
        with relay(listener.url, client_says, server_says) as url:
            there = outcome(lambda: deliver(url, source))
            listener.close()  # who is not let in by now never is
            here = taking.result(PATIENCE)
    assert {error.exit_code for error in (there, here) if error is not None} <= CODES
    sent = [*OBJECTS, None, "last"]
    objects = [obj if isinstance(obj, (str, bytes, dict)) else None for obj in objects]
    assert objects == sent[: len(objects)]
    landed = {
        str(path.relative_to(inbox / "t")): path.read_bytes()
        for path in inbox.rglob("*")
        if path.is_file()
    }
    assert landed.items() <= TREE.items()
    if there is None or here is None:
        assert (objects, landed) == (sent, TREE)
    return there is None and here is None


def lengths(scheme: str, source: Path, inbox: Path) -> dict[Role, int]:
    """How much each side says in a session that nobody disturbs."""
    sizes = dict.fromkeys(Role, 0)

    def counting(role: Role) -> Forge:
        def forge(piece: bytes) -> bytes:
            sizes[role] += len(piece)
            return piece

        return forge

    assert delivered(scheme, source, inbox, counting(Role.CLIENT), counting(Role.SERVER))
    return sizes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    top = tmp_path / "source" / "t"
    for name, contents in TREE.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    return top


ALL: Final = pytest.param(None, id="all", marks=[pytest.mark.long, pytest.mark.timeout(1800)])


@pytest.mark.parametrize("samples", [pytest.param(60, id="some"), ALL])
@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("disturb", "scheme"), [(flipping, "tcp"), (cutting, "tcp"), (cutting, "tls")]
)
def test_nothing_wrong_arrives_where_a_connection_is_disturbed(
    disturb: Callable[[int], Forge],
    scheme: str,
    role: Role,
    samples: int | None,
    source: Path,
    inbox: Path,
) -> None:
    turns = map("{}".format, count())
    size = lengths(scheme, source, inbox / next(turns))[role]
    step = 1 if samples is None else size // samples
    for offset in range(0, size, step):
        forges = [disturb(offset) if side is role else bytes for side in Role]
        went_well = delivered(scheme, source, inbox / next(turns), forges[0], forges[1])
        # All that may be missed is that the server, too, has said that it is through; over TLS
        # there is a record around it, and a word at the end.
        last = OVERHEAD if scheme == "tcp" else OVERHEAD + TLS_END
        assert not went_well or (role is Role.SERVER and offset >= size - last)
