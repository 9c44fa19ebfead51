"""``objxfer doctor``: what it says of this machine, and of the way to another."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

import objxfer
from objxfer.errors import ExitCode
from objxfer.security.pairing import Pair
from objxfer.security.peerfiles import Peer
from support.commands import Commands, Finished
from support.firewall import guard, needs_nft
from support.machines import ANNOUNCE, MOVED_IPV4, Machine
from support.neighbours import (
    HERE_IPV4,
    THERE_IPV4,
    THERE_IPV6,
    WIRE,
    Cable,
    Neighbour,
    needs_cable,
)

pytestmark = pytest.mark.timeout(90)
STEPS: Final = ("tls", "hello", "proof", "round_trip")
SAYS: Final = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])))
print("listening", flush=True)
while True:
    sock, _ = server.accept()
    sock.sendall(sys.argv[2].encode())
"""
"""A program that says the same to each who comes, and keeps the last."""


def checks(finished: Finished) -> list[tuple[str, str]]:
    """The name and the status of each check, with ``--json``."""
    *found, last = finished.lines
    assert last["type"] == "conclusion"
    assert last["exit_code"] == finished.code
    for line in found:
        assert list(line) == ["type", "name", "status", "message", "advice"]
        assert line["type"] == "check"
        assert line["message"]
        assert line["advice"] != ""
    return [(line["name"], line["status"]) for line in found]


def message(finished: Finished, name: str, status: str) -> str:
    found = [
        line for line in finished.lines if (line.get("name"), line["status"]) == (name, status)
    ]
    return " ".join(line["message"] for line in found)


def up_to(failed: str, *before: str) -> list[tuple[str, str]]:
    """The checks of a way on which that step failed."""
    steps = ("connect", *STEPS)
    reached = steps.index(failed)
    passed = [(name, "ok") for name in ("key", *before, *steps[:reached])]
    return [*passed, (failed, "failed"), *((name, "not_reached") for name in steps[reached + 1 :])]


ALL_OK: Final = [(name, "ok") for name in ("key", "connect", *STEPS)]


# --- on the loopback ---


def test_a_receiver_goes_on_waiting_and_shows_one_line(commands: Commands) -> None:
    receiving = commands.receive(scheme="tls")
    seen = commands.run("doctor", receiving.url, "--json")
    assert checks(seen) == ALL_OK
    assert receiving.err_line() == "127.0.0.1 delivered nothing: the peer has ended the connection"
    commands.file("a.txt")
    assert commands.run("send", "a.txt", "--to", receiving.url).code == 0
    received = receiving.finish()
    assert received.code == 0
    assert received.err == ""
    assert (commands.inbox / "a.txt").exists()


def test_an_inbox_shows_nothing(commands: Commands) -> None:
    serving = commands.listen("serve", "inbox", scheme="tls")
    seen = commands.run("doctor", serving.url)
    assert seen.code == 0
    assert seen.out.endswith(f"\na delivery reaches {serving.url}\n")
    serving.signal(signal.SIGTERM)
    assert serving.finish() == (0, "", "draining: nothing is on its way\n")


def test_who_looks_whether_the_port_answers_is_not_worth_a_line(commands: Commands) -> None:
    receiving = commands.receive(scheme="tls")
    host, _, port = receiving.url.removeprefix("tls://").rpartition(":")
    for _ in range(3):
        socket.create_connection((host, int(port))).close()
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert receiving.err_line() == "127.0.0.1 refused: does not speak TLS"
    receiving.signal(signal.SIGTERM)
    receiving.finish()


def test_a_screen_of_a_wrong_key(commands: Commands) -> None:
    receiving = commands.receive(scheme="tls")
    commands.run("keygen", "other")
    seen = commands.run("doctor", receiving.url, "--key", "other")
    assert seen.code == ExitCode.NOT_AUTHENTICATED
    assert seen.err == ""
    lines = seen.out.splitlines()
    assert re.fullmatch(r"ok       key         [0-9a-f]{8}, in .*/?other", lines[0])
    assert re.fullmatch(r"FAILED   proof       it does not hold our key \([0-9a-f]{8}\)", lines[4])
    assert lines[5].startswith(" " * 21 + "> compare the key ids")
    assert lines[6] == "-        round trip  not reached"
    assert lines[7] == "a delivery fails at proof, with exit code 13"
    assert lines[8].startswith("do first: compare the key ids")
    assert receiving.err_line() == "127.0.0.1 refused: wrong key"


def test_no_secret_is_shown(commands: Commands) -> None:
    receiving = commands.receive(scheme="tls")
    written = commands.key_file.read_text().strip().partition(":")[2]
    for arguments in (("-vv",), ("-vv", "--json")):
        seen = commands.run("doctor", receiving.url, *arguments)
        assert seen.code == 0
        for secret in (written, commands.key.secret().hex(), repr(commands.key.secret())):
            assert secret not in seen.out + seen.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nas",), "there is no peer 'nas'"),
        (("nas:6259",), "'nas:6259' is no target"),
        (("ftp://nas",), "its scheme is unknown"),
        (("tls://",), "names no host"),
        (("4-walnut-copper-tiger",), "a code is no target"),
        (("tls://127.0.0.1", "--key", "x", "--insecure"), "contradict each other"),
    ],
)
def test_what_cannot_be_meant(commands: Commands, arguments: tuple[str, ...], said: str) -> None:
    seen = commands.run("doctor", *arguments)
    assert (seen.code, seen.out) == (ExitCode.USAGE, "")
    assert said in seen.err
    assert "walnut" not in seen.err


def test_words_of_others_are_harmless_on_the_screen(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = commands.start("doctor", f"tls://127.0.0.1:{server.getsockname()[1]}")
        sock, _ = server.accept()
        with sock:
            sock.sendall(b"\x1b[2J\x9b31m\xe2\x80\xae hello\r\n")
            shown = seen.finish()
    assert shown.code == ExitCode.MISMATCH
    assert shown.out.replace("\n", "").isprintable()
    assert "\\x1b[2J" in shown.out


def test_ctrl_c(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        seen = commands.start("doctor", f"tls://127.0.0.1:{server.getsockname()[1]}")
        sock, _ = server.accept()
        with sock:
            assert sock.recv(1)  # it is in the middle of the handshake
            assert seen.out_line().startswith("ok       key ")
            seen.signal(signal.SIGINT)
            shown = seen.finish()
    assert shown.code == 128 + signal.SIGINT
    assert shown.err == "objxfer: interrupted\n"


def test_lines_fit_a_terminal(commands: Commands, exit_stack: ExitStack) -> None:
    person, program = pty.openpty()
    exit_stack.callback(os.close, person)
    with os.fdopen(program, "wb") as terminal:
        seen = commands.start(
            "doctor", "tls://127.0.0.1:1", stdout=terminal, environment={"COLUMNS": "70"}
        )
    shown = b""
    while True:
        try:
            shown += os.read(person, 4096)
        except OSError:  # who wrote to it has ended
            break
    assert seen.finish().code == ExitCode.CANNOT_CONNECT
    lines = shown.decode().splitlines()
    assert max(map(len, lines)) <= 70
    first = next(index for index, line in enumerate(lines) if line.startswith("FAILED"))
    assert lines[first + 1].startswith(" " * 21 + lines[first + 1].strip()[:5])


@pytest.fixture
def exit_stack() -> Iterator[ExitStack]:
    with ExitStack() as exit_stack:
        yield exit_stack


# --- this machine ---


@needs_cable
class TestThisMachine:
    """In networks of their own, so that nothing is announced on ours."""

    @pytest.fixture
    def alone(self) -> Iterator[Neighbour]:
        """A network with nobody in it."""
        alone = Neighbour()
        alone.run("ip", "link", "set", "lo", "up")
        yield alone
        alone.close()

    @pytest.fixture
    def anna(self, tmp_path: Path, alone: Neighbour, exit_stack: ExitStack) -> Machine:
        return Machine(tmp_path / "anna", exit_stack, alone)

    def test_a_new_machine_in_no_network(self, anna: Machine) -> None:
        seen = anna.run("doctor", "--json")
        assert seen.code == 0, seen
        found = checks(seen)
        assert [name for name, _ in found] == [
            *("objxfer", "features", "config", "key", "peers", "interface", "interface"),
            *("multicast", "services", "port", "firewall", "clock", "folder"),
        ]
        assert [name for name, status in found if status != "ok"] == ["interface"]
        assert objxfer.__version__ in message(seen, "objxfer", "ok")
        assert "raw, text, json, msgpack" in message(seen, "features", "ok")
        assert "nobody but itself" in message(seen, "interface", "warning")
        assert "6259 is free" in message(seen, "port", "ok")
        assert "GB free" in message(seen, "folder", "ok")
        assert not anna.peers.folder.exists(), "it looks, and writes nothing"
        assert seen.lines[-1]["message"] == "this machine is ready, with 1 warning"

    def test_what_is_damaged(self, anna: Machine) -> None:
        anna.commands.key.save(anna.commands.key_file)
        anna.commands.key_file.chmod(0o644)
        anna.peers.folder.mkdir(mode=0o700)
        (anna.peers.folder / "nas").write_bytes(b"nonsense")
        (anna.peers.folder / "nas").chmod(0o600)
        seen = anna.run("doctor", "--json")
        assert seen.code == ExitCode.USAGE
        assert "is open to others (mode 0644)" in message(seen, "key", "failed")
        assert "/nas' is damaged" in message(seen, "peers", "failed")
        (key,) = (line for line in seen.lines if line.get("name") == "key")
        assert key["advice"].startswith("chmod 600 ")

    def test_a_folder_of_keys_that_others_write_to(self, anna: Machine) -> None:
        anna.commands.key_file.parent.chmod(0o777)
        seen = anna.run("doctor", "--json")
        assert "others may write" in message(seen, "config", "warning")

    @pytest.mark.long
    def test_who_holds_the_port(self, anna: Machine, alone: Neighbour) -> None:
        anna.commands.key.save(anna.commands.key_file)
        serving = anna.start("serve", "inbox")
        while not serving.err_line().startswith("listening on "):
            pass
        seen = anna.run("doctor", "--json")
        assert seen.code == 0
        assert "held by an objxfer" in message(seen, "port", "ok")
        serving.signal(signal.SIGTERM)
        assert serving.finish().err == "draining: nothing is on its way\n"
        assert alone.python(SAYS, "6259", "SSH-2.0-x\r\n").line() == "listening"
        seen = anna.run("doctor", "--json")
        assert seen.code == 0
        assert "another program holds 6259: an SSH server" in message(seen, "port", "warning")

    @pytest.mark.long
    @needs_nft
    def test_a_firewall_that_shows(self, anna: Machine, alone: Neighbour) -> None:
        guard(alone, "udp", "dport", "5353", "drop")
        seen = anna.run("doctor", "--json")
        assert "nftables filters what comes in (chain input)" in message(seen, "firewall", "ok")
        assert "does not come back" in message(seen, "multicast", "warning")
        assert seen.code == 0

    def test_no_address_at_all(self, tmp_path: Path, exit_stack: ExitStack) -> None:
        nowhere = Neighbour()
        exit_stack.callback(nowhere.close)
        anna = Machine(tmp_path / "anna", exit_stack, nowhere)
        seen = anna.run("doctor", "--json")
        assert seen.code == 0, seen
        assert "nobody but itself" in message(seen, "interface", "warning")
        seen = anna.run("doctor", "tls://192.168.1.20", "--insecure", "--json")
        assert "network unreachable" in message(seen, "connect", "failed")
        assert seen.code == ExitCode.CANNOT_CONNECT


# --- over a cable ---


@needs_cable
class TestOnACable:
    """Anna here, the nas there, with the same key."""

    @pytest.fixture
    def anna(self, tmp_path: Path, cable: Cable, exit_stack: ExitStack) -> Machine:
        return Machine(tmp_path / "anna", exit_stack, cable.here)

    @pytest.fixture
    def nas(self, tmp_path: Path, cable: Cable, exit_stack: ExitStack, anna: Machine) -> Machine:
        nas = Machine(tmp_path / "nas", exit_stack, cable.there)
        for machine in (anna, nas):
            nas.commands.key.save(machine.commands.key_file)
        return nas

    def test_multicast_and_who_is_there(self, anna: Machine, cable: Cable) -> None:
        assert cable.there.python(ANNOUNCE, "nas", "7001").line() == "announced"
        seen = anna.run("doctor", "--json")
        assert seen.code == 0
        assert f"{WIRE}: {HERE_IPV4}/24, fe80::" in message(seen, "interface", "ok")
        assert message(seen, "multicast", "ok").startswith(f"{WIRE}: what is announced here")
        assert message(seen, "services", "ok") == "1 objxfer is announced on the network now"

    def test_a_link_local_address(self, anna: Machine, nas: Machine) -> None:
        nas.listen("serve", "inbox")
        assert anna.run("doctor", f"tls://[{THERE_IPV6}%{WIRE}]").code == 0
        seen = anna.run("doctor", f"tls://[{THERE_IPV6}]", "--json")
        assert checks(seen) == up_to("connect")
        assert "on which interface" in message(seen, "connect", "failed")

    @needs_nft
    @pytest.mark.parametrize(
        ("verdict", "said"),
        [
            ("reject with tcp reset", "connection refused"),
            ("reject with icmpx port-unreachable", "connection refused"),
            ("reject with icmpx admin-prohibited", "no route to host"),
            ("reject with icmpx no-route", "network unreachable"),
        ],
    )
    def test_a_firewall_that_rejects(
        self, anna: Machine, nas: Machine, cable: Cable, verdict: str, said: str
    ) -> None:
        guard(cable.there, "tcp", "dport", "6259", *verdict.split())
        serving = nas.listen("serve", "inbox")
        seen = anna.run("doctor", f"tls://{THERE_IPV4}", "--json")
        assert checks(seen) == up_to("connect")
        assert said in message(seen, "connect", "failed")
        assert seen.code == ExitCode.CANNOT_CONNECT
        assert serving.process.poll() is None

    @needs_nft
    def test_a_firewall_of_this_machine(self, anna: Machine, nas: Machine, cable: Cable) -> None:
        rule = "tcp dport 6259 reject with icmpx admin-prohibited"
        guard(cable.here, *rule.split(), hook="output")
        seen = anna.run("doctor", f"tls://{THERE_IPV4}", "--json")
        assert checks(seen) == up_to("connect")
        assert seen.code == ExitCode.CANNOT_CONNECT
        assert nas.commands.key_file.exists()

    @pytest.mark.long
    @needs_nft
    def test_a_firewall_that_drops(self, anna: Machine, nas: Machine, cable: Cable) -> None:
        guard(cable.there, "tcp", "dport", "6259", "drop")
        nas.listen("serve", "inbox")
        seen = anna.run("doctor", f"tls://{THERE_IPV4}", "--json")
        assert checks(seen) == up_to("connect")
        assert "no answer in 10 s: a firewall drops" in message(seen, "connect", "failed")
        assert seen.code == ExitCode.CANNOT_CONNECT
        sent = anna.run("send", ".", "--to", f"tls://{THERE_IPV4}")
        assert '"objxfer doctor TARGET" says more' in sent.err

    @pytest.mark.long
    def test_a_machine_that_is_not_there(self, anna: Machine, nas: Machine) -> None:
        seen = anna.run("doctor", "tls://10.213.78.99", "--json")
        assert checks(seen) == up_to("connect")
        assert "no machine has this address now" in message(seen, "connect", "failed")
        assert nas.commands.key_file.exists()


@needs_cable
class TestPeers:
    """Anna here, the nas there; both know each other."""

    @pytest.fixture
    def cable(self) -> Iterator[Cable]:
        with Cable(ipv6=False) as cable:
            yield cable

    @pytest.fixture
    def anna(self, tmp_path: Path, cable: Cable, exit_stack: ExitStack) -> Machine:
        return Machine(tmp_path / "anna", exit_stack, cable.here)

    @pytest.fixture
    def nas(self, tmp_path: Path, cable: Cable, exit_stack: ExitStack, anna: Machine) -> Machine:
        nas = Machine(tmp_path / "nas", exit_stack, cable.there)
        waiting, code, _ = nas.wait_with_code("--as", "nas")
        assert anna.run("pair", code, "--as", "anna").code == waiting.finish().code == 0
        return nas

    @pytest.mark.long
    def test_a_peer_is_there_and_then_moves(
        self, anna: Machine, nas: Machine, cable: Cable
    ) -> None:
        serving = nas.listen("serve", "inbox")
        seen = anna.run("doctor", "nas:folder", "--json")
        assert checks(seen) == [("key", "ok"), ("mdns", "ok"), *ALL_OK[1:]]
        serving.signal(signal.SIGTERM)
        assert "refused" not in serving.finish().err
        cable.there.run("ip", "address", "del", f"{THERE_IPV4}/24", "dev", WIRE)
        cable.there.run("ip", "address", "add", f"{MOVED_IPV4}/24", "dev", WIRE)
        nas.listen("serve", "inbox", "--listen", f"tls://{MOVED_IPV4}:7001")
        known = anna.peers.load("nas").addresses
        seen = anna.run("doctor", "nas", "--json")
        assert seen.code == 0
        assert f"announced at tls://{MOVED_IPV4}:7001" in message(seen, "mdns", "ok")
        assert f"tls://{MOVED_IPV4}:7001 in " in message(seen, "connect", "ok")
        assert f"tls://{THERE_IPV4}:6259: no " in message(seen, "connect", "warning")
        assert anna.peers.load("nas").addresses == known, "it looks, and writes nothing"
        assert anna.run("doctor", "nas", "--insecure").code == ExitCode.USAGE

    def test_another_machine_answers_in_its_place(
        self, anna: Machine, nas: Machine, cable: Cable
    ) -> None:
        peer_id = nas.peers.own_id().hex()
        nas.commands.key.save(nas.commands.folder / "rogue.key")
        nas.peers.remove("anna")
        rogue = nas.listen("serve", "inbox", "--key", "rogue.key", "--listen", "tls://:7002")
        assert cable.there.python(ANNOUNCE, peer_id, "7002").line() == "announced"
        seen = anna.run("doctor", "nas", "--json")
        assert seen.code == ExitCode.NOT_AUTHENTICATED
        said = message(seen, "proof", "failed")
        assert said.startswith("another machine answers there: its id is ")
        assert said.endswith(f"and that of the peer {peer_id}")
        assert rogue.process.poll() is None

    @pytest.mark.long
    def test_a_peer_that_has_removed_this_machine(self, anna: Machine, nas: Machine) -> None:
        third = Pair(objxfer.Key.generate(), nas.peers.own_id(), os.urandom(16))
        nas.peers.add(Peer("third", third, datetime.now(UTC), "10.213.78.3"))
        nas.peers.remove("anna")
        nas.listen("serve", "inbox")
        seen = anna.run("doctor", "nas", "--json")
        assert seen.code == ExitCode.NOT_AUTHENTICATED
        assert "it does not hold the key of the pair" in message(seen, "proof", "failed")
        assert "removed this machine" in seen.lines[-1]["advice"]

    @pytest.mark.long
    def test_nobody_is_there(self, anna: Machine, nas: Machine) -> None:
        seen = anna.run("doctor", "nas", "--json")
        found = checks(seen)
        assert found[:3] == [("key", "ok"), ("mdns", "warning"), ("connect", "failed")]
        assert found[-1] == ("round_trip", "not_reached")
        assert seen.code == ExitCode.CANNOT_CONNECT
        assert nas.peers
