"""What is kept of a peer, and how it is written down.

A file begins with what it is and with digits that tell whether it was damaged, so that a flipped
bit is found here, and not by a peer that does not know this machine any more.
"""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from objxfer.errors import ExitCode, ObjxferError
from objxfer.security import keyfiles, private
from objxfer.security.keys import Key
from objxfer.security.pairing import Pair, check_peer_id

LONGEST_NAME: Final = 63
"""Bytes of a name, in UTF-8."""
MOST_ADDRESSES: Final = 8
"""Addresses of a peer that are remembered."""
KIND: Final = "peer file"
"""What such a file is called in errors."""
ID_KIND: Final = "file of this machine's peer id"

_PREFIX: Final = b"objxfer-peer-1:"
_ID_PREFIX: Final = b"objxfer-peer-id-1:"
_CHECK_DIGITS: Final = 8
_LONGEST_ADDRESS: Final = 300
_NAMES: Final = (
    f"such a name is printable, takes 1 to {LONGEST_NAME} bytes, begins with neither - nor a dot,"
    " and holds no slash, backslash or colon"
)
_PAIR_AGAIN: Final = "remove it, and pair again"


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer that this machine is paired with."""

    name: str
    """What it is called here; another machine may call it otherwise."""
    pair: Pair
    """By which it is known: its id, and a key that nobody else has."""
    paired_at: datetime
    """When, in UTC."""
    paired_from: str
    """The address that it had then."""
    addresses: tuple[str, ...] = ()
    """URLs it was reached at, or might be: the last that worked comes first."""


def check_name(name: str) -> str:
    """Return a name as it is kept.

    Raises:
        ObjxferError: it cannot be the name of a peer (exit code ``USAGE``).
    """
    if keyfiles.is_code(name):
        # It may be one that was misheard, and is not shown.
        raise usage("a code was given where the name of a peer belongs")
    wrong = why_no_name(name)
    if wrong is not None:
        raise usage(
            f"{name[: 2 * LONGEST_NAME]!a} cannot be the name of a peer: {wrong}", hint=_NAMES
        )
    return normal(name)


def fitting(proposed: str, otherwise: str) -> str:
    """Return a proposal of somebody else, if it can be the name of a peer, or another name."""
    if keyfiles.is_code(proposed) or why_no_name(proposed) is not None:
        return otherwise
    return normal(proposed)


def normal(name: str) -> str:
    """Return how a name is written: what looks the same is the same, whoever typed it."""
    return unicodedata.normalize("NFC", name)


def why_no_name(name: str) -> str | None:
    """Return what is wrong with a name, or None."""
    if not name:
        return "it is empty"
    if len(name) > LONGEST_NAME or len(normal(name).encode("utf-8", "replace")) > LONGEST_NAME:
        return "it is too long"
    if not name.isprintable() or name != name.strip():
        return "it is not printable"
    if name[0] in "-.":
        return f"it begins with {name[0]}"
    if any(letter in name for letter in "/\\:"):
        return "it holds a slash, backslash or colon"
    return None


def shortened(name: str, ending: str) -> str:
    """Return a name with an ending, cut before it where it would be too long."""
    room = LONGEST_NAME - len(ending)
    return name.encode()[:room].decode(errors="ignore").rstrip() + ending


def is_address(text: str) -> bool:
    """Whether a text may be remembered as an address."""
    return len(text) <= _LONGEST_ADDRESS and text.isascii() and text.isprintable()


# --- what a file holds ---


def _checked(prefix: bytes, body: bytes) -> bytes:
    """Return a body with digits before it that tell whether it was damaged."""
    return prefix + _check(body) + b" " + body + b"\n"


def _unchecked(path: Path, kind: str, prefix: bytes, data: bytes) -> bytes:
    begin = len(prefix) + _CHECK_DIGITS
    body = data[begin + 1 :].removesuffix(b"\n")
    if data != _checked(prefix, body):
        private.refuse(path, kind, "is damaged", hint=_PAIR_AGAIN)
    return body


def _check(body: bytes) -> bytes:
    return hashlib.sha256(b"objxfer/1 peer check" + body).hexdigest()[:_CHECK_DIGITS].encode()


def encode(peer: Peer) -> bytes:
    """Return the contents of a peer's file; its name is that of the file."""
    import json  # of no use where there is no peer

    values = {
        "key": keyfiles.encode(peer.pair.key.secret()).decode(),
        "own": peer.pair.own.hex(),
        "peer": peer.pair.peer.hex(),
        "paired_at": peer.paired_at.astimezone(UTC).isoformat(timespec="seconds"),
        "paired_from": peer.paired_from,
        "addresses": list(peer.addresses),
    }
    return _checked(_PREFIX, json.dumps(values).encode())


def decode(path: Path, data: bytes) -> Peer:
    """Return the peer whose file holds this; KeyFileError, without a word of it, names the file."""
    import json

    body = _unchecked(path, KIND, _PREFIX, data)
    try:
        values = json.loads(body)
        addresses, paired_from = values["addresses"], values["paired_from"]
        if not isinstance(addresses, list):
            raise TypeError
        if not all(isinstance(one, str) and is_address(one) for one in (*addresses, paired_from)):
            raise ValueError
        peer = Peer(
            path.name,
            Pair(
                Key.from_bytes(keyfiles.decode(values["key"].encode())),
                bytes.fromhex(values["own"]),
                bytes.fromhex(values["peer"]),
            ),
            datetime.fromisoformat(values["paired_at"]).astimezone(UTC),
            paired_from,
            tuple(addresses[:MOST_ADDRESSES]),
        )
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        private.refuse(path, KIND, "is none that objxfer wrote", hint=_PAIR_AGAIN)
    return peer


def encode_id(own: bytes) -> bytes:
    """Return the contents of the file of the own peer id."""
    return _checked(_ID_PREFIX, own.hex().encode())


def decode_id(path: Path, data: bytes) -> bytes:
    """Return the own peer id that a file holds; or KeyFileError."""
    body = _unchecked(path, ID_KIND, _ID_PREFIX, data)
    try:
        own = bytes.fromhex(body.decode("ascii"))
        check_peer_id(own)
    except ValueError:
        private.refuse(path, ID_KIND, "holds none", hint=_PAIR_AGAIN)
    return own


def usage(message: str, *, hint: str = "") -> ObjxferError:
    """Return an error whose exit code is ``USAGE``."""
    return ObjxferError(message, hint=hint, exit_code=ExitCode.USAGE)
