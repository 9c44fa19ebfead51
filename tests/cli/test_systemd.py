"""The service manager passes sockets, and is told how things are."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

import objxfer
from objxfer.security.keys import Key
from objxfer.security.pairing import Pair
from objxfer.security.peerfiles import Peer
from objxfer.transports.urls import DEFAULT_PORT
from objxfer_cli.systemd import Manager
from support.activation import has_ipv6, passing
from support.commands import PATIENCE, Commands, Running
from support.inbox import descriptors
from support.machines import Machine
from support.neighbours import HERE_IPV4, THERE_IPV4, Cable, needs_cable

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform != "linux", reason="systemd is there on Linux alone"),
]
needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
UNUSABLE = "objxfer: error: what the service manager passed cannot be used: "


def serve(commands: Commands, inside: list[str], *arguments: str) -> Running:
    """Start an inbox behind something; return when it listens."""
    running = commands.start("serve", "inbox", "--json", *arguments, inside=inside)
    line = running.out_line()
    assert line, running.finish().err
    running.url = json.loads(line)["url"]
    return running


def push(commands: Commands, name: str, url: str) -> None:
    """Send a file or folder, from here: quicker than another process."""
    report = objxfer.push(commands.folder / name, to=url, key=commands.key)
    assert report.exit_code == objxfer.ExitCode.OK


# --- sockets ---


@pytest.mark.parametrize("scheme", ["tls", "tcp"])
def test_a_socket_that_was_passed_is_listened_on(scheme: str, commands: Commands) -> None:
    serving = serve(commands, passing("ipv4", names="objxfer.socket"), "--listen", f"{scheme}://")
    assert re.fullmatch(rf"{scheme}://127\.0\.0\.1:\d+", serving.url)
    commands.file("report.pdf")
    push(commands, "report.pdf", serving.url)
    assert (commands.inbox / "report.pdf").read_bytes() == b"contents"
    serving.signal(signal.SIGTERM)
    assert serving.finish()


@needs_ipv6
def test_several_sockets(commands: Commands) -> None:
    serving = serve(commands, passing("ipv6", "ipv4", names="a:b"))
    port = serving.url.rpartition(":")[2]
    assert serving.url == f"tls://[::1]:{port}"
    for host in ("127.0.0.1", "[::1]"):
        commands.file(f"to {host}")
        push(commands, f"to {host}", f"tls://{host}:{port}")


@needs_ipv6
def test_a_socket_for_both_families_shows_ipv4_as_such(commands: Commands) -> None:
    serving = serve(commands, passing("both"))
    assert serving.url.startswith("tls://127.0.0.1:")
    commands.file("file")
    push(commands, "file", serving.url)
    assert json.loads(serving.out_line())["peer"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("kinds", "names", "said"),
    [
        (("deaf",), "", "descriptor 3: it does not listen"),
        (("ipv4", "udp"), "tcp:udp", "descriptor 4 (udp): it is no TCP socket"),
        (("unix",), "objxfer.socket", "descriptor 3 (objxfer.socket): it is no TCP socket"),
        (("ipv4", "file"), "one", "descriptor 4 is no socket"),
    ],
)
def test_what_cannot_be_listened_on(
    commands: Commands, kinds: tuple[str, ...], names: str, said: str
) -> None:
    ended = commands.start("serve", "inbox", inside=passing(*kinds, names=names)).finish()
    assert ended.code == 2
    assert ended.err == (
        f"{UNUSABLE}{said}\n"
        "hint: the socket unit has ListenStream=PORT, or ADDRESS:PORT, and Accept=no\n"
    )


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        ("LISTEN_FDS=x", "LISTEN_FDS is 'x', which is no number of sockets"),
        ("LISTEN_FDS=-1", "LISTEN_FDS is '-1', which is no number of sockets"),
        ("LISTEN_FDS=99999999999", "LISTEN_FDS is '99999999999', which is no number of sockets"),
        ("LISTEN_FDS=900", r"there is no descriptor \d+: bad file descriptor"),
    ],
)
def test_descriptors_that_are_not_there(commands: Commands, instead: str, said: str) -> None:
    serving = commands.start(
        "serve", "inbox", inside=passing("ipv4"), environment={"INSTEAD": instead}
    )
    ended = serving.finish()
    assert ended.code == 2
    assert re.fullmatch(UNUSABLE + said, ended.err.splitlines()[0])


@pytest.mark.parametrize("instead", ["LISTEN_PID=1", "LISTEN_FDS=0", "LISTEN_PID="])
def test_what_was_meant_for_another_is_left_alone(commands: Commands, instead: str) -> None:
    serving = commands.start(
        "serve",
        "inbox",
        "--json",
        "--listen",
        "tcp://127.0.0.1:0",
        inside=passing("unix"),
        environment={"INSTEAD": instead},
    )
    assert json.loads(serving.out_line())["type"] == "listening"


def test_an_address_beside_the_sockets(commands: Commands) -> None:
    serving = commands.start(
        "serve", "inbox", "--listen", "tcp://127.0.0.1:7000", inside=passing("ipv4")
    )
    ended = serving.finish()
    assert ended.code == 2
    assert ended.err == (
        "objxfer: error: the sockets that were passed say where to listen, not tcp://127.0.0.1:7000\n"
        "hint: leave it at tcp://\n"
    )


def test_no_other_program_gets_them(commands: Commands) -> None:
    """Neither the descriptors nor the variables that tell of them."""
    program = (
        "import os; from objxfer_cli.systemd import passed_sockets; found = passed_sockets();"
        "print(*(os.get_inheritable(each.fileno()) for each in found),"
        " *(name for name in os.environ if name.startswith('LISTEN')), passed_sockets())"
    )
    commands.file("program.py", program.encode())
    running = commands.start(inside=[*passing("ipv4"), sys.executable, "program.py"])
    assert running.out_line() == "False []"


@needs_cable
def test_a_peer_finds_them_by_the_name_of_the_machine(tmp_path: Path) -> None:
    with ExitStack() as exit_stack:
        cable = exit_stack.enter_context(Cable(ipv6=False))
        ben = Machine(tmp_path / "ben", exit_stack, cable.here)
        nas = Machine(tmp_path / "nas", exit_stack, cable.there)
        key, when = Key.generate(), datetime(2026, 5, 4, 12, 30, tzinfo=UTC)
        here, there = ben.peers.own_id(), nas.peers.own_id()
        ben.peers.add(Peer("nas", Pair(key, here, there), when, HERE_IPV4, ()))
        nas.peers.add(Peer("ben", Pair(key, there, here), when, THERE_IPV4, ()))
        serving = serve(nas.commands, [*cable.there.inside, *passing("all")])
        assert not serving.url.endswith(f":{DEFAULT_PORT}")
        ben.commands.file("letter")
        assert ben.run("send", "letter", "--to", "nas").code == 0
    assert (nas.inbox / "letter").read_bytes() == b"contents"


# --- what it is told ---


@pytest.fixture(params=["a path", "an abstract name"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, commands: Commands
) -> Iterator[socket.socket]:
    """What listens where the commands are told that the service manager does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        if request.param == "a path":
            address = str(tmp_path / "notify")
            sock.bind(address)
        else:
            address = f"@objxfer-test-{os.getpid()}"
            sock.bind(f"\0{address[1:]}")
        commands.environment["NOTIFY_SOCKET"] = address
        yield sock


def heard(manager: socket.socket) -> list[str]:
    return manager.recv(65536).decode().split("\n")


def test_it_is_told_how_things_are(commands: Commands, manager: socket.socket) -> None:
    serving = commands.listen("serve", "inbox")
    nothing = "0 deliveries under way; 0 went well, 0 did not, 0 connections refused"
    assert heard(manager) == ["READY=1", f"STATUS=listening on {serving.url}: {nothing}"]
    commands.file("file")
    push(commands, "file", serving.url)
    while "; 1 went well, 0 did not, 0 connections refused" not in (status := heard(manager)[0]):
        assert status.startswith(f"STATUS=listening on {serving.url}: ")
    serving.signal(signal.SIGTERM)
    while (told := heard(manager))[0] != "STOPPING=1":
        assert told[0].startswith("STATUS=")
    assert told[1].startswith("STATUS=draining: 0 deliveries under way; 1 went well")
    assert serving.finish().code == 0
    assert heard(manager)[0].startswith("STATUS=ended: ")


def test_what_does_not_listen_is_not_ready(commands: Commands, manager: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert commands.run("serve", "inbox", "--listen", url).code == 10
    manager.settimeout(0)
    with pytest.raises(BlockingIOError):
        manager.recv(65536)


@pytest.mark.parametrize("address", ["/nowhere/notify", "@nobody-objxfer", "vsock:2:1", "notify"])
def test_one_that_does_not_hear_ends_nothing(commands: Commands, address: str) -> None:
    commands.environment["NOTIFY_SOCKET"] = address
    serving = commands.start("serve", "inbox", "--listen", "tcp://127.0.0.1:0", "-q", "--json")
    url = json.loads(serving.out_line())["url"]
    commands.file("file")
    push(commands, "file", url)
    serving.signal(signal.SIGTERM)
    ended = serving.finish()
    assert ended.code == 0
    assert re.fullmatch(
        rf"objxfer: warning: the service manager at '{re.escape(address)}' is not told how things"
        r" are: .*\n",
        ended.err,
    )


def test_a_status_is_one_line_and_a_reload_has_two_ends(
    manager: socket.socket, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", commands.environment["NOTIFY_SOCKET"])
    unheard: list[str] = []
    told = Manager(unheard.append)
    assert "NOTIFY_SOCKET" not in os.environ
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    open_before = descriptors()
    told.status("ben\nREADY=1\x1b[31m \u202e" + "x" * 5000)
    (status,) = heard(manager)
    assert status.startswith("STATUS=ben\\nREADY=1\\x1b[31m \\u202exxx")
    assert len(status) < 1100
    with told.reloading():
        begun, when = heard(manager)
        assert begun == "RELOADING=1"
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        assert before <= int(when.removeprefix("MONOTONIC_USEC=")) <= after
    assert heard(manager) == ["READY=1"]
    assert descriptors() == open_before
    assert unheard == []


def test_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    unheard: list[str] = []
    Manager(unheard.append).ready("listening")
    assert unheard == []
