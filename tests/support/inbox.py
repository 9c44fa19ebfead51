"""What the tests of the disk share: the corpus of names, files that arrive, trees compared."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from objxfer.files.entries import Entry, IfExists, Kind, Receipt
from objxfer.files.sink import Arrived, Sink
from objxfer.limits import Limits


def landed(inbox: Path) -> list[str]:
    """What lies in a folder under its final name, in order: not what may go on another time."""
    return sorted(name for name in os.listdir(inbox) if not name.startswith(".objxfer"))


def ours_in(inbox: Path) -> list[str]:
    """What is objxfer's own anywhere in a folder, also where no path is short enough to name it."""
    found = (name for _, dirs, files, _ in os.fwalk(inbox) for name in (*dirs, *files))
    return [name for name in found if name.startswith(".objxfer")]


NAMES = Path(__file__).parent.parent / "files" / "names.jsonl"


@dataclass(frozen=True)
class Row:
    """A name of the corpus, and what becomes of it."""

    name: bytes
    kind: str
    ok: bool
    why: str


def corpus() -> list[Row]:
    rows = []
    for line in NAMES.read_text("utf-8").splitlines():
        row = json.loads(line)
        name = bytes.fromhex(row["name_hex"]) if "name_hex" in row else row["name"].encode()
        rows.append(Row(name, row["kind"], row["verdict"] == "ok", row["why"]))
    return rows


def fingerprint(folder: Path) -> str:
    """All that can be seen of a tree without reading access times."""
    seen = hashlib.sha256()
    for place, folders, files in os.walk(os.fsencode(folder)):
        folders.sort()
        for name in sorted(folders + files):
            path = place + b"/" + name
            status = os.lstat(path)
            seen.update(
                b"%s %o %d %d\n" % (path, status.st_mode, status.st_size, status.st_mtime_ns)
            )
            if name in files and not os.path.islink(path):
                with open(path, "rb") as file:
                    seen.update(file.read())
    return seen.hexdigest()


class MakeSink(Protocol):
    def __call__(
        self,
        if_exists: IfExists = IfExists.RENAME,
        *,
        asked: IfExists | None = None,
        tops: tuple[bytes, ...] = (b"top",),
        limits: Limits = ...,
    ) -> Sink: ...


def file(
    path: bytes, contents: bytes = b"new", mtime_ns: int = 10**18, mode: int = 0o644
) -> Arrived:
    return Arrived(Entry(path, Kind.FILE, len(contents), mtime_ns, mode), contents)


def packed(sink: Sink, files: Sequence[Arrived]) -> list[Receipt]:
    """Let small files arrive, and return what became of each."""
    sink.pack(files)
    return [receipt for _, receipt in sink.publish()]


def descriptors() -> int:
    """How many descriptors this process holds."""
    return len(os.listdir("/dev/fd"))
