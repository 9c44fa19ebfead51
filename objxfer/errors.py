"""Every error objxfer raises, and the exit code that goes with it.

The tree::

    ObjxferError
    ├── ConnectionClosed (EOFError)      the peer ended the connection, as agreed
    │   └── ConnectionLost               it ended without saying so
    ├── CannotConnect                    nobody answers there
    ├── NameTaken                        somebody else on the network announces this name
    ├── Timeout (TimeoutError)           a deadline passed while the peer was waited for
    ├── AuthenticationError              the peer does not prove who it is
    │   ├── WrongKey                     it does not hold our key
    │   └── WrongCode                    one of the two codes is wrong, or was tried before
    ├── ProtocolMismatch                 the peer speaks something else, or another version
    ├── IntegrityError                   bytes arrived that were not sent
    ├── PeerError                        the peer broke the rules of the protocol
    ├── RefusedByPeer                    the peer does not take this item, or no more of it
    ├── LimitExceeded                    larger than this side's ``Limits`` allow
    ├── UnsafePath                       a name that may not be used below the receiving folder
    ├── NoSpace                          the disk is full, here or at the peer
    ├── FileFailed                       a file here could not be read or written
    ├── ReceiptMissing                   delivered perhaps, but not confirmed as durable
    ├── NotSerializable (TypeError)      the serialiser cannot hold this object exactly
    ├── NotAllowed                       what came is not accepted: a class, or files of this peer
    ├── RuleError                        a rule of an inbox cannot hold
    └── KeyFileError                     the key file is absent, malformed or open to others
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What a command ends with; unknown codes are failures."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3
    """Sources were unreadable or left out."""
    CHANGED = 4
    """A source changed while it was read."""
    VANISHED = 5
    """Sources vanished between the scan and the reading."""
    CANNOT_CONNECT = 10
    CONNECTION_LOST = 11
    TIMEOUT = 12
    NOT_AUTHENTICATED = 13
    MISMATCH = 15
    REFUSED = 20
    PEER_NO_SPACE = 21
    NO_SPACE = 22
    INTEGRITY = 30
    RECEIPT_MISSING = 31
    LOCKED = 40
    BRAKE = 41


_SEVERITY = (30, 31, 13, 15, 22, 21, 20, 40, 41, 11, 12, 10, 3, 5, 4, 1, 2)


def worst(codes: set[int]) -> int:
    """Return the one exit code that stands for several; signals (128 + N) come first."""
    signals = [code for code in codes if code >= 128]
    if signals:
        return max(signals)
    for code in _SEVERITY:
        if code in codes:
            return code
    return 1 if codes - {0} else 0


class ObjxferError(Exception):
    """The root of all errors of objxfer.

    Attributes:
        exit_code: what a command that fails with this error ends with.
        hint: what to do next, one sentence, or "".
    """

    default_exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(
        self, message: str = "", *, hint: str = "", exit_code: ExitCode | None = None
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code if exit_code is not None else self.default_exit_code


class ConnectionClosed(ObjxferError, EOFError):
    """The peer ended the connection with an end message; nothing was lost."""

    default_exit_code = ExitCode.CONNECTION_LOST


class ConnectionLost(ConnectionClosed):
    """The stream ended or broke without an end message; the connection is dead.

    Attributes:
        bytes_done: how far an object was that was on its way, which is not gone on with.
        bytes_total: its size; 0 where none was on its way.
    """

    bytes_done: int = 0
    bytes_total: int = 0


class CannotConnect(ObjxferError):
    """No connection could be made; nothing was sent."""

    default_exit_code = ExitCode.CANNOT_CONNECT


class NameTaken(ObjxferError):
    """Somebody else on the network announces this name; it is announced from here no more."""

    default_exit_code = ExitCode.CANNOT_CONNECT


class Timeout(ObjxferError, TimeoutError):
    """A deadline passed while the peer was waited for."""

    default_exit_code = ExitCode.TIMEOUT


class AuthenticationError(ObjxferError):
    """The peer does not hold the secret; nothing but the handshake was exchanged."""

    default_exit_code = ExitCode.NOT_AUTHENTICATED


class WrongKey(AuthenticationError):
    """The peer does not hold our key; it may hold another."""


class WrongCode(AuthenticationError):
    """The codes of the two sides differ, or the one that waited was tried before."""


class ProtocolMismatch(ObjxferError):
    """The peer does not speak this protocol, or no version of it that this side speaks."""

    default_exit_code = ExitCode.MISMATCH


class IntegrityError(ObjxferError):
    """A tag, digest or sequence did not match; the connection is dead, nothing was used."""

    default_exit_code = ExitCode.INTEGRITY


class PeerError(ObjxferError):
    """The authenticated peer broke the rules of the protocol; the connection is dead."""

    default_exit_code = ExitCode.MISMATCH


class RefusedByPeer(ObjxferError):
    """The peer refused or aborted this item; the connection stays usable."""

    default_exit_code = ExitCode.REFUSED


class LimitExceeded(ObjxferError):
    """Something is larger than this side's ``Limits``; nothing was allocated for it."""


class UnsafePath(ObjxferError):
    """A name may not be used below the receiving folder; nothing was touched."""

    default_exit_code = ExitCode.REFUSED


class NoSpace(ObjxferError):
    """The disk or the quota is full, here (22) or at the peer (21)."""

    default_exit_code = ExitCode.NO_SPACE


class FileFailed(ObjxferError):
    """A file here could not be read or written; whatever lay there before is intact."""


class ReceiptMissing(ObjxferError):
    """The peer did not confirm that what it got is durable and equal to what was read."""

    default_exit_code = ExitCode.RECEIPT_MISSING


class NotSerializable(ObjxferError, TypeError):
    """The serialiser cannot hold the object exactly; nothing was sent.

    Attributes:
        path: the attribute that stands in the way, as in ``obj["job"]``.
    """

    def __init__(self, message: str, *, path: str = "obj", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path


class NotAllowed(ObjxferError):
    """What came is not accepted here: an object of a class, or files of this peer.

    Nothing of it ran or was written; the connection stays usable.
    """

    default_exit_code = ExitCode.REFUSED


class RuleError(ObjxferError):
    """A rule of an inbox cannot hold; those that held before still do.

    Attributes:
        name: of the grant that is wrong.
        field: what of it is wrong, as in ``folder``; empty for all of it.
    """

    default_exit_code = ExitCode.USAGE

    def __init__(self, name: str, field: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{name!r}: {message}", hint=hint)
        self.name = name
        self.field = field


class KeyFileError(ObjxferError):
    """The key file is absent, malformed, or open to others."""

    default_exit_code = ExitCode.USAGE
