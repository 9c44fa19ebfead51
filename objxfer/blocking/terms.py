"""On what terms this side talks: its keys, what it accepts, and how much."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from objxfer.blocking.rules import Rules
from objxfer.blocking.trust import Trust, Trusted
from objxfer.errors import ExitCode, ObjxferError
from objxfer.files.entries import IfExists
from objxfer.limits import Limits
from objxfer.protocol.handshake import Handshake
from objxfer.protocol.hello import ANYBODY, NONCE_SIZE, Hello, Largest, Mode, Role
from objxfer.security.pairing import PEER_ID_SIZE, check_peer_id
from objxfer.serializers import base

if TYPE_CHECKING:
    from objxfer.blocking.places import Place

SAFE: Final = ("raw", "text", "json", "msgpack")
"""What is accepted unless said otherwise: serialisers that cannot run code."""
_PEER_ID: Final = os.urandom(PEER_ID_SIZE)


@dataclass(frozen=True, slots=True)
class Terms:
    """What ``connect`` and ``listen`` were told, checked."""

    trust: Trust
    peer_id: bytes
    serializer: str
    accepts: tuple[str, ...]
    classes: tuple[str, ...] | None
    into: Place | Rules | None
    if_exists: IfExists
    keep_partial: float
    limits: Limits

    @classmethod
    def check(
        cls,
        where: str,
        *,
        role: Role,
        encrypted: bool,
        key: Trusted | None,
        peer_id: bytes | None,
        serializer: str,
        accepts: Sequence[str],
        classes: Sequence[str] | None,
        timeout: float,
        into: Place | Rules | None,
        if_exists: IfExists | str,
        keep_partial: float,
        limits: Limits,
        insecure: bool,
    ) -> Terms:
        """Check the terms before anything is bound, connected or sent.

        The arguments are those of ``connect``, and ``where``, the URL they are for, whether that is
        ``encrypted``, and this side's ``role``.

        Raises:
            ValueError: they contradict each other.
            TypeError: the key is nothing that is one on this side; raw bytes are not.
            KeyFileError: the key file cannot be used.
            ObjxferError: there is no key, and nobody said ``insecure`` (exit code ``USAGE``).
        """
        trust = Trust.check(key, role, encrypted=encrypted)
        if isinstance(accepts, str):
            raise TypeError("accepts is a list of names, not one string")
        base.check_classes(classes)
        for name in (*accepts, serializer):
            if base.executes(name) and name in accepts and key is None:
                raise ValueError(
                    f"accepts=[{name!r}] needs key=…: without one anybody who can connect could"
                    " run code here"
                )
        if key is None and not insecure:
            raise no_key(where)
        if timeout <= 0:
            raise ValueError(f"timeout must be positive, not {timeout!r}")
        if keep_partial < 0:
            raise ValueError(f"keep_partial is a number of days, not {keep_partial!r}")
        if peer_id is not None:
            check_peer_id(peer_id)
            if trust.own not in (None, peer_id):
                raise ValueError("a pair is bound to the peer id it has: leave peer_id=… out")
        return cls(
            trust,
            trust.own or peer_id or _PEER_ID,
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

    def handshake(self, role: Role, channel: bytes) -> Handshake:
        """Return this side of a new handshake."""
        trust, limits = self.trust, self.limits
        mode = trust.modes[0]
        client = role is Role.CLIENT
        hello = Hello(
            role,
            mode,
            os.urandom(NONCE_SIZE),
            self.peer_id,
            trust.pairs[0].peer if client and mode is Mode.PAIR else ANYBODY,
            key_id=trust.named,
            serializers=self.accepts,
            python="{}.{}".format(*sys.version_info[:2]),
            trees=self.into is not None,
            limits=Largest(
                min(limits.head, 2**32 - 1),
                min(limits.object, 2**64 - 1),
                min(limits.buffers, 2**32 - 1),
            ),
        )
        if client:
            return Handshake(hello, channel, trust.secret())
        return Handshake(hello, channel, find=trust.finds())


def no_key(where: str) -> ObjxferError:
    """Return what to say where there is no key for a URL, and nobody said ``insecure``."""
    return ObjxferError(
        f"no key for {where}",
        hint='make one with "objxfer keygen", or name one with --key FILE',
        exit_code=ExitCode.USAGE,
    )
