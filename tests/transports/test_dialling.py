from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import pytest

from objxfer.errors import CannotConnect, ExitCode
from objxfer.transports.dialling import dial, dial_each
from objxfer.transports.urls import Url
from support.streams import PATIENCE


def soon() -> float:
    return time.monotonic() + PATIENCE


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def url(sock: socket.socket) -> Url:
    return Url("tcp", *sock.getsockname())


def fake_names(
    monkeypatch: pytest.MonkeyPatch, **names: list[tuple[str, int]] | threading.Event
) -> None:
    """Make the resolver know these names and their addresses; it hangs on an event."""
    resolve = socket.getaddrinfo

    def answer(host: str, port: int, **options: Any) -> Any:
        if options["flags"] & socket.AI_NUMERICHOST:
            return resolve(host, port, **options)
        known = names.get(host, [])
        if isinstance(known, threading.Event):
            known.wait(PATIENCE)
            known = []
        if not known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in known]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


def assert_reached(sock: socket.socket, listener: socket.socket) -> None:
    assert sock.getpeername() == listener.getsockname()
    assert sock.getblocking()
    assert not sock.get_inheritable()


# --- one peer -------------------------------------------------------------------------------


def test_dialling_connects(listener: socket.socket) -> None:
    with dial(url(listener), soon()) as sock:
        assert_reached(sock, listener)


def test_a_name_is_looked_up(listener: socket.socket) -> None:
    dial(Url("tcp", "localhost", listener.getsockname()[1]), soon()).close()


def test_nobody_listens_there(closed_port: int) -> None:
    with pytest.raises(CannotConnect) as caught:
        dial(Url("tls", "127.0.0.1", closed_port, b"folder"), soon())
    error = caught.value
    assert str(error) == (f"cannot connect to tls://127.0.0.1:{closed_port}: connection refused")
    assert error.hint == 'start "objxfer receive" there first'
    assert error.exit_code == ExitCode.CANNOT_CONNECT
    assert isinstance(error.__cause__, ConnectionRefusedError)


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_name_that_cannot_be_one(host: str) -> None:
    with pytest.raises(CannotConnect, match="name or service not known") as caught:
        dial(Url("tls", host), soon())
    assert caught.value.hint == "check the name, or use the address"


def test_an_interface_that_is_not_there() -> None:
    with pytest.raises(CannotConnect, match=r"^cannot connect to tls://\[fe80::1%nowhere\]:6259: "):
        dial(Url("tls", "fe80::1%nowhere"), soon())


def test_a_link_local_address_without_its_interface() -> None:
    with pytest.raises(CannotConnect, match=r"tls://\[fe80::1\]:6259: ") as caught:
        dial(Url("tls", "fe80::1"), soon())
    if "invalid argument" in str(caught.value):  # elsewhere it is as unreachable as any other
        assert caught.value.hint.endswith("tls://[fe80::1%eth0]")


def test_every_address_of_a_name_is_tried(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, closed_port: int
) -> None:
    fake_names(monkeypatch, nas=[("127.0.0.1", closed_port), listener.getsockname()])
    with dial(Url("tcp", "nas"), soon()) as sock:
        assert_reached(sock, listener)


def test_what_each_address_did_is_told(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    refused = [(f"127.0.0.{number}", closed_port) for number in range(1, 8)]
    fake_names(monkeypatch, nas=[("255.255.255.255", 1), *refused])
    with pytest.raises(CannotConnect) as caught:
        dial(Url("tcp", "nas"), soon())
    message = str(caught.value)
    assert message.startswith("cannot connect to tcp://nas:6259: ")
    assert "(255.255.255.255); connection refused (127.0.0.1, 127.0.0.2, 127.0.0.3," in message
    assert message.endswith("127.0.0.4 and 3 more)")
    assert caught.value.hint == 'start "objxfer receive" there first'


def test_the_deadline_holds_for_connecting(listener: socket.socket) -> None:
    with pytest.raises(CannotConnect, match="connection timed out"):
        dial(url(listener), time.monotonic() - 1)


def test_an_address_that_swallows_packets(deaf: socket.socket) -> None:
    with pytest.raises(CannotConnect, match=r"connection timed out$") as caught:
        dial(url(deaf), time.monotonic() + 0.05)
    assert caught.value.hint.endswith('"objxfer doctor TARGET" says more')


def test_those_that_swallow_packets_leave_time_for_the_last(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, deaf: socket.socket
) -> None:
    port = deaf.getsockname()[1]
    many = [(f"127.0.0.{number}", port) for number in range(2, 12)]
    fake_names(monkeypatch, nas=[deaf.getsockname(), *many, listener.getsockname()])
    with contextlib.ExitStack() as closing:
        for host, _ in many:
            one = closing.enter_context(socket.socket())
            one.bind((host, port))
            one.listen(0)
            for _ in range(2):
                sock = closing.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex((host, port))
        with dial(Url("tcp", "nas"), time.monotonic() + 2.0) as sock:
            assert_reached(sock, listener)


def test_the_deadline_holds_for_the_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    fake_names(monkeypatch, nas=release)
    with pytest.raises(CannotConnect, match="tcp://nas:6259: connection timed out"):
        dial(Url("tcp", "nas"), time.monotonic() + 0.05)
    release.set()


# --- several services -----------------------------------------------------------------------


def test_if_it_is_not_the_one_the_next_is_tried(closed_port: int) -> None:
    services = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    urls = [[url(service)] for service in services]
    urls.insert(1, [Url("tcp", "127.0.0.1", closed_port)])
    reached = []
    for sock in dial_each(urls, soon(), most=9, name="room 4"):
        reached.append(sock.getpeername())
        sock.close()
    assert sorted(reached) == sorted(service.getsockname() for service in services)
    for service in services:
        service.close()


def test_never_more_than_the_caller_allows(listener: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as second:
        urls = [[url(listener)], [url(second)]]
        (sock,) = dial_each(urls, soon(), most=1, name="room 4")
        sock.close()
        listener.accept()[0].close()
        second.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.accept()


def test_what_was_on_its_way_is_not_lost_for_the_next(
    listener: socket.socket, deaf: socket.socket
) -> None:
    sockets = dial_each([[url(deaf)], [url(listener)]], soon(), most=2, name="room 4")
    with next(sockets) as sock:
        assert_reached(sock, listener)
    deaf.accept()[0].close()
    deaf.accept()[0].close()
    with next(sockets) as sock:
        assert sock.getpeername() == deaf.getsockname()
    assert list(sockets) == []


def test_one_with_many_addresses_does_not_go_before_all_others(
    listener: socket.socket, deaf: socket.socket
) -> None:
    greedy = [Url("tcp", f"127.0.0.{number}", deaf.getsockname()[1]) for number in range(1, 200)]
    sockets = dial_each([greedy, [url(listener)]], soon(), most=1, name="room 4")
    for sock in sockets:
        with sock:
            assert_reached(sock, listener)


def test_the_same_address_is_tried_once(listener: socket.socket) -> None:
    again = [url(listener), url(listener), Url("tls", *listener.getsockname())]
    (sock,) = dial_each([again], soon(), most=5, name="room 4")
    sock.close()


def test_the_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    class Refused(socket.socket):
        def connect(self, address: Any) -> None:
            tried.append(address[0])
            raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "socket", Refused)
    hosts = ("2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2")
    with pytest.raises(CannotConnect):
        next(dial_each([[Url("tcp", host) for host in hosts]], soon(), most=1, name="nas"))
    assert tried == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"]


@pytest.mark.timeout(20)
def test_what_fails_at_once_is_not_waited_for() -> None:
    an_hour = time.monotonic() + 3600
    with pytest.raises(CannotConnect, match=r"cannot connect to tcp://255\.255\.255\.255:6259: "):
        dial(Url("tcp", "255.255.255.255"), an_hour)


def test_a_name_that_hangs_does_not_hold_an_address(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    release = threading.Event()
    fake_names(monkeypatch, old=release)
    sockets = dial_each([[Url("tcp", "old"), url(listener)]], soon(), most=1, name="nas")
    with next(sockets) as sock:
        assert_reached(sock, listener)
    release.set()


def test_a_name_that_is_found_late_joins_in(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, deaf: socket.socket
) -> None:
    fake_names(monkeypatch, nas=[listener.getsockname()])
    sockets = dial_each([[url(deaf)], [Url("tcp", "nas")]], soon(), most=1, name="nas")
    with next(sockets) as sock:
        assert_reached(sock, listener)


def test_names_that_are_not_known_are_told_with_the_rest(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    fake_names(monkeypatch)
    services = [[Url("tcp", "old")], [Url("tcp", "127.0.0.1", closed_port)], [Url("tcp", "older")]]
    with pytest.raises(CannotConnect) as caught:
        next(dial_each(services, soon(), most=3, name="nas"))
    message = str(caught.value)
    assert "connection refused (127.0.0.1)" in message
    assert "name or service not known (old" in message


@pytest.mark.parametrize("services", [[], [[]]])
def test_no_address_at_all(services: list[list[Url]]) -> None:
    with pytest.raises(CannotConnect, match=r"^cannot connect to nas: it has no address$"):
        next(dial_each(services, soon(), most=1, name="nas"))


def test_nothing_is_left_open(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket, deaf: socket.socket
) -> None:
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            if "fileno" not in options:
                made.append(self)

    monkeypatch.setattr(socket, "socket", Noted)
    with next(dial_each([[url(deaf)], [url(listener)]], soon(), most=1, name="nas")) as winner:
        assert [sock for sock in made if sock.fileno() != -1] == [winner]
    with pytest.raises(CannotConnect):
        dial(url(deaf), time.monotonic() + 0.05)
    assert all(sock.fileno() == -1 for sock in made)
