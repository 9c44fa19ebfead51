"""Two machines on a cable find each other, whatever it carries and whoever else is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from support.neighbours import (
    HERE_IPV4,
    THERE_IPV4,
    THERE_IPV6,
    WIRE,
    Cable,
    Neighbour,
    Program,
    needs_cable,
)

pytestmark = needs_cable

PATIENCE: Final = "30"

ANNOUNCE: Final = """
import sys
from objxfer.discovery.announcing import announce
with announce(sys.argv[1], int(sys.argv[2])) as announcement:
    print("open", flush=True)
    announcement.wait()
    print("announced", flush=True)
    sys.stdin.read()
"""

FIND: Final = """
import json, sys
from dataclasses import asdict
from objxfer.discovery.finding import find
with find(sys.argv[1], float(sys.argv[2])) as services:
    print("looking", flush=True)
    for service in services:
        print(json.dumps([service.port, service.addresses]), flush=True)
print("end", flush=True)
"""


@pytest.fixture
def cable() -> Iterator[Cable]:
    with Cable() as cable:
        yield cable


def announce(neighbour: Neighbour, instance: str, port: int) -> Program:
    program = neighbour.python(ANNOUNCE, instance, str(port))
    assert program.line() == "open", program.finish()
    assert program.line() == "announced", program.finish()
    return program


def search(neighbour: Neighbour, instance: str, seconds: str = PATIENCE) -> Program:
    program = neighbour.python(FIND, instance, seconds)
    assert program.line() == "looking", program.finish()
    return program


def found(program: Program) -> tuple[int, set[str]]:
    port, addresses = json.loads(program.line())
    return port, set(addresses)


def addresses_of(program: Program, port: int, count: int) -> set[str]:
    """Collect the addresses of the service at a port until there are so many."""
    known: set[str] = set()
    while len(known) < count:
        at, addresses = found(program)
        if at == port:
            assert not known & addresses
            known |= addresses
    return known


def test_all_addresses_are_found(cable: Cable) -> None:
    announce(cable.there, "4", 6259)
    searching = search(cable.here, "4")
    assert addresses_of(searching, 6259, 2) == {THERE_IPV4, f"{THERE_IPV6}%{WIRE}"}
    searching.kill()


@pytest.mark.parametrize(
    ("carries", "expected"),
    [({"ipv6": False}, THERE_IPV4), ({"ipv4": False}, f"{THERE_IPV6}%{WIRE}")],
    ids=["IPv4", "IPv6 link-local"],
)
def test_a_cable_that_carries_one_family(carries: dict[str, Any], expected: str) -> None:
    with Cable(**carries) as cable:
        announce(cable.there, "nas", 7000)
        searching = search(cable.here, "nas")
        assert found(searching) == (7000, {expected})
        searching.kill()


def test_who_looks_first_finds_too(cable: Cable) -> None:
    searching = search(cable.here, "4")
    announce(cable.there, "4", 6259)
    assert found(searching)[0] == 6259
    searching.kill()


def test_one_that_goes_away_is_not_found(cable: Cable) -> None:
    leaving = announce(cable.there, "4", 6259)
    assert leaving.finish() == []
    searching = search(cable.here, "4", "1")
    assert searching.finish() == ["end"]


@pytest.mark.long
def test_one_that_is_gone_without_a_word_is_not_found(cable: Cable) -> None:
    announce(cable.there, "4", 6259).kill()
    searching = search(cable.here, "4", "1")
    assert searching.finish() == ["end"]


@pytest.mark.long
def test_a_network_that_comes_later(cable: Cable) -> None:
    cable.there.run("ip", "link", "set", WIRE, "down")
    cable.there.run("ip", "address", "flush", "dev", WIRE)
    announce(cable.there, "4", 6259)  # to nobody but itself
    searching = search(cable.here, "4")
    cable.there.run("ip", "link", "set", WIRE, "up")
    cable.there.run("ip", "address", "add", f"{THERE_IPV4}/24", "dev", WIRE)
    assert found(searching) == (6259, {THERE_IPV4})
    searching.kill()


def test_two_machines_and_one_name(cable: Cable) -> None:
    announce(cable.there, "4", 6259)
    second = cable.here.python(ANNOUNCE, "4", "7000")
    assert second.line() == "open"
    said = second.finish()
    assert said[-1] == ("objxfer.errors.NameTaken: another machine on the network announces '4'")


def test_a_rogue_with_the_same_name_does_not_hide_the_honest_one(cable: Cable) -> None:
    announce(cable.there, "4", 6259)
    rogue = cable.here.python(ROGUE, "4", HERE_IPV4)
    assert rogue.line() == "announced"
    searching = search(cable.here, "4")
    ports: set[int] = set()
    while ports != {6259, 6666}:
        port, addresses = found(searching)
        ports.add(port)
        assert port != 6666 or addresses == {HERE_IPV4}
    searching.kill()


def test_where_a_rogue_answers_the_next_is_tried(cable: Cable) -> None:
    announce(cable.there, "4", 6259)
    rogue = cable.here.python(ROGUE, "4", HERE_IPV4)
    assert rogue.line() == "announced"
    for neighbour, port, word in ((cable.there, 6259, "honest"), (cable.here, 6666, "rogue")):
        assert neighbour.python(ANSWER, str(port), word).line() == "listening"
    meeting = cable.here.python(MEET)
    said = [meeting.line()]
    while said[-1] != "honest":
        said.append(meeting.line())
    assert set(said[:-1]) <= {"rogue"}
    assert meeting.finish() == []


def test_a_flood_of_rogues_does_not_hide_the_honest_one(cable: Cable) -> None:
    announce(cable.there, "4", 6259)
    flood = cable.here.python(FLOOD, "4", HERE_IPV4)
    assert flood.line() == "begun"
    searching = search(cable.here, "4")
    while found(searching)[0] != 6259:
        pass
    searching.kill()
    flood.kill()


def test_hostile_names_and_texts(cable: Cable) -> None:
    rogue = cable.here.python(ROGUE, "\x1b]0;owned\x07", HERE_IPV4)
    assert rogue.line() == "announced"
    announce(cable.there, "4", 6259)
    browsing = cable.here.python(BROWSE, PATIENCE)
    instance, peer_id = json.loads(browsing.line())
    assert (instance, peer_id) == ("4", None)
    browsing.kill()


def test_a_text_that_lies_is_no_peer_id(cable: Cable) -> None:
    rogue = cable.here.python(ROGUE, "nas", HERE_IPV4)
    assert rogue.line() == "announced"
    browsing = cable.here.python(BROWSE, PATIENCE)
    assert json.loads(browsing.line()) == ["nas", None]
    browsing.kill()


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("ip address flush dev wire0; ip link set lo down; ip address flush dev lo", "no network"),
        ("echo 0 > /proc/sys/net/ipv4/igmp_max_memberships", "no network interface takes part"),
    ],
    ids=["no network", "no multicast"],
)
@pytest.mark.parametrize("program", ["announce", "find"])
def test_where_it_is_not_possible(program: str, before: str, reason: str) -> None:
    with Cable(ipv6=False) as cable:
        cable.here.run("sh", "-c", before)
        said = cable.here.python(FAIL.replace("PROGRAM", program)).finish()
    assert said[0].startswith(
        f"10 cannot {'announce' if program == 'announce' else 'look for'} '4'"
    )
    assert reason in said[0]
    assert said[1] == "without it, the address is named directly, as in tls://HOST[:PORT]"


def test_a_port_that_is_not_shared(cable: Cable) -> None:
    selfish = cable.here.python(SELFISH)
    assert selfish.line() == "bound"
    said = cable.here.python(FAIL.replace("PROGRAM", "announce")).finish()
    assert (
        said[0] == "10 cannot announce '4': another program holds port 5353 and does not share it"
    )


ANSWER: Final = """
import socket, sys
address = ("", int(sys.argv[1]))
with socket.create_server(address, family=socket.AF_INET6, dualstack_ipv6=True) as listener:
    print("listening", flush=True)
    while True:
        taken, _ = listener.accept()
        with taken:
            taken.sendall(sys.argv[2].encode())
"""

MEET: Final = """
import time
from objxfer.discovery.finding import find
from objxfer.transports.dialling import dial_each
from objxfer.transports.urls import Url
heard = {}
with find("4", 30) as services:
    while len(heard) < 2:
        service = next(services)
        urls = [Url("tls", address, service.port) for address in service.addresses]
        heard.setdefault(service.port, []).extend(urls)
for sock in dial_each(list(heard.values()), time.monotonic() + 30, most=5, name="room 4"):
    with sock, sock.makefile() as stream:
        said = stream.read()
    print(said, flush=True)
    if said == "honest":
        break
"""
"""Tries one service after the other until it is the one that is meant."""

FAIL: Final = """
from objxfer.discovery.announcing import announce
from objxfer.discovery.finding import find
from objxfer.errors import CannotConnect
try:
    with PROGRAM("4", 5):
        pass
except CannotConnect as error:
    print(int(error.exit_code), error)
    print(error.hint)
"""

SELFISH: Final = """
import socket, sys
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
    sock.bind(("", 5353))
    print("bound", flush=True)
    sys.stdin.read()
"""

ROGUE: Final = """
import select, socket, sys
from zeroconf import DNSAddress, DNSOutgoing, DNSPointer, DNSService, DNSText, Zeroconf
service, host = "_objxfer._tcp.local.", "rogue.local."
name = f"{sys.argv[1]}.{service}"
strings = b"id=" + b"\\x1b[31m" * 30, b"\\x1b[2J=" + b"x" * 200
text = b"".join(bytes([len(string)]) + string for string in strings)
zeroconf = Zeroconf([sys.argv[2]])
while True:
    out = DNSOutgoing(0x8400)
    out.add_answer_at_time(DNSPointer(service, 12, 1, 4500, name), 0)
    out.add_answer_at_time(DNSService(name, 33, 0x8001, 120, 0, 0, 6666, host), 0)
    out.add_answer_at_time(DNSText(name, 16, 0x8001, 4500, text), 0)
    for address in (sys.argv[2], "127.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255"):
        out.add_answer_at_time(DNSAddress(host, 1, 0x8001, 120, socket.inet_aton(address)), 0)
    zeroconf.send(out)
    print("announced", flush=True)
    if select.select([sys.stdin], [], [], 0.2)[0]:
        break
zeroconf.close()
"""
"""Says what it likes, whoever has said so before, again and again."""

FLOOD: Final = """
import socket, sys
from zeroconf import DNSAddress, DNSOutgoing, DNSService, IPVersion, Zeroconf
name = sys.argv[1] + "._objxfer._tcp.local."
zeroconf = Zeroconf([sys.argv[2]])
print("begun", flush=True)
for number in range(500):
    out = DNSOutgoing(0x8400)
    host = f"rogue{number}.local."
    for port in range(1, 60):
        out.add_answer_at_time(DNSService(name, 33, 0x8001, 120, 0, 0, port, host), 0)
    for last in range(1, 20):
        packed = socket.inet_aton(f"10.213.{number % 250}.{last}")
        out.add_answer_at_time(DNSAddress(host, 1, 0x8001, 120, packed), 0)
    zeroconf.send(out)
zeroconf.close()
"""
"""Says it thirty thousand times, always of another service."""

BROWSE: Final = """
import json, sys
from objxfer.discovery.finding import browse
with browse(float(sys.argv[1])) as services:
    for service in services:
        print(json.dumps([service.instance, service.peer_id]), flush=True)
"""
