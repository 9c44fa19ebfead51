"""Listening: who is let in, who is not, and that nobody keeps others waiting."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import struct
import threading
from queue import SimpleQueue
from typing import Any

import pytest

import objxfer
from objxfer.blocking import connecting
from objxfer.blocking import listener as listening_module
from objxfer.blocking.greeter import Greeter
from objxfer.blocking.listener import Listener, listen
from objxfer.errors import (
    AuthenticationError,
    CannotConnect,
    ConnectionClosed,
    ConnectionLost,
    ExitCode,
    ObjxferError,
    ProtocolMismatch,
    Timeout,
)
from objxfer.security.keys import Keyring
from objxfer.transports.dialling import dial
from objxfer.transports.urls import Url
from support.activation import has_ipv6
from support.connected import KEY, OTHER_KEY, PATIENCE, begin
from support.inbox import descriptors
from support.wire import Wire, listening


def assert_serves(listener: Listener, **terms: Any) -> None:
    client = objxfer.connect(listener.url, **({"key": KEY} | terms))
    server = listener.accept(PATIENCE)
    client.send("hello")
    assert server.recv(PATIENCE) == "hello"
    client.abandon()
    server.abandon()


# --- where ---


def test_a_free_port(scheme: str) -> None:
    with listening(scheme) as (listener, _):
        assert listener.url.startswith(f"{scheme}://127.0.0.1:")
        assert not listener.url.endswith(":0")
        assert listener.urls == [listener.url]
        assert listener.key_id == KEY.id
        assert_serves(listener)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6(scheme: str) -> None:
    with listen(f"{scheme}://[::1]:0", key=KEY) as listener:
        assert listener.url.startswith(f"{scheme}://[::1]:")
        assert_serves(listener)


def test_sockets_that_listen_already(scheme: str) -> None:
    passed = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [sock.getsockname()[1] for sock in passed]
    with listen(f"{scheme}://", key=KEY, sockets=passed) as listener:
        assert listener.urls == [f"{scheme}://127.0.0.1:{port}" for port in ports]
        assert listener.url == listener.urls[0]
        assert listener.hosts == ["127.0.0.1"]
        assert_serves(listener)
    assert [sock.fileno() for sock in passed] == [-1, -1]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_socket_of_both_families(scheme: str) -> None:
    with socket.socket(socket.AF_INET6) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(("::ffff:127.0.0.1", 0))
        sock.listen()
        with listen(f"{scheme}://", key=KEY, sockets=[sock]) as listener:
            assert listener.url == f"{scheme}://127.0.0.1:{listener.url.rpartition(':')[2]}"
            client = objxfer.connect(listener.url, key=KEY)
            server = listener.accept(PATIENCE)
            assert server.peer == "127.0.0.1"
            client.abandon()
            server.abandon()


def test_sockets_that_cannot_be_listened_on(scheme: str) -> None:
    with socket.socket() as deaf, pytest.raises(ValueError, match="it does not listen"):
        listen(f"{scheme}://", key=KEY, sockets=[deaf])
    with (
        socket.socket(type=socket.SOCK_DGRAM) as udp,
        pytest.raises(ValueError, match="it is no TCP socket"),
    ):
        listen(f"{scheme}://", key=KEY, sockets=[udp])


def test_sockets_and_an_address_contradict_each_other(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed:
        for where in ("127.0.0.1", ":7000"):
            with pytest.raises(ObjxferError, match="say where to listen, not") as raised:
                listen(f"{scheme}://{where}", key=KEY, sockets=[passed])
            assert raised.value.exit_code is ExitCode.USAGE


def test_all_interfaces(scheme: str) -> None:
    with listen(f"{scheme}://:0", key=KEY) as listener:
        assert listener.url == listener.urls[0]
        port = listener.url.rpartition(":")[2]
        assert {url.rpartition(":")[2] for url in listener.urls} == {port}
        for host in ["127.0.0.1"] + ["[::1]"] * has_ipv6():
            client = objxfer.connect(f"{scheme}://{host}:{port}", key=KEY)
            listener.accept(PATIENCE).abandon()
            client.abandon()


def test_a_port_that_is_taken() -> None:
    with listening() as (listener, _):
        with pytest.raises(CannotConnect) as raised:
            listen(listener.url, key=KEY)
        assert raised.value.exit_code == ExitCode.CANNOT_CONNECT
        assert raised.value.hint


@pytest.mark.parametrize("url", ["127.0.0.1:1", "http://127.0.0.1", "tls://127.0.0.1:0/folder"])
def test_no_url_to_listen_on(url: str) -> None:
    with pytest.raises(ObjxferError) as raised:
        listen(url, key=KEY)
    assert raised.value.exit_code == ExitCode.USAGE


# --- accepting ---


def test_nobody_comes() -> None:
    with listening() as (listener, _):
        for timeout in (0, 0.01):
            with pytest.raises(Timeout) as raised:
                listener.accept(timeout)
            assert raised.value.exit_code == ExitCode.TIMEOUT
        assert_serves(listener)


def test_close_while_two_wait() -> None:
    listener = listen("tcp://127.0.0.1:0", key=KEY)
    accepting = [begin(listener.accept), begin(listener.accept, PATIENCE)]
    listener.close()
    for future in accepting:
        with pytest.raises(ConnectionClosed, match="listener is closed"):
            future.result(PATIENCE)
    with pytest.raises(ConnectionClosed):
        listener.accept()
    listener.close()
    with pytest.raises(CannotConnect):
        objxfer.connect(listener.url, key=KEY)


def test_accepted_connections_outlive_it() -> None:
    with listening() as (listener, _):
        client = objxfer.connect(listener.url, key=KEY)
        server = listener.accept(PATIENCE)
    client.send(1)
    assert server.recv(PATIENCE) == 1
    client.abandon()
    server.abandon()


def test_connections_that_nobody_accepts_are_closed(scheme: str) -> None:
    with listening(scheme) as (listener, _):
        assert_serves(listener)
        before = descriptors()
        clients = [objxfer.connect(listener.url, key=KEY) for _ in range(3)]
        accepted = listener.accept(PATIENCE)  # the first; all handshakes of the client are over
        accepted.abandon()
    for client in clients:
        with pytest.raises(ConnectionLost):
            client.recv(PATIENCE)
        client.abandon()
    assert descriptors() < before


def test_descriptors_come_back(scheme: str) -> None:
    with listening(scheme) as (listener, _):
        assert_serves(listener)
    before = descriptors()
    for _ in range(3):
        with listening(scheme) as (listener, _), Wire(listener.url.replace("tls:", "tcp:")):
            assert_serves(listener)
    assert descriptors() == before


# --- keys and terms ---


def test_no_key_is_an_error_before_anything_is_bound() -> None:
    with listening() as (taken, _):
        for make in (listen, objxfer.connect):
            with pytest.raises(ObjxferError, match="no key for tcp://") as raised:
                make(taken.url)
            assert raised.value.exit_code == ExitCode.USAGE
            assert "--key" in raised.value.hint


def test_raw_bytes_are_no_key() -> None:
    for make in (listen, objxfer.connect):
        with pytest.raises(TypeError, match=r"Key\.from_bytes"):
            make("tcp://127.0.0.1:1", key=bytes(32))  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("name", ["pickle", "cloudpickle"])
def test_pickle_needs_a_key(name: str) -> None:
    for make in (listen, objxfer.connect):
        with pytest.raises(ValueError, match=f"{name}.*needs key="):
            make("tcp://127.0.0.1:1", accepts=[name], insecure=True)


def test_insecure_on_both_sides(scheme: str) -> None:
    with listening(scheme, key=None, insecure=True) as (listener, _):
        assert listener.key_id is None
        assert_serves(listener, key=None, insecure=True)


def test_any_key_of_a_ring_lets_in(scheme: str) -> None:
    with listening(scheme, key=Keyring(KEY, OTHER_KEY)) as (listener, refused):
        assert_serves(listener, key=KEY)
        assert_serves(listener, key=OTHER_KEY)
        assert_serves(listener, key=Keyring(OTHER_KEY, KEY))
        assert refused.empty()


def test_other_keys_are_said_by_their_id(scheme: str) -> None:
    with listening(scheme) as (listener, refused):
        with pytest.raises(AuthenticationError, match=OTHER_KEY.id) as raised:
            objxfer.connect(listener.url, key=OTHER_KEY)
        assert "key ids" in raised.value.hint
        assert KEY.id in str(refused.get(timeout=PATIENCE))
        assert_serves(listener)


# --- who is refused ---


def test_on_refused_hears_who_and_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "objxfer")
    told: SimpleQueue[tuple[str, ObjxferError]] = SimpleQueue()

    def on_refused(peer: str, error: ObjxferError) -> None:
        told.put((peer, error))
        raise LookupError("this program's own fault")

    with listen("tcp://127.0.0.1:0", key=KEY, on_refused=on_refused) as listener:
        for _ in range(2):
            with Wire(listener.url) as wire:
                wire.send(b"GET / HTTP/1.1\r\n\r\n")
                wire.rest()
            peer, error = told.get(timeout=PATIENCE)
            assert peer == "127.0.0.1"
            assert isinstance(error, ProtocolMismatch)
        assert_serves(listener)
    assert "127.0.0.1 was not let in" in caplog.text


def test_who_is_late_is_dropped(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setattr(listening_module, "HANDSHAKE_SECONDS", 0.1)
    with listening(scheme) as (listener, refused):
        with Wire(listener.url.replace("tls:", "tcp:")) as silent:
            assert silent.rest() == b""
        error = refused.get(timeout=PATIENCE)
        assert isinstance(error, Timeout)
        assert "0.1 s" in str(error)
        assert_serves(listener)


def test_each_byte_does_not_begin_the_deadline_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening_module, "HANDSHAKE_SECONDS", 0.2)
    with listening() as (listener, refused), Wire(listener.url) as slow:
        hello = slow.handshake().greeting()
        ticking = threading.Event()

        def speak() -> None:
            for byte in hello:
                try:
                    slow.send(bytes([byte]))
                except OSError:
                    return
                ticking.wait(0.02)

        speaking = begin(speak)
        assert isinstance(refused.get(timeout=PATIENCE), Timeout)
        ticking.set()
        speaking.result(PATIENCE)
        assert_serves(listener)


def test_the_oldest_without_a_hello_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening_module, "PENDING", 3)
    with listening() as (listener, refused):
        with Wire(listener.url) as polite, Wire(listener.url) as first, Wire(listener.url) as other:
            handshake = polite.handshake()
            polite.send(handshake.greeting())
            answer = polite.sock.recv(65536)
            with Wire(listener.url) as newcomer:
                error = refused.get(timeout=PATIENCE)
                assert isinstance(error, Timeout)
                assert first.rest() == b""  # the oldest that had said nothing
                newcomer.shake()  # never the newcomer
                listener.accept(PATIENCE).abandon()
            polite.send(handshake.receive(answer))
            listener.accept(PATIENCE).abandon()
            other.shake()
            listener.accept(PATIENCE).abandon()
        assert refused.empty()


def test_where_all_have_said_a_hello_the_oldest_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listening_module, "PENDING", 2)
    with listening() as (listener, _):
        wires = []
        for _ in range(2):
            wire = Wire(listener.url)
            wire.send(wire.handshake().greeting())
            assert wire.sock.recv(1)
            wires.append(wire)
        assert_serves(listener)
        wires[0].rest()
        for wire in wires:
            wire.sock.close()


def test_who_is_dropped_while_it_speaks_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest speaks at the very moment in which a newcomer takes its place."""
    monkeypatch.setattr(listening_module, "PENDING", 3)
    held, let_go = threading.Event(), threading.Event()

    def on_refused(_: str, error: ObjxferError) -> None:
        if isinstance(error, ProtocolMismatch):
            held.set()
            assert let_go.wait(PATIENCE)

    with (
        listen("tcp://127.0.0.1:0", key=KEY, on_refused=on_refused) as listener,
        Wire(listener.url) as oldest,
        Wire(listener.url) as second,
        Wire(listener.url) as holder,
    ):
        second.send(second.handshake().greeting())
        assert second.sock.recv(1)  # so both are waiting to be authenticated
        holder.send(b"GET / HTTP/1.1\r\n\r\n")
        assert held.wait(PATIENCE)
        # The listener's thread stands still: what comes now, it finds all at once.
        with Wire(listener.url) as third, Wire(listener.url) as newcomer:
            oldest.send(b"obj")
            let_go.set()
            assert oldest.rest() == b""
            for wire in (third, newcomer):
                wire.shake()
                listener.accept(PATIENCE).abandon()
        assert_serves(listener)


def test_out_of_descriptors() -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used: list[int] = []
    with listening() as (listener, refused), Wire(listener.url) as silent, socket.socket() as late:
        assert_serves(listener)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(descriptors() + 20, soft), hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    used.append(os.open(os.devnull, os.O_RDONLY))
            late.settimeout(PATIENCE)
            late.connect(("127.0.0.1", int(listener.url.rpartition(":")[2])))
            assert silent.rest() == b""  # it is dropped, to make room
            late.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert late.recv(1) == b""
        finally:
            for fd in used:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert isinstance(refused.get(timeout=PATIENCE), Timeout)
        assert isinstance(refused.get(timeout=PATIENCE), ProtocolMismatch)
        assert_serves(listener)


def test_not_even_a_descriptor_to_turn_somebody_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(listening_module, "_PAUSE", 0.01)
    told = threading.Event()

    class Telling(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            told.set()

    telling = Telling(logging.WARNING)
    log = logging.getLogger("objxfer")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as late:
        with listening() as (listener, _):
            assert_serves(listener)
            log.addHandler(telling)
            # Under the number of the spare one: once closed it cannot be had again.
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                late.settimeout(PATIENCE)
                late.connect(("127.0.0.1", int(listener.url.rpartition(":")[2])))
                assert told.wait(PATIENCE)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                log.removeHandler(telling)
            bystanders = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]
            assert_serves(listener)
        for fd in bystanders:
            os.close(fd)  # they are still ours
    assert caplog.text.count("out of descriptors") == 1


@pytest.mark.parametrize("method", ["__init__", "step"])
def test_a_fault_that_one_peer_finds_ends_it_alone(
    scheme: str, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AttributeError("a fault of ours")

    with listening(scheme) as (listener, _):
        with monkeypatch.context() as faults:
            faults.setattr(Greeter, method, fail)
            with Wire(listener.url.replace("tls:", "tcp:")) as wire:
                assert wire.rest() == b""
        assert_serves(listener)
    assert "a fault of ours" in caplog.text


def test_more_than_may_wait_to_be_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening_module, "ACCEPTABLE", 1)
    with listening() as (listener, refused):
        first = objxfer.connect(listener.url, key=KEY)
        second = objxfer.connect(listener.url, key=KEY)
        assert "wait to be accepted" in str(refused.get(timeout=PATIENCE))
        with pytest.raises(ConnectionLost):
            second.recv(PATIENCE)
        listener.accept(PATIENCE).abandon()
        assert_serves(listener)
        for connection in (first, second):
            connection.abandon()


def test_who_breaks_off_at_once_cannot_be_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def dial_and_be_reset(target: Url, deadline: float) -> socket.socket:
            sock = dial(target, deadline)
            taken, _ = server.accept()
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            taken.close()
            return sock

        monkeypatch.setattr(connecting, "dial", dial_and_be_reset)
        before = descriptors()
        with pytest.raises(CannotConnect, match="broke the connection off"):
            objxfer.connect(f"tcp://127.0.0.1:{server.getsockname()[1]}", key=KEY)
        assert descriptors() == before
