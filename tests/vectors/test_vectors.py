from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest

from objxfer.blocking.trust import Trust
from objxfer.errors import (
    AuthenticationError,
    ConnectionLost,
    IntegrityError,
    ObjxferError,
    PeerError,
    ProtocolMismatch,
    WrongCode,
    WrongKey,
)
from objxfer.files.entries import Entry, Receipt, Verdict
from objxfer.limits import Limits
from objxfer.protocol.chunks import HEADER, OPENING, Type, unpack_header
from objxfer.protocol.handshake import NOTHING, Handshake, Held, Secret
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.protocol.messages import READERS, Abort, Object, Objects, Opening
from objxfer.protocol.session import Session
from objxfer.protocol.trees import Packed
from objxfer.security.keys import Key, Keyring
from objxfer.security.pairing import Code, Pair, Pake
from objxfer.security.sealing import TAG_SIZE
from support.pair import byte_by_byte, feed, own_memory, whole, written
from vectors import make

FOLDER: Final = Path(__file__).parent
FILES: Final = sorted(FOLDER.glob("*.txt"))
CODE: Final = Code.parse("4-walnut-copper-tiger")
KEY: Final = Key.from_bytes(bytes(range(1, 33)))
FAILURES: Final[dict[type[ObjxferError], str]] = {
    ProtocolMismatch: "mismatch",
    AuthenticationError: "authentication",
    WrongCode: "authentication",
    WrongKey: "authentication",
    IntegrityError: "integrity",
    PeerError: "peer-error",
    ConnectionLost: "lost",
}


class Vector:
    """A file, read."""

    def __init__(self, path: Path) -> None:
        head, digits = path.read_text("utf-8").split("\n\n")
        self.data = bytes.fromhex(digits)
        self.lines: dict[str, str] = {}
        self.said: list[tuple[int, int, Type, bytes]] = []
        for line in head.splitlines():
            name, value = line.split(":", 1)
            self.lines[name] = value.strip()
            if name == "said":
                at, item, kind, *payload = value.split()
                said = (int(at), int(item), Type[kind], bytes.fromhex("".join(payload)))
                self.said.append(said)
        self.mode = Mode[self.lines.get("mode", "key").upper()]
        self.role = Role[self.lines.get("side", "server").upper()]


def shown(value: object) -> Any:
    """What a message holds, as JSON has it."""
    if isinstance(value, Object | Entry | Packed | Receipt | Verdict):
        return {name: shown(field) for name, field in value._asdict().items()}
    if isinstance(value, Objects):
        return {"objects": [shown(one) for one in value.objects]}
    if is_dataclass(value) and not isinstance(value, type):
        return {name: shown(field) for name, field in asdict(value).items()}
    if isinstance(value, dict):
        return {name: shown(field) for name, field in value.items()}
    if isinstance(value, list | tuple):
        return [shown(one) for one in value]
    return value.hex() if isinstance(value, bytes) else value


def as_json(value: object) -> str:
    return json.dumps(shown(value))


# --- one runner a kind: what was released, and the outcome where it is not an error ---


def run_hello(vector: Vector, released: list[str]) -> str:
    hello = Hello.unpack(vector.data)
    released.append(as_json(hello))
    return "success"


def handshake(role: Role, mode: Mode, channel: bytes = b"plain") -> Handshake:
    """One side, as ``README.md`` describes it."""
    hello = Hello(
        role,
        mode,
        bytes([role]) * 32,
        bytes([0x10 + role]) * 16,
        key_id={Mode.NONE: b"", Mode.CODE: bytes((0, 0, 0, CODE.room))}.get(
            mode, bytes.fromhex(KEY.id)
        ),
        serializers=("raw", "text"),
        python="3.11",
    )
    client, server = (bytes([0x10 + each]) * 16 for each in Role)
    if role is Role.CLIENT:
        if mode is Mode.PAIR:
            hello = replace(hello, intended=server)
        secrets: dict[Mode, Secret] = {Mode.NONE: NOTHING, Mode.CODE: pake(role)}
        return Handshake(hello, channel, secrets.get(mode, Held(KEY.secret())))
    if mode is Mode.CODE:
        return Handshake(hello, channel, find={mode: lambda _: pake(role)})
    trusts = {Mode.KEY: Trust(Keyring(KEY)), Mode.PAIR: Trust(pairs=(Pair(KEY, server, client),))}
    return Handshake(hello, channel, find=trusts.get(mode, Trust()).finds())


def pake(role: Role) -> Pake:
    return Pake(CODE, connecting=role is Role.CLIENT, entropy=lambda size: bytes([role]) * size)


def run_handshake(vector: Vector, released: list[str]) -> str:
    channel = bytes.fromhex(vector.lines.get("channel", b"plain".hex()))
    side = handshake(vector.role, vector.mode, channel)
    said = side.greeting()
    try:
        for at in range(len(vector.data)):
            said += side.receive(vector.data[at : at + 1])
    except ObjxferError:
        said = said or side.last_words
        raise
    finally:
        hello = side.own.pack()
        if said and len(said) <= len(hello):
            released.append("hello")
        elif said:
            assert len(said) == len(hello) + TAG_SIZE
            released.append("hello proof")
    return "success" if side.established is not None else "need-more"


def run_header(vector: Vector, released: list[str]) -> str:
    assert len(vector.data) == HEADER.size
    header = unpack_header(vector.data, Limits().chunk)
    fields = {"type": header.type.name, "item": header.item, "size": header.size}
    released.append(json.dumps(fields))
    return "success"


def run_message(vector: Vector, released: list[str]) -> str:
    reader = READERS[Type[vector.lines["type"]]]
    message = reader.unpack(vector.data)
    assert message.pack() == vector.data or "not known" in vector.lines["what"]
    released.append(as_json(message))
    return "success"


def session(vector: Vector) -> Session:
    client, server = (handshake(role, vector.mode) for role in (Role.CLIENT, Role.SERVER))
    server.receive(client.receive(server.receive(client.greeting())))
    established = (server if vector.role is Role.SERVER else client).established
    assert established is not None
    return Session(established, Limits(), own_memory)


def say(side: Session, item: int, kind: Type, payload: bytes) -> None:
    message = READERS[kind].unpack(payload)
    if kind in OPENING:
        assert isinstance(message, Opening)
        assert side.open(message) == item
    elif isinstance(message, Abort):
        side.abort(item, message)
    else:
        assert side.send(item, message)


def chunks(stream: bytes) -> list[str]:
    """Item and type of each chunk of a stream."""
    found = []
    while stream:
        header = unpack_header(stream[: HEADER.size], Limits().chunk)
        found.append(f"{header.item} {header.type.name}")
        stream = stream[HEADER.size + TAG_SIZE + header.size :]
    return found


def run_session(vector: Vector, released: list[str]) -> str:
    side, at, answers = session(vector), 0, b""
    cut = whole if len(vector.data) > 10_000 else byte_by_byte
    try:
        for offset, item, kind, payload in vector.said:
            feed(side, vector.data[at:offset], cut)
            at = offset
            answers += written(side)
            say(side, item, kind, payload)
            written(side)
        feed(side, vector.data[at:], cut)
    finally:
        answers += written(side)
        released.append(", ".join(f"{one.item} {one.message.type.name}" for one in side.events))
        assert ", ".join(chunks(answers)) == vector.lines["answers"]
    if side.peer_ended and not any(side.live(item) for item in range(1, 10)):
        return "success"
    return "need-more"


RUNNERS: Final[dict[str, Callable[[Vector, list[str]], str]]] = {
    "hello": run_hello,
    "handshake": run_handshake,
    "header": run_header,
    "message": run_message,
    "session": run_session,
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_vector(path: Path) -> None:
    vector = Vector(path)
    released: list[str] = []
    try:
        outcome = RUNNERS[vector.lines["kind"]](vector, released)
    except ObjxferError as error:
        outcome = FAILURES[type(error)]
    assert outcome == vector.lines["expect"]
    assert "".join(released) == vector.lines["released"]


def test_the_files_are_what_the_script_writes(tmp_path: Path) -> None:
    make.main(tmp_path)
    new = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert new == {path.name: path.read_bytes() for path in FILES}


def test_what_is_no_vector_any_more_is_removed(tmp_path: Path) -> None:
    (tmp_path / "old.txt").touch()
    make.main(tmp_path)
    assert not (tmp_path / "old.txt").exists()


def test_there_are_vectors_of_each_kind_and_outcome() -> None:
    cases = list(make.cases())
    assert len({case.name for case in cases}) == len(cases) >= 80
    assert set(Counter(case.kind for case in cases)) == set(RUNNERS)
    assert {case.expect for case in cases} == {*FAILURES.values(), "success", "need-more"}
    said = {one.split()[1] for case in cases for one in case.released.split(", ") if " " in one}
    tested = {value for case in cases for name, value in case.about if name == "type"} | said
    assert {kind.name for kind in OPENING} <= tested
