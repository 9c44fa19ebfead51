from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from objxfer.errors import CannotConnect
from objxfer.transports.addresses import bind
from objxfer.transports.dialling import dial
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
