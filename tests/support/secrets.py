"""Secrets, in all spellings in which they could come out, and the places that may hold them."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from objxfer.security.keys import Key
from objxfer.security.pairing import Code

CAPTURE: Final = """
import select, socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
with open(sys.argv[1], "wb") as out, wire:
    print("listening", flush=True)
    while True:
        ready = select.select([wire, sys.stdin], [], [])[0]
        if wire in ready:
            out.write(wire.recv(1 << 16))
        elif ready:
            break
"""
"""A program that keeps every packet of its network, until its input ends."""


class Watch:
    """What is to be kept secret, and all that was seen by others.

    Args:
        may_hold: of each secret, the places that may hold it, as patterns; each secret has to be
            in one of them, or this search finds nothing that there is.
    """

    def __init__(self, may_hold: dict[str, tuple[str, ...]]) -> None:
        self._may_hold = may_hold
        self._secrets: dict[str, list[bytes]] = {name: [] for name in may_hold}
        self._codes: list[Code] = []
        self._seen: list[tuple[str, bytes]] = []

    def hide(self, name: str, secret: bytes | Key | Code) -> None:
        """Let a secret be looked for, under the name of its kind."""
        if isinstance(secret, Key):
            secret = secret.secret()
        if isinstance(secret, Code):
            self._codes.append(secret)
            self._secrets[name] += _of_code(secret)
        else:
            self._secrets[name] += spellings(secret)

    def see(self, place: str, data: bytes | str) -> None:
        """Keep what can be seen at a place."""
        self._seen.append((place, data.encode() if isinstance(data, str) else data))

    def see_process(self, name: str, pid: int) -> None:
        """Look at what the system shows of a running process to who may look."""
        for what in ("cmdline", "environ", "comm"):
            self.see(f"{what} of {name}", Path(f"/proc/{pid}/{what}").read_bytes())

    def see_disk(self, folder: Path) -> None:
        """Look at all that lies in a folder, and at its name."""
        for place, folders, files in os.walk(folder):
            for name in folders + files:
                path = Path(place, name)
                self.see(f"name {path}", os.fsencode(path))
                if path.is_file():
                    self.see(f"file {path}", path.read_bytes())

    def check(self) -> None:
        """Check that each secret is where it may be, and nowhere else."""
        for name, kept in self._secrets.items():
            found = {place for place, data in self._seen if any(one in data for one in kept)}
            allowed = {
                place for place in found if any(fnmatch(place, one) for one in self._may_hold[name])
            }
            assert found == allowed, f"{name} is told by {sorted(found - allowed)}"
            assert allowed or not kept, f"{name} is not found where it is"
        patterns = [one for name in self._may_hold for one in self._may_hold[name]]
        for place, data in self._seen:
            if not any(fnmatch(place, one) for one in patterns):
                self._check_lines(place, data)

    def _check_lines(self, place: str, data: bytes) -> None:
        """Check that no line holds two words of a code, whatever stands between them."""
        for line in data.splitlines():
            for code in self._codes:
                words = {word for word in _words(code) if re.search(rb"\b%b\b" % word, line)}
                assert len(words) < 2, f"words of a code in {place}: {line!r}"


def spellings(secret: bytes) -> list[bytes]:
    """Return how bytes may be written down."""
    spelled = [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        repr(secret)[2:-1].encode(),
        str(list(secret))[1:-1].encode(),
        secret.decode("latin-1").encode("utf-16-le"),
    ]
    for shift, lost in ((0, 0), (1, 2), (2, 3)):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            spelled.append(encode(bytes(shift) + secret)[lost:-4])
    return spelled


def _words(code: Code) -> list[bytes]:
    return [word.encode() for word in code.spoken().split("-")[1:]]


def _of_code(code: Code) -> list[bytes]:
    words = [word.decode() for word in _words(code)]
    spoken = [between.join(words) for between in ("-", " ", "", ", ", "', '", '", "', "_", ".")]
    return [
        way
        for one in spoken
        for way in (one.encode(), one.upper().encode(), *spellings(one.encode())[1:])
    ]


def without(text: str, beginnings: Iterable[str]) -> str:
    """Return a screen without the lines that begin so."""
    return "\n".join(line for line in text.splitlines() if not line.startswith(tuple(beginnings)))
