"""On what terms this side talks: its keys, what it accepts, and how much."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from objxfer.errors import ExitCode, ObjxferError
from objxfer.files.entries import IfExists
from objxfer.limits import Limits
from objxfer.protocol.handshake import (
    NONCE_SIZE,
    PEER_ID_SIZE,
    Handshake,
    Hello,
    Largest,
    Mode,
    Role,
)
from objxfer.security.keyfiles import StrPath
from objxfer.security.keys import Key, Keyring, as_keyring
from objxfer.serializers import base

if TYPE_CHECKING:
    from objxfer.blocking.places import Place

SAFE: Final = ("raw", "text", "json", "msgpack")
"""What is accepted unless said otherwise: serialisers that cannot run code."""
_PEER_ID: Final = os.urandom(PEER_ID_SIZE)


@dataclass(frozen=True, slots=True)
class Terms:
    """What ``connect`` and ``listen`` were told, checked."""

    keyring: Keyring | None
    serializer: str
    accepts: tuple[str, ...]
    classes: tuple[str, ...] | None
    into: Place | None
    if_exists: IfExists
    keep_partial: float
    limits: Limits

    @classmethod
    def check(
        cls,
        where: str,
        *,
        key: Key | Keyring | StrPath | None,
        serializer: str,
        accepts: Sequence[str],
        classes: Sequence[str] | None,
        timeout: float,
        into: Place | None,
        if_exists: IfExists | str,
        keep_partial: float,
        limits: Limits,
        insecure: bool,
    ) -> Terms:
        """Check the terms before anything is bound, connected or sent.

        The arguments are those of ``connect``, and ``where``, the URL they are for.

        Raises:
            ValueError: they contradict each other.
            TypeError: the key is given as raw bytes.
            KeyFileError: the key file cannot be used.
            ObjxferError: there is no key, and nobody said ``insecure`` (exit code ``USAGE``).
        """
        keyring = as_keyring(key)
        if isinstance(accepts, str):
            raise TypeError("accepts is a list of names, not one string")
        base.check_classes(classes)
        for name in (*accepts, serializer):
            if base.executes(name) and name in accepts and keyring is None:
                raise ValueError(
                    f"accepts=[{name!r}] needs key=…: without one anybody who can connect could"
                    " run code here"
                )
        if keyring is None and not insecure:
            raise ObjxferError(
                f"no key for {where}",
                hint='make one with "objxfer keygen", or name one with --key FILE',
                exit_code=ExitCode.USAGE,
            )
        if timeout <= 0:
            raise ValueError(f"timeout must be positive, not {timeout!r}")
        if keep_partial < 0:
            raise ValueError(f"keep_partial is a number of days, not {keep_partial!r}")
        return cls(
            keyring,
            serializer,
            tuple(accepts),
            None if classes is None else tuple(classes),
            into,
            IfExists[if_exists.upper()] if isinstance(if_exists, str) else if_exists,
            keep_partial,
            limits,
        )

    def serializer_of(self, name: str) -> base.AnySerializer:
        """Return the serialiser of a name, bound to the limits of these terms."""
        return base.get(name, self.limits.nesting)

    @property
    def key_id(self) -> str | None:
        """The id of the key this side names, or None."""
        return self.keyring.first.id if self.keyring else None

    def handshake(self, role: Role, channel: bytes) -> Handshake:
        """Return this side of a new handshake."""
        keyring = self.keyring
        hello = Hello(
            role,
            Mode.KEY if keyring else Mode.NONE,
            os.urandom(NONCE_SIZE),
            _PEER_ID,
            key_id=bytes.fromhex(keyring.first.id) if keyring else b"",
            serializers=self.accepts,
            python="{}.{}".format(*sys.version_info[:2]),
            trees=self.into is not None,
            limits=Largest(
                min(self.limits.head, 2**32 - 1),
                min(self.limits.object, 2**64 - 1),
                min(self.limits.buffers, 2**32 - 1),
            ),
        )
        if keyring is None:
            return Handshake(hello, channel)
        if role is Role.CLIENT:
            return Handshake(hello, channel, secret=keyring.first.secret())

        def find(key_id: bytes) -> bytes | None:
            key = keyring.find(key_id.hex())
            return key.secret() if key else None

        return Handshake(hello, channel, find_secret=find, decoy=os.urandom(32))
