"""Deliveries into a real folder, by a peer that has the key, and says what it likes while it may.

An input is the receiver's rule for names that are taken, what is offered, and then message by
message what is announced and sent.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from fuzz.harness import Choices, Harness
from objxfer.blocking.places import place
from objxfer.errors import ObjxferError
from objxfer.files.digest import NODE
from objxfer.files.entries import Entry, IfExists, Kind
from objxfer.limits import MIB, Limits
from objxfer.protocol.answers import Accept
from objxfer.protocol.chunks import UNKNOWN
from objxfer.protocol.items import Item
from objxfer.protocol.messages import Done, Message
from objxfer.protocol.session import data
from objxfer.protocol.states import Side, State
from objxfer.protocol.trees import (
    Entries,
    Fate,
    File,
    FileEnd,
    Flush,
    Nodes,
    Offer,
    Pack,
    Packed,
    Patch,
)
from objxfer.transfer.steps import Receive, Steps, receive, send
from support.partials import OWNER
from support.simulator import Script, Simulator

_OUTSIDE: Final = b"a canary"
_OLD: Final = b"it was there"
_NAMES: Final = (
    *(b"t", b"a", b"d", b"A", b"old", b"out", b"..", b".", b"", b".objxfer-1", b".OBJXFER", b"con"),
    *(b"a\\b", b"n" * 256, b"\xff", b"e\xcc\x81", b"\xc3\xa9", b"a\n"),
)
_SIZES: Final = (0, 1, 5, NODE, UNKNOWN, NODE + 1)
_TIMES: Final = (0, 10**18, -1, 2**63 - 1, -(2**63))
_MOST: Final = 24
"""Messages of one delivery."""


@cache
def _place() -> Path:
    place = Path(tempfile.mkdtemp(prefix="objxfer-fuzz-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "outside").mkdir()
    (place / "outside" / "canary").write_bytes(_OUTSIDE)
    return place


def _feed(said: bytes) -> None:
    choices, inbox = Choices(said), _place() / "inbox"
    shutil.rmtree(inbox, ignore_errors=True)
    (inbox / "t").mkdir(parents=True)
    (inbox / "t" / "old").write_bytes(_OLD)
    (inbox / "t" / "out").symlink_to("../../outside")
    rule = choices.one_of(tuple(IfExists))
    for error in _deliver(_speaks(choices), inbox, rule):
        if not isinstance(error, ObjxferError):
            raise error
    _check(inbox, replaces=rule is IfExists.REPLACE)


def _deliver(steps: Steps[None], inbox: Path, rule: IfExists) -> list[BaseException]:
    """Let both sides go on in turn until they are through; return the errors of either."""
    simulator = Simulator(1, capacity=4 * MIB)
    simulator.greed = 4 * MIB
    parties = client, server = simulator.client, simulator.server

    def speaks() -> Script:
        task = client.start(lambda _: steps)
        yield lambda: task.done
        task.result()

    client.run(speaks())
    server.run(server.takes(place(str(inbox), rule, Limits(), owner=OWNER, keep_partial=0), []))
    while not all(party.done for party in parties):
        moved = False
        for party in parties:
            moved |= party.go_on(simulator.now) | party.work(simulator.rng)
            moved |= party.write() | party.read()
        if not moved:
            simulator.now += 4  # each waits for the other: that is given up at last
            simulator._pass_time()
    return client.errors + server.errors


def _check(inbox: Path, *, replaces: bool) -> None:
    outside = inbox.parent / "outside"
    assert sorted(os.listdir(inbox.parent)) == ["inbox", "outside"]
    assert os.listdir(outside) == ["canary"]
    assert (outside / "canary").read_bytes() == _OUTSIDE
    if not replaces:
        assert (inbox / "t" / "old").read_bytes() == _OLD
        assert os.readlink(inbox / "t" / "out") == "../../outside"
    for folder, folders, files in os.walk(inbox):
        for name in folders + files:
            assert not name.lower().startswith(".objxfer"), "something of ours is left"
            path = os.path.join(folder, name)
            if os.path.islink(path) and os.readlink(path) != "../../outside":
                target = os.path.normpath(os.path.join(folder, os.readlink(path)))
                assert target.startswith(f"{inbox}/"), "a link leads out"


def _speaks(choices: Choices) -> Steps[None]:
    """Offer, and once that is accepted, say what is legal."""
    tops = tuple(choices.one_of(_NAMES) for _ in range(1 + choices.number() % 2))
    asked = choices.one_of((None, *IfExists))
    yield from send(Offer(tops, _path(choices), asked, choices.number(), UNKNOWN))
    yield from receive(Accept)
    side = Item(State.OPEN, State.ANSWERING, 0)
    for _ in range(_MOST):
        if not choices:
            break
        for message in _messages(choices):
            if side.takes(Side.OPENER, message.type):
                side.advance(Side.OPENER, message)
                yield from send(message)
    if not side.takes(Side.OPENER, Done.type):
        raise ObjxferError("it is left at that")
    yield from send(Done())
    while not isinstance((yield Receive()), Done):
        pass


def _messages(choices: Choices) -> Iterator[Message]:
    match choices.number() % 8:
        case 0 | 1:
            yield Entries([_entry(choices) for _ in range(1 + choices.number() % 3)])
        case 2:
            sizes = [choices.number() % 9 for _ in range(1 + choices.number() % 3)]
            lost = choices.number() == 1
            files = [
                Packed(Fate.LOST if lost and not size else Fate.READ, size, time, 0o644)
                for size, time in zip(sizes, itertools.repeat(choices.one_of(_TIMES)))
            ]
            yield Pack(files)
            yield data(b"x" * max(1, sum(sizes) + (choices.number() == 1)))
        case 3:
            held = choices.number() % 3
            yield File(choices.one_of(_SIZES), choices.one_of(_TIMES), 0o600, held)
        case 4:
            yield data(bytes([choices.number()]) * (choices.one_of((1, 5, NODE)) or 1))
        case 5:
            yield FileEnd(Fate.READ, choices.one_of(_SIZES))
        case 6:
            yield Nodes([b"n" * 32] * (1 + choices.number() % 3))
            yield Patch(choices.number() % 3)
        case _:
            yield Flush()


def _entry(choices: Choices) -> Entry:
    kind = choices.one_of((Kind.FILE, Kind.FILE, Kind.LINK, Kind.FOLDER))
    path, time = _path(choices), choices.one_of(_TIMES)
    if kind is Kind.LINK:
        return Entry(path, kind, 0, time, 0o777, _path(choices) or b"a")
    size = choices.one_of(_SIZES) if kind is Kind.FILE else 0
    return Entry(path, kind, size, time, choices.number() << 1 & 0o777)


def _path(choices: Choices) -> bytes:
    shape = choices.number()
    if shape == 0xFF:
        return choices.take(choices.number())
    return b"/".join(choices.one_of(_NAMES) for _ in range(shape % 4))


def _seeds() -> Iterator[bytes]:
    offer = bytes((0, 0, 0, 0, 1))  # t, for the folder itself
    a, old, deep, out = bytes((2, 0, 1)), bytes((2, 0, 4)), bytes((3, 0, 2, 1)), bytes((3, 0, 5, 1))

    def entry(kind: int, path: bytes, *rest: int) -> bytes:
        return bytes((0, 0, kind)) + path + bytes((1, *rest))

    packed, lost = bytes((2, 0, 5, 0, 1, 0)), bytes((2, 0, 0, 1, 1))
    for rule in range(4):
        for path in (a, old) if rule else (a, old, deep, out):
            begin = bytes((rule,)) + offer
            yield begin + entry(0, path, 2, 0xFF) + packed + b"\7"
            yield begin + entry(0, path, 0, 0xFF) + lost
            large = bytes((3, 0, 3, 1)), bytes((4, 7, 2)), bytes((5, 3))
            yield begin + entry(0, path, 3, 0xFF) + b"".join(large) + b"\7"
            yield begin + entry(2, path) + bytes((1, 1))  # a link
            yield begin + entry(3, path, 0xFF)  # a folder


HARNESS: Final = Harness(_feed, _seeds, at_most=24 * MIB, mutants=40)
