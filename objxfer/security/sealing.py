"""The key schedule of a connection, and the tags that seal its chunks.

Everything here follows from one secret and the transcript of the handshake (RFC 5869 for
the derivation). Each direction has its own key and its own implicit 64-bit sequence, so a
chunk that is lost, repeated, reordered, reflected or moved to another connection fails.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from objxfer.errors import IntegrityError

TAG_SIZE: Final = 32
_BLOCK: Final = 64
_MINT: Final = object()


class Proof:
    """Stands for "these bytes came under a tag made with the secret".

    Only an ``Opener`` of an authenticated connection makes one.
    """

    __slots__ = ()

    def __init__(self, mint: object) -> None:
        if mint is not _MINT:
            raise TypeError("a Proof comes from verifying, it cannot be made")


@dataclass(frozen=True, slots=True)
class Verified:
    """The head and buffers of one object, proven to come from a holder of the secret.

    The only thing ``serializers.pickle`` loads.
    """

    proof: Proof
    head: Any
    """A bytes-like object."""
    buffers: Sequence[Any]
    """Bytes-like objects, in the order in which they were dumped."""

    def __post_init__(self) -> None:
        if not isinstance(self.proof, Proof):
            raise TypeError("Verified needs the Proof that verifying returned")


class _Tagger:
    """HMAC-SHA256 over sequence and header, with the key's two blocks hashed once (RFC 2104)."""

    __slots__ = ("_inner", "_outer", "_sequence")

    def __init__(self, key: bytes) -> None:
        assert len(key) == TAG_SIZE
        block = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
        self._sequence = 0

    def _tag(self, header: bytes | memoryview) -> bytes:
        sequence = self._sequence
        self._sequence = sequence + 1
        inner = self._inner.copy()
        inner.update(sequence.to_bytes(8, "big") + header)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


class Sealer(_Tagger):
    """Makes the tags of one direction, in order. Not for use by two threads at once."""

    __slots__ = ()

    def seal(self, header: bytes) -> bytes:
        """Return the tag of the next chunk."""
        return self._tag(header)


class Opener(_Tagger):
    """Checks the tags of one direction, in order. Not for use by two threads at once."""

    __slots__ = ("proof",)

    def __init__(self, key: bytes, *, authenticated: bool) -> None:
        super().__init__(key)
        self.proof: Final = Proof(_MINT) if authenticated else None
        """Goes with every chunk that passed ``check``; None in mode none."""

    def check(self, header: bytes | memoryview, tag: bytes | memoryview) -> None:
        """Check the tag of the next chunk.

        Raises:
            IntegrityError: it does not match; this direction is of no more use.
        """
        if not hmac.compare_digest(self._tag(header), tag):
            raise IntegrityError("a chunk's tag does not match")


@dataclass(frozen=True, slots=True, repr=False)
class Schedule:
    """The keys of one connection, from its secret and its transcript."""

    client_proof: bytes
    server_proof: bytes
    client_chunk: bytes
    server_chunk: bytes
    pair: bytes
    """What two peers that met by a code keep; of no use to this connection."""

    @classmethod
    def derive(cls, secret: bytes, transcript_digest: bytes) -> Schedule:
        """Derive the keys: HKDF-SHA256, salted with the transcript, one label a key.

        Args:
            secret: 32 bytes: the key, the result of SPAKE2, or zeros in mode none.
            transcript_digest: SHA-256 over mode, channel and both hellos.
        """
        prk = hmac.digest(transcript_digest, secret, "sha256")

        def expand(label: str) -> bytes:
            # RFC 5869 section 2.3 with L = 32: a single block.
            return hmac.digest(prk, f"objxfer/1 {label}".encode() + b"\x01", "sha256")

        return cls(
            client_proof=expand("client proof"),
            server_proof=expand("server proof"),
            client_chunk=expand("client chunk"),
            server_chunk=expand("server chunk"),
            pair=expand("pair"),
        )


def prove(key: bytes, transcript: bytes) -> bytes:
    """Return the 32-byte proof over a transcript under one role's proof key."""
    return hmac.digest(key, transcript, "sha256")


def proves(key: bytes, transcript: bytes, proof: bytes) -> bool:
    """Tell whether ``proof`` is the one that ``prove`` makes, in constant time."""
    return hmac.compare_digest(prove(key, transcript), proof)
