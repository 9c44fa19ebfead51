from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from objxfer.errors import CannotConnect, ExitCode
from objxfer.transports.addresses import bind, dial, local_addresses
from objxfer.transports.urls import Url
from support.streams import PATIENCE


def soon() -> float:
    return time.monotonic() + PATIENCE


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def fake_names(monkeypatch: pytest.MonkeyPatch, addresses: list[tuple[str, int]]) -> None:
    """Make the resolver answer every name with these IPv4 addresses."""
    resolve = socket.getaddrinfo

    def answer(host: str, port: int, **options: Any) -> Any:
        if options.get("flags", 0) & socket.AI_NUMERICHOST:
            return resolve(host, port, **options)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, address) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


# --- connecting -----------------------------------------------------------------------------


def test_dialling_connects(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with dial(Url("tcp", "127.0.0.1", port), soon()) as sock:
        taken, address = listener.accept()
        with taken:
            assert address == sock.getsockname()
        assert sock.getblocking()


def test_a_name_is_looked_up(listener: socket.socket) -> None:
    dial(Url("tcp", "localhost", listener.getsockname()[1]), soon()).close()


def test_nobody_listens_there(closed_port: int) -> None:
    with pytest.raises(CannotConnect) as caught:
        dial(Url("tls", "127.0.0.1", closed_port, b"folder"), soon())
    error = caught.value
    assert str(error) == (f"cannot connect to tls://127.0.0.1:{closed_port}: connection refused")
    assert error.hint == 'start "objxfer receive" there first'
    assert error.exit_code == ExitCode.CANNOT_CONNECT


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_name_that_cannot_be_one(host: str) -> None:
    with pytest.raises(CannotConnect, match="name or service not known") as caught:
        dial(Url("tls", host), soon())
    assert caught.value.hint == "check the name, or use the address"


def test_every_address_of_a_name_is_tried(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, closed_port: int
) -> None:
    fake_names(monkeypatch, [("127.0.0.1", closed_port), listener.getsockname()])
    dial(Url("tcp", "nas"), soon()).close()


def test_the_first_address_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    fake_names(monkeypatch, [("127.0.0.1", closed_port), ("255.255.255.255", 1)])
    with pytest.raises(CannotConnect, match=r"tcp://nas:6259: connection refused$"):
        dial(Url("tcp", "nas"), soon())


def test_the_deadline_holds_for_connecting(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(CannotConnect, match="connection timed out"):
        dial(Url("tcp", "127.0.0.1", port), time.monotonic() - 1)


def test_an_address_that_swallows_packets_leaves_time_for_the_next(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    # With its backlog full, a listener on Linux lets further connections hang.
    with socket.socket() as deaf, socket.socket() as one, socket.socket() as two:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for sock in (one, two):
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())
        fake_names(monkeypatch, [deaf.getsockname(), listener.getsockname()])
        dial(Url("tcp", "nas"), time.monotonic() + 0.5).close()


def test_the_deadline_holds_for_the_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_: object, **options: Any) -> Any:
        if not options["flags"] & socket.AI_NUMERICHOST:
            release.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(CannotConnect, match="connection timed out"):
        dial(Url("tcp", "nas"), time.monotonic() + 0.05)
    assert not release.is_set()
    release.set()


# --- listening ------------------------------------------------------------------------------


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


@needs_ipv6
def test_all_interfaces_are_both_families_on_one_port() -> None:
    sockets = bind(Url("tls", "", 0))
    try:
        assert [sock.family for sock in sockets] == [socket.AF_INET6, socket.AF_INET]
        ports = {sock.getsockname()[1] for sock in sockets}
        assert len(ports) == 1
        port = ports.pop()
        for host in ("127.0.0.1", "::1"):
            dial(Url("tls", host, port), soon()).close()
        assert all(not sock.getblocking() for sock in sockets)
        assert all(not sock.get_inheritable() for sock in sockets)
    finally:
        close(sockets)


@pytest.mark.parametrize("absent", [socket.AF_INET6, socket.AF_INET])
def test_a_machine_with_one_family_listens_on_that(
    monkeypatch: pytest.MonkeyPatch, absent: socket.AddressFamily
) -> None:
    if absent == socket.AF_INET and not has_ipv6():
        pytest.skip("this machine has no IPv6")

    class OneFamily(socket.socket):
        def __init__(self, family: int = -1, *rest: Any, **options: Any) -> None:
            if family == absent:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *rest, **options)

    monkeypatch.setattr(socket, "socket", OneFamily)
    sockets = bind(Url("tls", "", 0))
    assert len(sockets) == 1
    close(sockets)


def test_a_machine_without_any_network(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoFamily(socket.socket):
        def __init__(self, *_: Any, **__: Any) -> None:
            raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", NoFamily)
    with pytest.raises(CannotConnect, match="cannot listen on tls://:7: address family not"):
        bind(Url("tls", "", 7))


def test_one_address_is_one_socket() -> None:
    sockets = bind(Url("tcp", "127.0.0.1", 0))
    assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1"]
    close(sockets)


def test_a_port_taken_by_one_family_is_given_back_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[object] = []

    class OftenTaken(socket.socket):
        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET and len(taken) < 3:
                taken.append(address)
                raise OSError(98, "Address already in use")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", OftenTaken)
    sockets = bind(Url("tls", "", 0))
    assert len({sock.getsockname()[1] for sock in sockets}) == 1
    close(sockets)


def test_somebody_listens_there_already(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(CannotConnect) as caught:
        bind(Url("tls", "127.0.0.1", port))
    assert str(caught.value) == (f"cannot listen on tls://127.0.0.1:{port}: address already in use")
    assert "another port" in caught.value.hint


def test_an_address_of_another_machine() -> None:
    with pytest.raises(CannotConnect, match=r"192\.0\.2\.1") as caught:
        bind(Url("tls", "192.0.2.1", 0))
    assert "no such address" in caught.value.hint


def test_a_name_that_cannot_be_listened_on() -> None:
    with pytest.raises(CannotConnect, match="name or service not known"):
        bind(Url("tls", "a..b", 0))


# --- addresses ------------------------------------------------------------------------------


def test_the_addresses_are_ones_that_others_can_reach() -> None:
    addresses = local_addresses()
    assert addresses
    for address in addresses:
        parsed = ipaddress.ip_address(address)
        assert not parsed.is_unspecified
        assert addresses == ["127.0.0.1"] or not parsed.is_loopback
    versions = [ipaddress.ip_address(address).version for address in addresses]
    assert versions == sorted(versions)


class Unrouted(socket.socket):
    def connect(self, address: Any) -> None:
        raise OSError(101, "Network is unreachable")


def test_without_a_route_the_own_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Unrouted)
    fake_names(monkeypatch, [("127.0.1.1", 0), ("192.168.7.9", 0)])
    assert local_addresses() == ["192.168.7.9"]


def test_without_anything_it_is_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", Unrouted)
    fake_names(monkeypatch, [("127.0.1.1", 0)])
    assert local_addresses() == ["127.0.0.1"]
