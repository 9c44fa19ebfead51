"""TLS as a layer of bytes over any other transport.

TLS 1.3 only (RFC 8446), between peers that know no certificates: the server makes one up, and
the handshake of objxfer, which follows, proves under the shared key that both sides saw the
same. It is also that handshake which authenticates the end of a stream, so no close_notify is
sent or asked for: the end of the layer below is the end.
"""

from __future__ import annotations

import functools
import hashlib
import os
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from objxfer.errors import ConnectionLost, IntegrityError, ObjxferError, ProtocolMismatch
from objxfer.limits import KIB
from objxfer.transports.base import Buffer, Transport

_RECORD: Final = 16 * KIB  # plaintext in a full record
_SLICE: Final = 4 * _RECORD
# What a slice becomes: header, content type and tag add 22 bytes to a record (RFC 8446 section
# 5.2). Feeding whole records was 9 % faster than 64 KiB, and twice as much no faster.
_FEED: Final = 4 * (_RECORD + 22)
_FIRST: Final = 64
"""Bytes that are kept of what the peer says first."""


class TlsTransport:
    """One end of a TLS stream; see ``Transport`` for the contract.

    ``handshake`` comes first; nothing may be sent or received before it returned True.

    Attributes:
        first: what the peer said first, below TLS, and no more than 64 bytes of it.
    """

    def __init__(self, inner: Transport, *, server: bool, name: str = "") -> None:
        """Lay TLS over ``inner``, which it takes over.

        Args:
            inner: a connected transport on which nothing was sent or received yet.
            server: whether this side took the connection, or made it.
            name: what errors of the handshake call the peer; its address unless given.
        """
        self.peer = inner.peer
        self._name = name or inner.peer
        self._inner = inner
        self._server = server
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        context = _identity().context if server else client_context()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server)
        # The stub knows no memoryview here, and says bytes where a buffer is given.
        self._read: Callable[[int, memoryview], int] = self._tls.read  # type: ignore[assignment]
        self.first = b""
        self._held = memoryview(b"")  # encrypted, and not yet taken by the inner transport
        self._more = True  # decrypted bytes, or records to decrypt, may be inside
        self._ended = False
        self._finishing = False
        self._read_failure: ObjxferError | OSError | None = None
        self._write_failure: OSError | None = None

    def handshake(self) -> bool:
        """Go on with the handshake; True when it is done, else ``wait`` to read and call again.

        Raises:
            ProtocolMismatch: the peer speaks no TLS, or no TLS 1.3; the hint says what to try.
            ConnectionLost: the stream ended halfway.
            OSError: as the inner transport.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._push_quietly()
                reset: ConnectionError | None = None
                try:
                    size = self._feed()
                except ConnectionError as error:
                    size, reset = 0, error
                if size is None:
                    return False
                if not size:
                    raise self._ended_early() from reset
            except ssl.SSLError as error:
                self._push_quietly()  # the alert that tells the peer
                raise self._disagreement(error) from None
            else:
                self._push_quietly()
                return True

    def certificate_hash(self) -> bytes:
        """Return SHA-256 of the server's certificate (DER), as this side saw it.

        Equal on both sides only if nobody sits between them; the caller compares.
        """
        if self._server:
            return _identity().certificate_hash
        certificate = self._tls.getpeercert(binary_form=True)
        assert certificate is not None  # TLS 1.3 without a pre-shared key always has one
        return hashlib.sha256(certificate).digest()

    def recv_into(self, buffer: memoryview) -> int | None:
        """Decrypt what is there into ``buffer``: how much, 0 at the end, None if nothing yet.

        Raises:
            IntegrityError: what came is not what the peer encrypted.
            ConnectionLost: the peer broke TLS off with an alert.
            OSError: as the inner transport.
        """
        if self._held:
            self._push_quietly()
        got, size = 0, len(buffer)
        while got < size and not self._ended and self._read_failure is None:
            try:
                read = self._read(size - got, buffer[got:])
            except ssl.SSLWantReadError:
                try:
                    fed = self._feed()
                except OSError as error:
                    self._read_failure = error
                    break
                if fed is None:
                    self._more = False
                    return got or None
                self._ended = fed == 0
            except ssl.SSLError as error:
                self._push_quietly()  # the alert that tells the peer
                self._read_failure = _failure(error)
            else:
                got += read
                self._ended = read == 0
        self._more = True
        if self._read_failure is not None and not got:
            raise self._read_failure
        return got

    def send(self, buffers: Sequence[Buffer]) -> int | None:
        """Encrypt a prefix of the buffers' bytes: how much, None if nothing can be taken now."""
        if not self._push():
            return None
        taken = 0
        for part in _slices(buffers):
            self._tls.write(part)
            taken += len(part)
            if not self._push():
                break
        return taken

    def flush(self) -> bool:
        """Push out what is encrypted and held; True when nothing is left inside."""
        if not self._push():
            return False
        if self._finishing:
            self._finishing = False
            self._inner.finish()
        return self._inner.flush()

    def wait(self, *, read: bool, write: bool, timeout: float | None) -> None:
        """Return when reading or writing may get on, after ``wake``, or after the timeout.

        Also when what is held can be pushed out: ``recv_into``, ``send`` and ``flush`` all do.
        """
        if not (read and self._more):
            self._inner.wait(read=read, write=write or len(self._held) > 0, timeout=timeout)

    def wake(self) -> None:
        """Make the running ``wait``, or the next one, return at once."""
        self._inner.wake()

    def fileno(self) -> int:
        """Return the descriptor of the inner transport; bytes it does not show may be inside.

        Raises:
            OSError: it has none.
        """
        return self._inner.fileno()

    def finish(self) -> None:
        """Say that nothing more will be sent, as soon as ``flush`` has got everything out."""
        self._finishing = True
        self.flush()

    def close(self) -> None:
        """Release everything, at once; what is held is gone. Calling it again does nothing."""
        self._held = memoryview(b"")
        self._inner.close()

    def _feed(self) -> int | None:
        """Take what is there from the inner transport: how much, 0 at its end, None if nothing."""
        try:
            scratch = _idle.pop()
        except IndexError:
            scratch = memoryview(bytearray(_FEED))
        try:
            size = self._inner.recv_into(scratch)
            if size:
                self._incoming.write(scratch[:size])
                if len(self.first) < _FIRST:
                    self.first += scratch[: min(size, _FIRST - len(self.first))]
            return size
        finally:
            _idle.append(scratch)

    def _push(self) -> bool:
        """Give what is encrypted to the inner transport; True when it took everything."""
        if self._write_failure is not None:
            raise self._write_failure
        while True:
            if not self._held:
                if not self._outgoing.pending:
                    return True
                self._held = memoryview(self._outgoing.read())
            size = self._inner.send((self._held,))
            if size is None:
                return False
            self._held = self._held[size:]

    def _push_quietly(self) -> None:
        """Flush on the way to reading: what the peer said last matters more than a failure."""
        try:
            self.flush()
        except OSError as error:
            self._write_failure = error
            self._held = memoryview(b"")

    def _ended_early(self) -> ObjxferError:
        if self._server and not self.first:
            return ConnectionLost(f"{self._name} left without a word")
        if self._heard_tls():
            return ConnectionLost(f"{self._name} went away during the TLS handshake")
        return self._no_tls()

    def _disagreement(self, error: ssl.SSLError) -> ObjxferError:
        if self._heard_tls():
            return ProtocolMismatch(f"no TLS 1.3 with {self._name}: {_reason(error)}")
        return self._no_tls()

    def _no_tls(self) -> ObjxferError:
        verb = "calling" if self._server else "listening"
        return ProtocolMismatch(
            f"{self._name} does not speak TLS",
            hint=f"it may be {verb} {'with' if self._server else 'on'} tcp://",
        )

    def _heard_tls(self) -> bool:
        # RFC 8446 section 5.1: a record begins with its type and 3, the major version.
        return len(self.first) >= 2 and self.first[0] in range(20, 24) and self.first[1] == 3


# Buffers for feeding, lent for one call: as many as threads were feeding at once, and not one
# for each of a thousand connections. Appending to and popping from a list is atomic.
_idle: list[memoryview] = []


def _slices(buffers: Sequence[Buffer]) -> Iterator[Buffer]:
    """Cut large buffers and join small ones, for few calls and few records; nothing is empty."""
    small: list[Buffer] = []
    size = 0
    for buffer in buffers:
        if len(buffer) < _RECORD:
            small.append(buffer)
            size += len(buffer)
            if size < _SLICE - _RECORD:
                continue
        if size:
            yield b"".join(small)
            small.clear()
            size = 0
        if len(buffer) >= _RECORD:
            view = memoryview(buffer)
            for start in range(0, len(view), _SLICE):
                yield view[start : start + _SLICE]
    if size:
        yield b"".join(small)


def _failure(error: ssl.SSLError) -> ObjxferError:
    if "ALERT" in (error.reason or ""):
        return ConnectionLost(f"the peer broke TLS off: {_reason(error)}")
    return IntegrityError(f"what arrived is no TLS of the peer's: {_reason(error)}")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).lower().replace("_", " ")


# --- contexts -------------------------------------------------------------------------------


class _Identity(NamedTuple):
    """What this process is as a server."""

    context: ssl.SSLContext
    certificate_hash: bytes


_making_identity = threading.Lock()


def server_context() -> ssl.SSLContext:
    """Return the context of this process as a server; any thread may call, and share it.

    TLS 1.3 only, no tickets and so no resumption, and a certificate made at the first call
    that is never written to a disk.
    """
    return _identity().context


@functools.cache
def client_context() -> ssl.SSLContext:
    """Return the context of this process as a client; any thread may call, and share it.

    TLS 1.3 only. **It accepts any certificate.** That is safe here only because the handshake of
    objxfer follows, in which both sides prove under their key that they saw the same one
    (``TlsTransport.certificate_hash``): somebody in between, with another, fails there.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _identity() -> _Identity:
    with _making_identity:
        return _make_identity()


@functools.cache
def _make_identity() -> _Identity:
    private_key, certificate, certificate_hash = _self_signed()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    _load(context, private_key + certificate)
    return _Identity(context, certificate_hash)


def _self_signed() -> tuple[bytes, bytes, bytes]:
    """Return a new P-256 key and a certificate for it, both PEM, and the hash of its DER.

    It says nothing about this machine, and holds whatever the clocks say.
    """
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "objxfer")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2000, 1, 1))
        .not_valid_after(datetime.datetime(9999, 12, 31))
        .sign(private_key, hashes.SHA256())
    )
    return (
        private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
        certificate.fingerprint(hashes.SHA256()),
    )


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Hand key and certificate to OpenSSL, which takes them from a file only."""
    if sys.platform == "linux":
        try:
            with open(os.memfd_create("objxfer"), "wb", buffering=0) as file:
                file.write(pem)
                context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
            return
        except OSError:
            pass  # no memfd, or no /proc: as elsewhere
    # A folder for this user only, and gone as soon as they are loaded.
    with tempfile.TemporaryDirectory(prefix="objxfer-") as folder:
        path = os.path.join(folder, "identity.pem")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
        context.load_cert_chain(path)
