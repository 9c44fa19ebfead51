from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from objxfer.errors import ConnectionLost, IntegrityError, ProtocolMismatch
from objxfer.transports import tls
from objxfer.transports.memory import MemoryTransport, pair
from objxfer.transports.sockets import SocketTransport
from objxfer.transports.tls import TlsTransport, client_context, server_context
from support.streams import deliver, fill, receive, receive_all, shake_hands, tcp_sockets


class Raw:
    """A TLS peer that is not ours: an ``SSLObject`` over one end of a memory pair."""

    def __init__(self, inner: MemoryTransport, context: ssl.SSLContext, *, server: bool) -> None:
        self.inner = inner
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server)

    def shake_hands(self) -> None:
        """Do all of the handshake that goes without the other side's doing anything."""
        while not self.step(self.tls.do_handshake):
            pass

    def step(self, call: Callable[[], object]) -> bool:
        """Try ``call``, and pass on what there is to pass on; True when it was done."""
        try:
            call()
        except ssl.SSLWantReadError:
            done = False
        else:
            done = True
        finally:
            self.inner.send([self.outgoing.read()])
        if not done:
            self.incoming.write(receive(self.inner) or b"")
        return done


class Wire:
    """A client and a server after the handshake, with the test in between."""

    def __init__(self) -> None:
        inner_client, self.client_end = pair()
        inner_server, self.server_end = pair()
        self.client = TlsTransport(inner_client, server=False)
        self.server = TlsTransport(inner_server, server=True)
        done = False
        while not done:
            client_done = self.client.handshake()
            self.server_end.send([receive(self.client_end) or b""])
            done = self.server.handshake() and client_done
            self.carry_back()

    def record(self, data: bytes) -> bytes:
        """Return what the client sends for ``data``, taken off the wire."""
        self.client.send([data])
        return receive(self.client_end) or b""

    def carry_back(self) -> None:
        """Let what the server sent reach the client."""
        self.client_end.send([receive(self.server_end) or b""])


def tls_pair() -> tuple[TlsTransport, TlsTransport, MemoryTransport, MemoryTransport]:
    """Return client and server after the handshake, and the inner end of either."""
    inner_client, inner_server = pair()
    client = TlsTransport(inner_client, server=False)
    server = TlsTransport(inner_server, server=True)
    shake_hands(client, server)
    return client, server, inner_client, inner_server


def old_context(*, server: bool) -> ssl.SSLContext:
    if server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls._load(context, b"".join(tls._self_signed()[:2]))
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


# --- the handshake --------------------------------------------------------------------------


def test_both_sides_saw_the_same_certificate() -> None:
    client, server, _, _ = tls_pair()
    assert client.certificate_hash() == server.certificate_hash()
    assert len(client.certificate_hash()) == 32


def test_somebody_in_between_shows_another_certificate() -> None:
    inner, in_between = pair()
    client = TlsTransport(inner, server=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls._load(context, b"".join(tls._self_signed()[:2]))
    mallory = Raw(in_between, context, server=True)
    while not client.handshake():
        mallory.step(mallory.tls.do_handshake)
    _, server, _, _ = tls_pair()
    assert client.certificate_hash() != server.certificate_hash()


def test_it_comes_through_byte_by_byte() -> None:
    inner_client, inner_server = pair(plan=lambda _call, _possible: 1)
    client = TlsTransport(inner_client, server=False)
    server = TlsTransport(inner_server, server=True)
    shake_hands(client, server)
    assert deliver(server, client, [b"slowly"]) == b"slowly"


def test_a_client_of_tls_1_2_is_turned_away() -> None:
    inner, other = pair()
    server = TlsTransport(inner, server=True, name="ben")
    peer = Raw(other, old_context(server=False), server=False)
    peer.step(peer.tls.do_handshake)
    with pytest.raises(ProtocolMismatch, match=r"no TLS 1\.3 with ben: unsupported protocol"):
        server.handshake()
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        peer.shake_hands()


def test_a_server_of_tls_1_2_is_turned_away() -> None:
    inner, other = pair()
    client = TlsTransport(inner, server=False, name="tls://nas:6259")
    assert not client.handshake()
    peer = Raw(other, old_context(server=True), server=True)
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        peer.shake_hands()
    with pytest.raises(ProtocolMismatch, match=r"no TLS 1\.3 with tls://nas:6259"):
        client.handshake()


@pytest.mark.parametrize("said", [b"objxfer\0 plain hello", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 99])
def test_a_plain_server_does_not_speak_tls(said: bytes) -> None:
    inner, other = pair()
    client = TlsTransport(inner, server=False, name="tls://nas:6259")
    assert not client.handshake()
    other.send([said])
    with pytest.raises(ProtocolMismatch) as caught:
        client.handshake()
    assert str(caught.value) == "tls://nas:6259 does not speak TLS"
    assert caught.value.hint == "it may be listening on tcp://"


@pytest.mark.parametrize("said", [b"objxfer\0 plain hello", b"SSH-2.0-x\r\n", b"\xff" * 99])
def test_a_plain_client_does_not_speak_tls(said: bytes) -> None:
    inner, other = pair()
    server = TlsTransport(inner, server=True)
    other.send([said])
    with pytest.raises(ProtocolMismatch, match="memory does not speak TLS") as caught:
        server.handshake()
    assert caught.value.hint == "it may be calling with tcp://"


def test_a_client_that_hangs_up_at_once_has_said_nothing_wrong() -> None:
    inner, other = pair()
    other.close()
    with pytest.raises(ConnectionLost, match="memory left without a word"):
        TlsTransport(inner, server=True).handshake()


@pytest.mark.parametrize("said", [b"\x16", b"ab"])
def test_a_client_that_hangs_up_after_a_byte_or_two_does_not_speak_tls(said: bytes) -> None:
    inner, other = pair()
    other.send([said])
    other.close()
    with pytest.raises(ProtocolMismatch, match="does not speak TLS"):
        TlsTransport(inner, server=True).handshake()


def test_a_reset_before_a_word_is_no_tls() -> None:
    inner, other = pair()
    client = TlsTransport(inner, server=False)
    assert not client.handshake()
    other.close()  # with the client's hello unread
    with pytest.raises(ProtocolMismatch, match="does not speak TLS"):
        client.handshake()


def test_a_peer_that_goes_away_halfway_is_lost() -> None:
    inner, other = pair()
    server = TlsTransport(inner, server=True)
    peer = Raw(other, client_context(), server=False)
    peer.step(peer.tls.do_handshake)
    assert not server.handshake()
    other.finish()
    with pytest.raises(ConnectionLost, match="went away"):
        server.handshake()


def test_what_follows_the_handshake_at_once_is_read_without_waiting() -> None:
    inner_client, inner_server = pair()
    client = TlsTransport(inner_client, server=False)
    server = TlsTransport(inner_server, server=True)
    while not client.handshake():
        server.handshake()
    client.send([b"hello"])
    assert server.handshake()
    server.wait(read=True, write=False, timeout=None)
    assert receive(server) == b"hello"


def test_openssl_need_not_give_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ssl.SSLError(1, "something ODD")
    error.reason = None  # type: ignore[assignment]  # which the stub does not know of

    class Failing:
        def do_handshake(self) -> None:
            raise error

        def read(self, *_: object) -> int:
            raise error

    client, server, _, _ = tls_pair()
    for transport in (client, server):
        monkeypatch.setattr(transport, "_tls", Failing())
        monkeypatch.setattr(transport, "_read", Failing().read)
    with pytest.raises(ProtocolMismatch, match="something odd"):
        client.handshake()
    with pytest.raises(IntegrityError, match="something odd"):
        receive(server)


# --- the server's certificate ---------------------------------------------------------------


def test_no_ticket_is_sent() -> None:
    client, server, inner_client, _ = tls_pair()
    assert server.flush()
    assert receive(inner_client) is None
    assert server_context().num_tickets == 0
    client.close()


def test_the_process_has_one_certificate_that_says_nothing() -> None:
    inner, other = pair()
    server = TlsTransport(inner, server=True)
    peer = Raw(other, client_context(), server=False)
    while not peer.step(peer.tls.do_handshake):
        server.handshake()
    der = peer.tls.getpeercert(binary_form=True)
    assert der is not None
    certificate = x509.load_der_x509_certificate(der)
    assert certificate.subject.rfc4514_string() == "CN=objxfer"
    assert certificate.issuer == certificate.subject
    assert list(certificate.extensions) == []
    assert server_context() is server_context()


@pytest.mark.parametrize("context", [client_context, server_context])
def test_nothing_older_is_spoken(context: Callable[[], ssl.SSLContext]) -> None:
    assert context().minimum_version == ssl.TLSVersion.TLSv1_3


def test_it_works_without_memory_files_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(_: str) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", fail, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls._load(context, b"".join(tls._self_signed()[:2]))
    assert context.cert_store_stats()
    assert list(tmp_path.iterdir()) == []


# --- afterwards -----------------------------------------------------------------------------


def test_nothing_is_readable_on_the_way() -> None:
    client, _, _, inner_server = tls_pair()
    client.send([b"a secret word" * 10])
    assert b"secret" not in (receive(inner_server) or b"")


def test_the_end_needs_no_farewell_even_inside_a_record() -> None:
    wire = Wire()
    wire.server_end.send([wire.record(b"whole"), wire.record(b"cut short")[:-1]])
    wire.server_end.finish()
    assert receive_all(wire.server) == b"whole"


@pytest.mark.parametrize("position", [0, 1, 5, 12, -1])
def test_a_changed_byte_is_an_integrity_error_after_what_was_sound(position: int) -> None:
    wire = Wire()
    sound, damaged = wire.record(b"sound"), bytearray(wire.record(b"damaged"))
    damaged[position] ^= 1
    wire.server_end.send([sound, damaged])
    assert receive(wire.server) == b"sound"
    for _ in range(2):
        with pytest.raises(IntegrityError, match="no TLS"):
            receive(wire.server)
    wire.carry_back()
    with pytest.raises(ConnectionLost, match="broke TLS off"):
        receive(wire.client)


def test_garbage_afterwards_is_an_integrity_error() -> None:
    wire = Wire()
    wire.server_end.send([b"objxfer in plain"])
    with pytest.raises(IntegrityError):
        receive(wire.server)


def test_a_repeated_record_is_an_integrity_error() -> None:
    wire = Wire()
    record = wire.record(b"once")
    wire.server_end.send([record, record])
    assert receive(wire.server) == b"once"
    with pytest.raises(IntegrityError):
        receive(wire.server)


def test_a_reset_comes_after_what_was_sound() -> None:
    client, server, inner_client, inner_server = tls_pair()
    client.send([b"last words"])

    def recv_into(buffer: memoryview) -> int | None:
        taken = receive_raw(buffer)
        if taken is None:
            raise ConnectionResetError("reset")
        return taken

    receive_raw = inner_server.recv_into
    with pytest.MonkeyPatch.context() as faults:
        faults.setattr(inner_server, "recv_into", recv_into)
        assert receive(server) == b"last words"
        with pytest.raises(ConnectionResetError):
            receive(server)
    inner_client.close()


def test_a_farewell_is_the_end() -> None:
    inner, other = pair()
    server = TlsTransport(inner, server=True)
    peer = Raw(other, client_context(), server=False)
    while not peer.step(peer.tls.do_handshake):
        server.handshake()
    assert server.handshake()
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()
    other.send([peer.outgoing.read()])
    assert [receive(server) for _ in range(3)] == [b"", b"", b""]


def test_what_the_peer_said_is_read_though_sending_fails() -> None:
    client, server, inner_client, _ = tls_pair()
    fill(client)  # so that something is held
    server.send([b"the reason"])

    def send(_: object) -> int:
        raise BrokenPipeError("nobody reads")

    with pytest.MonkeyPatch.context() as faults:
        faults.setattr(inner_client, "send", send)
        assert receive(client) == b"the reason"
        for _ in range(2):
            with pytest.raises(BrokenPipeError):
                client.send([b"x"])
        assert receive(client) is None


def test_little_is_held_when_nobody_reads() -> None:
    inner_client, inner_server = pair(capacity=4096)
    client = TlsTransport(inner_client, server=False)
    server = TlsTransport(inner_server, server=True)
    shake_hands(client, server)
    assert len(fill(client)) <= 256 * 1024


def test_small_buffers_share_a_record() -> None:
    client, _, _, inner_server = tls_pair()
    assert client.send([b"0123456789"] * 1000) == 10_000
    assert len(receive(inner_server) or b"") == 10_000 + 22


def test_over_sockets_large_payload_comes_through() -> None:
    one, other = tcp_sockets()
    client = TlsTransport(SocketTransport(one), server=False)
    server = TlsTransport(SocketTransport(other), server=True)
    shake_hands(client, server)
    payload = os.urandom(5_000_000)
    assert deliver(client, server, [b"head", payload, b"tail"], [1 << 20]) == b"".join(
        [b"head", payload, b"tail"]
    )
    client.close()
    server.close()
