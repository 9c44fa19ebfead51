"""What a peer says, where it is shown; and secrets, which are shown nowhere."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from objxfer.blocking.connecting import connect
from objxfer.blocking.listener import listen
from objxfer.errors import AuthenticationError, ExitCode, ObjxferError, RefusedByPeer
from objxfer.protocol.messages import Abort, Object
from objxfer.security.keys import Key, Keyring
from objxfer.transfer.steps import Steps, receive, send
from support.byhand import delivers, file, offer, perform, simulate
from support.commands import Commands
from support.connected import PATIENCE, begin, connected

WORDS = "\x1b[2J\x9b31m\u202egpj\r\n\x07end"
"""Clears the screen, turns red, writes from right to left, begins a line, and rings."""


def harmless(text: str) -> bool:
    return text.isprintable() and text.isascii()


def test_words_of_an_abort_are_escaped(inbox: Path) -> None:
    def aborted() -> Steps[None]:
        yield from send(offer(b"t"))
        yield from send(Abort(ExitCode.REFUSED, b"", WORDS))
        yield from receive(Abort)

    _, error = simulate(aborted(), inbox)
    assert isinstance(error, RefusedByPeer)
    assert harmless(str(error))
    assert "\\x1b[2J" in str(error)


def test_the_name_of_a_serialiser_is_escaped() -> None:
    message = Object("\x1b[2J\n", 1, (), False, b"x")
    with connected() as (client, server):
        perform(client, send(message))
        with pytest.raises(ObjxferError) as caught:
            server.recv(PATIENCE)
        assert harmless(str(caught.value))


@pytest.mark.parametrize("name", [WORDS.encode(), b"a\x1b[2J", b"a\nb", b"/\x9b31m", b"../\x1b"])
def test_names_that_are_refused_are_escaped_for_both(name: bytes, inbox: Path) -> None:
    with connected(there={"into": inbox}) as (client, server):
        receiving = begin(server.recv, PATIENCE)
        (word,) = perform(client, delivers(offer(b"t"), file(name)))
        report = receiving.result(PATIENCE)
    assert word.reason.isprintable()
    (problem,) = report.problems
    assert problem.reason.isprintable()
    assert problem.path == name, "it is data, and escaped where it is shown"


@pytest.mark.parametrize("json", [False, True])
def test_a_command_shows_nothing_that_acts_on_a_terminal(json: bool, tmp_path: Path) -> None:
    names = [f"t/{WORDS}".encode(), "t/a\u202egpj.exe".encode(), b"t/\x9b31m", b"t/fine"]
    with ExitStack() as exit_stack:
        commands = Commands(tmp_path, exit_stack)
        running = commands.listen_json("receive", "--into", "inbox") if json else commands.receive()
        with connect(running.url, key=commands.key) as client:
            words = perform(client, delivers(offer(b"t"), *map(file, names)))
        finished = running.finish()
    assert [word.code for word in words] == [ExitCode.REFUSED, *[ExitCode.OK] * 3]
    assert finished.code != ExitCode.OK
    shown = finished.out + finished.err
    assert "\\x1b[2J" in shown or "\\u001b[2J" in shown
    for line in shown.splitlines():
        assert line.isprintable()


SECRET = bytes(range(100, 132))


def spellings(secret: bytes) -> list[str]:
    return [secret.hex(), repr(secret)[2:-1], secret.decode("latin-1"), str(list(secret))[1:-1]]


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
def test_a_secret_is_shown_nowhere(scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key, other = Key.from_bytes(SECRET), Key.generate()
    shown: list[str] = [repr(key), str(key), repr(Keyring(key, other))]

    def turned_away(peer: str, error: ObjxferError) -> None:
        shown.extend((peer, repr(error), error.hint))

    with listen(f"{scheme}://127.0.0.1:0", key=key, on_refused=turned_away) as listener:
        with pytest.raises(AuthenticationError) as caught:
            connect(listener.url, key=other)
        shown += [repr(caught.value), caught.value.hint]
        client, server = connect(listener.url, key=key), listener.accept(PATIENCE)
        client.send("hello")
        server.recv(PATIENCE)
        things: list[Any] = [client, server, listener, client._terms, client._exchange.established]
        shown += map(repr, things)
        server.abandon()
        with pytest.raises(ObjxferError) as lost:
            client.recv(PATIENCE)
        shown.append(repr(lost.value))
        client.abandon()
    everything = caplog.text + "\n".join(shown)
    assert key.id in everything
    for spelling in spellings(SECRET) + spellings(other.secret()):
        assert spelling not in everything
