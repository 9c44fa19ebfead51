"""Deliveries that are cut in the middle, and the command that goes on with them."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable

import pytest

from objxfer.files.digest import file_digest, written
from objxfer.limits import MIB
from support.commands import Commands, Finished, Line, Running
from support.deliveries import contents
from support.inbox import landed
from support.partials import wait_for_partial
from support.relay import Cut, Deaf, Forge, cutting, deaf, relay

pytestmark = pytest.mark.timeout(90)

LARGE = contents(1, 7 * MIB + 5)
KEPT = 4 * MIB
LOST = re.compile(r"lost the connection to 127\.0\.0\.1.*; again in \d+ s")


def once_kept(commands: Commands, forge: Forge, call: Callable[[], None] = lambda: None) -> Forge:
    """Let what ends a connection happen when it is worth going on; and call something then."""

    def waiting(data: bytes) -> bytes:
        try:
            return forge(data)
        except (Cut, Deaf):
            wait_for_partial(commands.inbox, KEPT)
            call()
            raise

    return waiting


def check_resumed(commands: Commands, sent: Finished) -> Line:
    """Check that a delivery with ``--json`` went on and is whole; return its summary."""
    assert sent.code == 0, sent
    (file,) = [line for line in sent.lines if line["type"] == "file"]
    assert (file["action"], file["durable"]) == ("resumed", True)
    assert (file["size"], file["digest"]) == (len(LARGE), written(file_digest(LARGE)))
    summary = sent.lines[-1]
    assert (summary["type"], summary["resumed"], summary["sent"]) == ("summary", 1, 0)
    assert (commands.inbox / "large").read_bytes() == LARGE
    assert [path.name for path in commands.inbox.iterdir()] == ["large"]
    return summary


@pytest.fixture
def serving(commands: Commands) -> Running:
    return commands.listen("serve", "inbox")


@pytest.fixture(autouse=True)
def large(commands: Commands) -> None:
    commands.file("large", LARGE)


def leave_partial(commands: Commands, url: str, number: signal.Signals) -> Finished:
    """End a sender in the middle."""
    with relay(url, once_kept(commands, deaf(KEPT + MIB))) as through:
        sending = commands.start("send", "large", "--to", through)
        wait_for_partial(commands.inbox, KEPT)
        sending.signal(number)
        return sending.finish()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_sender_that_is_run_again(
    commands: Commands, serving: Running, number: signal.Signals
) -> None:
    ended = leave_partial(commands, serving.url, number)
    assert ended.code == (130 if number == signal.SIGINT else -9)
    assert landed(commands.inbox) == []
    summary = check_resumed(commands, commands.run("send", "large", "--to", serving.url, "--json"))
    assert summary["bytes"] <= len(LARGE) - KEPT
    assert summary["bytes_on_wire"] < len(LARGE) - KEPT + MIB


def test_what_lay_there_is_said(commands: Commands, serving: Running) -> None:
    leave_partial(commands, serving.url, signal.SIGKILL)
    sent = commands.run("send", "large", "--to", serving.url)
    assert sent.code == 0
    assert re.search(r"sent 1 file, .* MB lay there already", sent.err + sent.out)


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["words", "json"])
def test_a_receiver_that_comes_back(
    commands: Commands, serving: Running, options: tuple[str, ...]
) -> None:
    def restart() -> None:
        serving.signal(signal.SIGKILL)
        serving.finish()
        commands.start("serve", "inbox", "--listen", serving.url)

    with relay(serving.url, once_kept(commands, cutting(KEPT + MIB), restart)) as url:
        sent = commands.run("send", "large", "--to", url, *options)
    if not options:
        assert sent.code == 0
        assert LOST.match(sent.err)
        assert sent.err.count("lay there already") + sent.out.count("lay there already") == 1
        return
    summary = check_resumed(commands, sent)
    kinds = [line["type"] for line in sent.lines]
    assert kinds.count("lost") >= 1
    assert kinds.count("connected") == 2
    assert kinds.count("summary") == 1
    assert summary["exit_code"] == 0
    assert summary["bytes_on_wire"] < 2 * len(LARGE)


def test_receive_waits_for_its_sender(commands: Commands) -> None:
    receiving = commands.receive()
    with relay(receiving.url, once_kept(commands, cutting(KEPT + MIB))) as url:
        sent = commands.start("send", "large", "--to", url, "--json").finish()
    check_resumed(commands, sent)
    received = receiving.finish()
    assert received.code == 0
    assert "waiting for it to come back" in received.err
    assert re.search(r"received 1 file, .*large", received.out + received.err)


def test_receive_waits_for_a_sender_that_was_killed(commands: Commands) -> None:
    receiving = commands.receive()
    leave_partial(commands, receiving.url, signal.SIGKILL)
    check_resumed(commands, commands.run("send", "large", "--to", receiving.url, "--json"))
    assert receiving.finish().code == 0


def test_without_retries(commands: Commands, serving: Running) -> None:
    with relay(serving.url, once_kept(commands, cutting(KEPT + MIB))) as url:
        sent = commands.run("send", "large", "--to", url, "--retry", "0")
    assert sent.code == 11
    assert "objxfer: error: lost the connection to 127.0.0.1" in sent.err
    assert "hint: " in sent.err
    assert "again in" not in sent.err


def test_a_first_connection_is_not_tried_again(commands: Commands) -> None:
    receiving = commands.receive()
    url = receiving.url
    receiving.signal(signal.SIGKILL)
    receiving.finish()
    sent = commands.run("send", "large", "--to", url)
    assert sent.code == 10
    assert "again in" not in sent.err


@pytest.mark.parametrize("nonsense", ["nonsense", "-1", "1.5", "", "٣"])
def test_retry_takes_a_number(commands: Commands, nonsense: str) -> None:
    sent = commands.run("send", "large", "--to", "tcp://127.0.0.1:1", "--retry", nonsense)
    assert sent.code == 2
    assert "neither a number nor forever" in sent.err


def test_nothing_is_kept_where_nothing_shall_be(commands: Commands) -> None:
    serving = commands.listen("serve", "inbox", "--keep-partial", "0")
    with relay(serving.url, once_kept(commands, cutting(KEPT + MIB))) as url:
        assert commands.run("send", "large", "--to", url, "--retry", "0").code == 11
    sent = commands.run("send", "large", "--to", serving.url, "--json")
    (file,) = [line for line in sent.lines if line["type"] == "file"]
    assert file["action"] == "sent"
    assert [path.name for path in commands.inbox.iterdir()] == ["large"]
