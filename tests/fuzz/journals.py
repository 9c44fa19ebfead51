"""The journal of a file that was cut, and the note of temporary names: files of a receiving folder.

An input is how much of the file lies there, what is right about the journal, and then what the
journal and the note hold.
"""

from __future__ import annotations

import atexit
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from blake3 import blake3

from fuzz.harness import Choices, Harness
from objxfer.files.digest import NODE, SIZE
from objxfer.files.partials import Partials, _header
from objxfer.files.paths import safe_path
from objxfer.files.root import Root
from objxfer.limits import KIB, MIB, Limits
from support.partials import OWNER, partials

_PATH: Final = safe_path(b"d/film", Limits())
_HEADER: Final = _header(OWNER, b"", bytes(_PATH))
_NODE: Final = bytes(range(SIZE))
_CANARY: Final = b"canary"


@cache
def _place() -> Path:
    """A receiving folder with something beside it."""
    place = Path(tempfile.mkdtemp(prefix="objxfer-fuzz-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    (place / "inbox" / "d" / "e").mkdir(parents=True)
    for folder in (place, place / "inbox", place / "inbox" / "d"):
        (folder / "canary").write_bytes(_CANARY)
        (folder / ".objxferred").write_bytes(_CANARY)
    return place


def _name() -> str:
    """What the journal is called."""
    hasher = blake3(derive_key_context="objxfer/1 partial")
    for part in (OWNER, b"", bytes(_PATH)):
        hasher.update(len(part).to_bytes(2, "big") + part)
    return hasher.hexdigest()[:32]


def _feed(data: bytes) -> None:
    choices = Choices(data)
    nodes, right, size = choices.number() % 4, choices.number(), choices.number(2)
    journal, note = choices.take(size), choices.rest()
    if right & 1:
        journal = _HEADER + journal
    if right & 2:
        journal = _sealed(journal)
    inbox = _place() / "inbox"
    own = inbox / ".objxfer"
    own.mkdir(exist_ok=True, mode=0o700)
    name = _name()
    contents = inbox / "d" / f".objxfer-{name}"
    with Root(inbox) as root:
        (own / name).write_bytes(journal)
        (own / "at-0123456789abcdef").write_bytes(note)
        with contents.open("wb") as file:
            file.truncate(nodes * NODE)
        _go_on(root, min(_records(journal), nodes))
        partials(root, keep=0).close()
    assert not (own / name).exists()
    _check_canaries()


def _go_on(root: Root, held: int) -> None:
    """Look at the journal as a delivery does, and go on with it."""
    mine: Partials = partials(root)
    beside = root.parent(_PATH, create=False)
    assert mine.look(_PATH, beside).nodes == held
    journal = mine.begin(_PATH, anew=False)
    assert journal is not None
    assert mine.look(_PATH, beside).nodes == held
    journal.record(held, _NODE)
    assert mine.look(_PATH, beside).nodes >= held
    journal.close()
    mine.close()


def _sealed(journal: bytes) -> bytes:
    """A journal whose checks are right, whatever it says."""
    if journal.startswith(_HEADER):
        nodes = journal[len(_HEADER) :]
        records = [nodes[at : at + SIZE] for at in range(0, len(nodes), SIZE)]
        checked = [one + zlib.crc32(one, at).to_bytes(4, "big") for at, one in enumerate(records)]
        return _HEADER + b"".join(checked)
    magic, sizes, texts = _HEADER[:16], journal[:6].ljust(6, b"\0"), journal[6:]
    head = magic + sizes + texts[: sum(struct.unpack(">HHH", sizes))]
    return head + zlib.crc32(head).to_bytes(4, "big")


def _records(journal: bytes) -> int:
    """How many nodes a journal lists, by its description alone."""
    if not journal.startswith(_HEADER):
        return 0
    records = journal[len(_HEADER) :]
    for index in range(len(records) // (SIZE + 4)):
        record = records[index * (SIZE + 4) :][: SIZE + 4]
        if zlib.crc32(record[:SIZE], index) != int.from_bytes(record[SIZE:], "big"):
            return index
    return len(records) // (SIZE + 4)


def _check_canaries() -> None:
    """Nothing vanished but what is objxfer's own."""
    place = _place()
    for folder in (place, place / "inbox", place / "inbox" / "d"):
        for name in ("canary", ".objxferred"):
            assert (folder / name).read_bytes() == _CANARY


def _seeds() -> Iterator[bytes]:
    note = b"d\0\0d/e\0../x\0/etc\0torn"
    for nodes in range(4):
        for right in range(4):
            journal = _NODE * 3 if right & 1 else struct.pack(">HHH", 4, 0, 6) + OWNER + b"d/film"
            yield bytes((nodes, right)) + len(journal).to_bytes(2, "big") + journal + note
    for folder, path in ((b"", b"../canary"), (b"d", b"/etc"), (b"d/e", b"x"), (b"", b"canary/x")):
        said = struct.pack(">HHH", 0, len(folder), len(path)) + folder + path
        yield b"\0\2" + len(said).to_bytes(2, "big") + said + b"canary/x\0"


# The journal is read in pieces of 144 KiB, and its header says up to 192 KiB.
HARNESS: Final = Harness(_feed, _seeds, at_most=1 * MIB + 512 * KIB, mutants=100)
