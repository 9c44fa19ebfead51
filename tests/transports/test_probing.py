"""What each of several addresses does."""

from __future__ import annotations

import errno
import socket
import threading
import time

import pytest

from objxfer.transports.addresses import look_up
from objxfer.transports.probing import dial_all
from objxfer.transports.urls import Url
from support.streams import PATIENCE


@pytest.fixture
def closed() -> Url:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return url(sock)


def url(sock: socket.socket) -> Url:
    return Url("tcp", *sock.getsockname())


def soon(seconds: float = PATIENCE) -> float:
    return time.monotonic() + seconds


def test_each_address_says_what_it_does(
    listener: socket.socket, deaf: socket.socket, closed: Url
) -> None:
    urls = [url(deaf), closed, url(listener), closed]
    hanging, refused, connected = dial_all(urls, soon(), patience=0.05)
    assert [hanging.url, refused.url, connected.url] == urls[:3]
    assert hanging.sock is None
    assert hanging.error is not None
    assert hanging.error.errno == errno.ETIMEDOUT
    assert refused.error is not None
    assert refused.error.errno == errno.ECONNREFUSED
    assert connected.error is None
    assert connected.sock is not None
    with connected.sock as sock:
        assert sock.getpeername() == listener.getsockname()
        assert sock.getblocking()


def test_where_none_connects_it_ends_at_the_deadline(deaf: socket.socket) -> None:
    (hanging,) = dial_all([url(deaf)], soon(0.05), patience=PATIENCE)
    assert isinstance(hanging.error, TimeoutError)


def test_what_is_no_address_fails_alone(listener: socket.socket) -> None:
    wrong, right = dial_all([Url("tcp", "a name", 1), url(listener)], soon(), patience=0.0)
    assert isinstance(wrong.error, socket.gaierror)
    assert right.sock is not None
    right.sock.close()


def test_of_no_address_nothing_is_said() -> None:
    assert dial_all([], soon(), patience=1.0) == []


def test_a_name_is_looked_up() -> None:
    assert Url("tls", "127.0.0.1", 7) in look_up(Url("tls", "localhost", 7, b"folder"), soon())


def test_an_address_is_itself() -> None:
    assert look_up(Url("tls", "::1", 7), soon()) == [Url("tls", "::1", 7)]


def test_a_resolver_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        over.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(TimeoutError):
        look_up(Url("tls", "nas"), soon(0.05))
    over.set()


def test_a_name_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror):
        look_up(Url("tls", "nas"), soon())
