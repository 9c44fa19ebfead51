"""Connecting over a cable that some addresses lead nowhere on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from support.neighbours import THERE_IPV4, THERE_IPV6, WIRE, Cable, Program, needs_cable

pytestmark = needs_cable

HOLES: Final = ("10.213.78.11", "10.213.78.12", "10.213.78.13", "fe80::213:11")
SCOPED: Final = f"fe80::213:11%{WIRE}"


@pytest.fixture(scope="module")
def cable() -> Iterator[Cable]:
    with Cable() as cable:
        for hole in HOLES:
            cable.here.swallow(hole)
        yield cable


@pytest.fixture(scope="module")
def listening(cable: Cable) -> Program:
    program = cable.there.python(LISTEN)
    assert program.line() == "listening"
    return program


def dial(cable: Cable, seconds: float, *hosts: str) -> list[str]:
    return cable.here.python(DIAL, str(seconds), *hosts).finish()


@pytest.mark.parametrize("host", [THERE_IPV4, f"{THERE_IPV6}%{WIRE}"])
@pytest.mark.usefixtures("listening")
def test_holes_do_not_keep_it_from_the_address_that_works(cable: Cable, host: str) -> None:
    assert dial(cable, 30, *HOLES[:3], SCOPED, host) == [host.partition("%")[0]]


@pytest.mark.usefixtures("listening")
def test_holes_do_not_keep_it_even_where_time_is_short(cable: Cable) -> None:
    assert dial(cable, 2, *HOLES[:3], SCOPED, THERE_IPV4) == [THERE_IPV4]


def test_what_each_address_did_is_told_by_its_reason(cable: Cable) -> None:
    said = dial(cable, 0.5, HOLES[0], "127.0.0.1", SCOPED)
    assert said == [
        "cannot connect to nas: connection refused (127.0.0.1);"
        f" connection timed out ({HOLES[0]}, {SCOPED})",
        'start "objxfer receive" there first',
    ]


def test_a_whole_connection_over_a_link_local_address(cable: Cable) -> None:
    serving = cable.there.python(SERVE)
    url = serving.line()
    port = url.rpartition(":")[2]
    asking = cable.here.python(ASK, f"tls://[{THERE_IPV6}%{WIRE}]:{port}")
    assert asking.finish() == ["4"]
    assert serving.finish() == []


LISTEN: Final = """
import socket, sys
with (
    socket.create_server(("", 6259)),
    socket.create_server(("::", 6259), family=socket.AF_INET6, dualstack_ipv6=False),
):
    print("listening", flush=True)
    sys.stdin.read()
"""

DIAL: Final = """
import sys, time
from objxfer.errors import CannotConnect
from objxfer.transports.dialling import dial_each
from objxfer.transports.urls import Url
urls = [Url("tls", host) for host in sys.argv[2:]]
deadline = time.monotonic() + float(sys.argv[1])
try:
    for sock in dial_each([urls], deadline, most=1, name="nas"):
        print(sock.getpeername()[0].partition("%")[0])
        sock.close()
except CannotConnect as error:
    print(error)
    print(error.hint)
"""

SERVE: Final = """
import objxfer
with objxfer.listen("tls://:0", insecure=True) as listener:
    print(listener.url, flush=True)
    with listener.accept(30) as connection:
        connection.send(connection.recv(30) + 1)
"""

ASK: Final = """
import sys, objxfer
with objxfer.connect(sys.argv[1], insecure=True) as connection:
    connection.send(3)
    print(connection.recv(30))
"""
