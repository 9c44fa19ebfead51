"""Files of keys, of peers and of the own peer id; and the names that peers propose for themselves.

An input is which of them, and what the file holds. Check digits that are no secret are put right
where the input says so, so that what is behind them is reached.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from fuzz.harness import Choices, Harness
from objxfer.errors import ExitCode, KeyFileError, ObjxferError
from objxfer.protocol.hello import Role
from objxfer.security import keyfiles, peerfiles
from objxfer.security.keys import Key, Keyring
from support.handshakes import KEY, half, hello

_NAS: Final = Path("nas")
_PEER: Final = b"objxfer-peer-1:"
_ID: Final = b"objxfer-peer-id-1:"
_PART: Final = 8
"""Letters of a file that no message may repeat in a row."""


@cache
def _file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="objxfer-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.close(os.open(folder / "key", os.O_CREAT | os.O_WRONLY, 0o600))
    return folder / "key"


def _feed(data: bytes) -> None:
    choices = Choices(data)
    what, right = choices.number(), choices.number() & 1
    said = choices.rest()
    try:
        match what % 4:
            case 0:
                _keys(said)
            case 1:
                _peer(_checked(_PEER, said) if right else said)
            case 2:
                _own_id(_checked(_ID, said) if right else said)
            case _:
                _name(said.decode("utf-8", "surrogatepass" if right else "replace"))
    except KeyFileError as error:
        _check_silent(str(error) + error.hint, said)
    except UnicodeDecodeError:
        assert what % 4 == 3


def _keys(said: bytes) -> None:
    path = _file()
    path.write_bytes(said)
    keys = Keyring.load(path)
    again = b"".join(keyfiles.encode(key.secret()) + b"\n" for key in keys)
    assert again.removesuffix(b"\n") == said.removesuffix(b"\n")
    with suppress(KeyFileError):
        assert Key.load(path) == keys.first
        assert len(keys) == 1


def _peer(said: bytes) -> None:
    peer = peerfiles.decode(_NAS, said)
    assert peerfiles.decode(_NAS, peerfiles.encode(peer)) == peer
    assert all(map(peerfiles.is_address, (*peer.addresses, peer.paired_from)))
    assert len(peer.addresses) <= peerfiles.MOST_ADDRESSES
    assert peer.paired_at.tzinfo is UTC


def _own_id(said: bytes) -> None:
    own = peerfiles.decode_id(_NAS, said)
    assert peerfiles.decode_id(_NAS, peerfiles.encode_id(own)) == own


def _name(text: str) -> None:
    fitting = peerfiles.fitting(text, "somebody")
    assert peerfiles.why_no_name(fitting) is None
    assert peerfiles.check_name(fitting) == fitting
    assert len(fitting.encode()) <= peerfiles.LONGEST_NAME
    longer = peerfiles.shortened(fitting, " 2")
    assert peerfiles.why_no_name(longer) is None
    try:
        kept = peerfiles.check_name(text)
    except ObjxferError as error:
        assert error.exit_code is ExitCode.USAGE
        assert str(error).isprintable()
    else:
        assert kept == fitting


def _checked(prefix: bytes, body: bytes) -> bytes:
    digits = hashlib.sha256(b"objxfer/1 peer check" + body).hexdigest()[:8]
    return prefix + digits.encode() + b" " + body + b"\n"


def _check_silent(message: str, said: bytes) -> None:
    """What a file holds is not repeated: it may be a secret."""
    held = said.decode("latin-1")
    for at in range(len(message) - _PART + 1):
        part = message[at : at + _PART]
        assert part not in held or not part.isalnum(), "a message repeats what may be a secret"


def _seeds() -> Iterator[bytes]:
    line = keyfiles.encode(KEY)
    for lines in (line, line + b"\n", line + b"\n" + keyfiles.encode(KEY[::-1]) + b"\n", b"\n"):
        yield b"\0\0" + lines
    peer = peerfiles.Peer("nas", half(Role.CLIENT), datetime(2026, 1, 1, tzinfo=UTC), "10.0.0.1")
    for addresses in ((), ("tls://10.0.0.1:6259", "tls://[fe80::1%eth0]:6259")):
        object.__setattr__(peer, "addresses", addresses)
        whole = peerfiles.encode(peer)
        body = whole[len(_PEER) + 9 : -1]
        assert _checked(_PEER, body) == whole
        yield b"\1\0" + whole
        yield b"\1\1" + body
        for field, value in (("paired_at", "0001-01-01T00:00:00+14:00"), ("own", 5), ("key", "")):
            yield b"\1\1" + json.dumps(json.loads(body) | {field: value}).encode()
    own = peerfiles.encode_id(hello(Role.CLIENT).peer_id)
    yield b"\2\0" + own
    yield b"\2\1" + own[len(_ID) + 9 : -1]
    for name in ("nas", "Büro 2", "e\u0301", "-nas", ".nas", "a:b", "a/b", "a\u202eb", "n" * 64):
        yield b"\3\1" + name.encode()
    yield b"\3\1" + b"4-walnut-copper-tiger"


HARNESS: Final = Harness(_feed, _seeds)
