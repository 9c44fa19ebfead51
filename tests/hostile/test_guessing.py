"""The commands, and those who guess at the code that they show, or that they were given.

What the parts of it do is in ``test_codes.py`` and ``tests/protocol``.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import pytest

import objxfer
from objxfer.errors import ExitCode, WrongCode
from objxfer.protocol.handshake import Handshake
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.security.pairing import Code, Pake
from objxfer.security.sealing import TAG_SIZE
from support.commands import Commands, Running
from support.connected import PATIENCE, begin
from support.neighbours import Cable, needs_cable
from support.wire import Wire

pytestmark = pytest.mark.timeout(120)

HERE: Final = ("--listen", "tls://127.0.0.1:0")
COMMANDS: Final = {
    "send": ("send", "letter", *HERE),
    "receive": ("receive", "--into", "inbox", "--yes", *HERE),
    "pair": ("pair", *HERE),
}
BURNT: Final = "objxfer: warning: somebody tried a wrong code"


class Shown(NamedTuple):
    """A command that has shown a code."""

    running: Running
    code: Code
    url: str
    said: list[str]
    """What it said before."""


def shown(running: Running) -> Shown:
    said: list[str] = []
    while not (line := running.err_line()).startswith("code: "):
        assert line, said
        said.append(line)
    code = Code.parse(line.removeprefix("code: "))
    running.err_line()
    return Shown(running, code, running.err_line().split()[-1], said)


class Guess:
    """A guest by hand: as far as a proof, which it has not said yet."""

    def __init__(self, url: str, code: Code) -> None:
        pake = Pake(code, connecting=True)
        self.wire = Wire(url)
        room = code.room.to_bytes(4, "big")
        own = Hello(Role.CLIENT, Mode.CODE, os.urandom(32), os.urandom(16), key_id=room)
        side = Handshake(own, self.wire.channel, pake)
        self.wire.send(side.greeting())
        self.proof = b""
        while not self.proof:
            heard = self.wire.sock.recv(65536)
            assert heard, "it hung up"
            self.proof = side.receive(heard)

    def answer(self) -> bytes:
        """Say the proof, and return what is answered."""
        with self.wire, contextlib.suppress(OSError):
            self.wire.send(self.proof)
            return self.wire.rest()
        return b""


def wrong(code: Code) -> Code:
    """Another one of the same room."""
    return Code.parse("-".join([str(code.room), *Code.generate().spoken().split("-")[1:]]))


def finish(commands: Commands, name: str, waiting: Shown) -> None:
    """Have an honest one come with the code, and see that all is well."""
    code, url = waiting.code.spoken().encode(), waiting.url
    match name:
        case "send":
            came = commands.start("receive", "-", "--from", url, "--into", "inbox", "--yes")
        case "receive":
            came = commands.start("send", "letter", "--code", "-", "--to", url)
        case _:
            home = str(commands.folder / "other")
            other = {"HOME": home, "XDG_CONFIG_HOME": home}
            came = commands.start("pair", "-", "--from", url, environment=other)
    assert came.finish(code).code == ExitCode.OK
    ended = waiting.running.finish()
    assert ended.code == ExitCode.OK
    assert BURNT not in ended.err
    if name != "pair":
        assert (commands.inbox / "letter").read_bytes() == b"contents"


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with ExitStack() as exit_stack:
        commands = Commands(tmp_path, exit_stack)
        commands.key_file.unlink()
        commands.file("letter")
        yield commands


# --- at what a command shows ---


@pytest.mark.parametrize(
    ("name", "many"),
    [
        ("send", 12),
        *(
            pytest.param(name, many, marks=pytest.mark.long)
            for name, many in (("send", 150), ("receive", 40), ("pair", 40))
        ),
    ],
)
def test_many_who_are_as_far_as_a_proof_have_one_guess(
    name: str, many: int, commands: Commands
) -> None:
    """The first one is wrong. All others, said at once, are right, and would each be let in."""
    waiting = shown(commands.start(*COMMANDS[name]))
    guesses = [Guess(waiting.url, waiting.code) for _ in range(many)]
    assert Guess(waiting.url, wrong(waiting.code)).answer() == b""
    answers = [begin(guess.answer) for guess in guesses]
    assert {answer.result(PATIENCE) for answer in answers} == {b""}
    following = shown(waiting.running)
    assert len([line for line in following.said if line.startswith(BURNT)]) == 1
    assert following.code.room != waiting.code.room
    with pytest.raises(WrongCode):
        objxfer.connect(waiting.url, key=waiting.code)
    assert list(commands.inbox.iterdir()) == []
    finish(commands, name, following)


def vanish(sock: socket.socket) -> None:
    """Leave so that what is under way may be lost."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def silent(url: str, _: Code) -> Wire:
    return Wire(url.replace("tls:", "tcp:"))


def encrypted(url: str, _: Code) -> Wire:
    return Wire(url)


def met(url: str, code: Code) -> Wire:
    return Guess(url, code).wire


def almost(url: str, code: Code) -> Wire:
    guess = Guess(url, code)
    guess.wire.send(guess.proof[: TAG_SIZE - 1])
    return guess.wire


STAGES: Final[list[Callable[[str, Code], Wire]]] = [silent, encrypted, met, almost]


@pytest.mark.parametrize(
    "name", ["send", *(pytest.param(n, marks=pytest.mark.long) for n in ("receive", "pair"))]
)
def test_those_who_come_and_vanish_burn_nothing(name: str, commands: Commands) -> None:
    """At each stage up to the last byte of a proof, and with the right code or a wrong one."""
    waiting = shown(commands.start(*COMMANDS[name]))
    for turn in range(5):
        for stage in STAGES:
            code = wrong(waiting.code) if turn % 2 else waiting.code
            sock = stage(waiting.url, code).sock
            (vanish if turn % 3 else socket.socket.close)(sock)
    finish(commands, name, waiting)


def test_who_leaves_right_behind_a_proof_has_no_second_one(commands: Commands) -> None:
    """Three guesses and three codes: then the command has ended."""
    waiting = shown(commands.start(*COMMANDS["send"]))
    for _ in range(2):
        guess = Guess(waiting.url, wrong(waiting.code))
        with guess.wire as wire:
            wire.send(guess.proof)
        following = shown(waiting.running)
        assert following.code.room != waiting.code.room
        assert Guess(waiting.url, wrong(waiting.code)).answer() == b""  # the room is gone
        waiting = following
    assert Guess(waiting.url, wrong(waiting.code)).answer() == b""
    ended = waiting.running.finish()
    assert ended.code == ExitCode.NOT_AUTHENTICATED
    assert "every code was guessed wrong" in ended.err


# --- at what a command was given ---

ROGUE: Final = """
import socket, sys, threading
from objxfer.blocking.trust import Trust
from objxfer.discovery.announcing import announce
from objxfer.protocol.handshake import Handshake
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.security.pairing import Code, Invitation
from objxfer.transports import tls

room, does = int(sys.argv[1]), sys.argv[2]
channel = b"tls" + tls._identity().certificate_hash
kept = []


def answer():
    while True:
        try:
            sock = tls.server_context().wrap_socket(listening.accept()[0], server_side=True)
            own = Hello(Role.SERVER, Mode.CODE, b"n" * 32, b"r" * 16, key_id=bytes(4))
            trust = Trust(invitation=Invitation(Code(room, ("walnut", "copper", "tiger"))))
            side = Handshake(own, channel, find=trust.finds())
            sock.sendall(side.receive(sock.recv(4096)))
            print("proof" if sock.recv(4096) else "nothing", flush=True)
            if does == "answers wrongly":
                sock.sendall(bytes(32))
            if does == "is silent":
                kept.append(sock)
            else:
                sock.close()
        except OSError:
            print("left", flush=True)


listening = socket.create_server(("0.0.0.0", 0))
threading.Thread(target=answer, daemon=True).start()
with announce(str(room), listening.getsockname()[1]) as announced:
    announced.wait()
    print("announced", flush=True)
    sys.stdin.read()
"""
"""A program that answers for a room, and says of each who came whether it gave a proof."""


@needs_cable
@pytest.mark.parametrize(
    ("name", "does"),
    [
        ("receive", "hangs up"),
        *(
            pytest.param(name, does, marks=pytest.mark.long)
            for name in ("receive", "send", "pair")
            for does in ("hangs up", "answers wrongly", "is silent")
            if (name, does) != ("receive", "hangs up")
        ),
    ],
)
def test_a_rogue_that_answers_for_the_room_has_one_guess(
    name: str, does: str, commands: Commands
) -> None:
    code = Code(4, ("lemonade", "violin", "harp"))
    typed = {
        "receive": ("receive", "-", "--into", "inbox", "--yes"),
        "send": ("send", "letter", "--code", "-"),
        "pair": ("pair", "-"),
    }
    with Cable(ipv6=False) as cable:
        rogue = cable.there.python(ROGUE, str(code.room), does)
        assert rogue.line() == "announced"
        came = commands.start(*typed[name], inside=cable.here.inside)
        ended = came.finish(code.spoken().encode())
        assert ended.code in (ExitCode.NOT_AUTHENTICATED, ExitCode.TIMEOUT), ended
        # Were there another guess, it would have come before the command ended.
        said = rogue.finish()
        assert [line for line in said if line in ("proof", "nothing", "left")] == ["proof"]
    assert list(commands.inbox.iterdir()) == []
