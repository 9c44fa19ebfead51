"""A second process swaps a folder and a link that leads out, as fast as it can."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from objxfer.errors import FileFailed, UnsafePath
from objxfer.files.digest import NODE, node_digest
from objxfer.files.entries import Action, Entry, IfExists, Kind, Receipt
from objxfer.files.partials import RESUMABLE
from objxfer.files.paths import safe_path
from objxfer.files.root import Root
from objxfer.files.sink import Sink
from objxfer.limits import Limits
from support import inbox
from support.inbox import file
from support.partials import partials

TRIES = 400
"""How often each operation is tried at least, in the short form."""
SECONDS = 60
"""How long each operation is tried in the long form."""

FLIP = """
import ctypes, os, select, shutil, sys
os.chdir(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE

def swap(one, other):
    if libc.renameat2(here, one, here, other, exchange):
        raise OSError(ctypes.get_errno(), "they cannot be exchanged")

flips, made = 0, "nothing"
while not select.select([0], [], [], 0)[0]:
    swap(b"flip", b"way")  # a link is there, and never nothing
    if not flips:
        print("flipping", flush=True)
    swap(b"flip", b"way")
    flips += 2
    if flips % 8 == 0:
        os.rename("flip", "aside")  # nothing is there
        try:
            os.rename("way", "flip")
            os.rename("flip", "way")
            os.rename("aside", "flip")
        except OSError:  # a folder was made there meanwhile
            swap(b"flip", b"aside")
            os.rename("aside", f"made-{flips}")
            shutil.rmtree(made, ignore_errors=True)
            made = f"made-{flips}"
print(flips)
"""

MADE: Final[list[Sink]] = []
"""By the operation that is tried, and not closed yet."""
NODE_OF_ZEROS: Final = bytes(NODE)

Operation = Callable[[Root, int], list[Receipt]]
"""One try at something below ``top/flip``, the number of which is given."""


def sink(root: Root, if_exists: IfExists = IfExists.REPLACE) -> Sink:
    limits, kept = Limits(), partials(root)
    made = Sink(root, kept, tops=[b"top"], if_exists=if_exists, asked=None, limits=limits)
    MADE.append(made)
    return made


def one_file(taking: Sink, path: bytes, number: int) -> list[Receipt]:
    contents = b"%d" % number
    entry = Entry(path, Kind.FILE, len(contents), number, 0o644)
    part = taking.open(entry)
    part.put(0, contents, node_digest(contents))
    part.finish(len(contents), number, 0o644)
    receipts = [receipt for _, receipt in taking.publish()]
    return receipts or [part.failure] if part.failure else receipts


def new(root: Root, number: int) -> list[Receipt]:
    return one_file(sink(root), b"top/flip/new-%d" % number, number)


def below(root: Root, number: int) -> list[Receipt]:
    return one_file(sink(root), b"top/flip/a-%d/b/file" % number, number)


def replaced(root: Root, number: int) -> list[Receipt]:
    return one_file(sink(root), b"top/flip/file", number)


def renamed(root: Root, number: int) -> list[Receipt]:
    return one_file(sink(root, IfExists.RENAME), b"top/flip/file", number)


def packed(root: Root, number: int) -> list[Receipt]:
    names = [b"file", b"new-%d" % number, b"deep/file", b"deep/new-%d" % number]
    return inbox.packed(sink(root), [file(b"top/flip/" + name, mtime_ns=number) for name in names])


def linked(root: Root, number: int) -> list[Receipt]:
    names = (b"link", b"new-%d" % number)
    return sink(root).links(
        [Entry(b"top/flip/" + name, Kind.LINK, target=b"../%d" % number) for name in names]
    )


def dressed(root: Root, number: int) -> list[Receipt]:
    mode = 0o700 | number % 8
    names = (b"deep", b"new-%d" % number)
    entries = [Entry(b"top/flip/" + name, Kind.FOLDER, 0, number, mode) for name in names]
    return sink(root).folders([*entries, Entry(b"top/flip", Kind.FOLDER, 0, number, mode)])


def given_up(root: Root, number: int) -> list[Receipt]:
    taking = sink(root)
    part = taking.open(Entry(b"top/flip/file", Kind.FILE, 8, number, 0o644))
    part.put(0, b"half", node_digest(b"half"))
    taking.close()
    return [part.failure or Receipt(Action.RECEIVED)]


def left(root: Root, number: int) -> list[Receipt]:
    """Begin a file that may go on later, go on with it, and leave it again."""
    taking = sink(root)
    entry = Entry(b"top/flip/large-%d" % (number % 3), Kind.FILE, RESUMABLE, number, 0o644)
    (verdict,) = taking.judge([entry])
    part = taking.open(entry, verdict.held)
    part.compare(0, [node_digest(NODE_OF_ZEROS)] * verdict.held)
    part.put(verdict.held % 3, NODE_OF_ZEROS, node_digest(NODE_OF_ZEROS))
    taking.close()
    return [part.failure or Receipt(Action.RECEIVED)]


def begun(root: Root, number: int) -> list[Receipt]:
    try:
        root.below(safe_path(b"top/flip/begun-%d/deep" % number, Limits())).close()
    except (UnsafePath, FileFailed) as error:
        return [Receipt(Action.FAILED, reason=str(error))]
    return [Receipt(Action.RECEIVED)]


OPERATIONS: list[Operation] = [
    new,
    below,
    replaced,
    renamed,
    packed,
    linked,
    dressed,
    given_up,
    left,
    begun,
]


@pytest.fixture
def place(inbox: Path, outside: Path) -> Iterator[Path]:
    """What is swapped with a link to ``outside``, of which nothing may so much as be touched."""
    folder = inbox / "top" / "flip"
    (folder / "deep").mkdir(parents=True)
    (folder / "file").write_bytes(b"there")
    (inbox / "top" / "way").symlink_to(outside)
    before = touched(outside)
    yield folder
    assert touched(outside) == before


def touched(folder: Path) -> dict[str, tuple[int, int]]:
    """When anything in a tree was last changed in any way: nobody can set this time back."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        found[str(path)] = status.st_ino, status.st_ctime_ns
    return found


def clear(folder: int) -> None:
    """Remove what was made in an open folder, so that it does not grow for a minute."""
    for name in os.listdir(folder):
        if name not in ("file", "deep"):
            remove(name, folder)


def remove(name: str, folder: int) -> None:
    if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
        os.fchmod(fd, 0o700)
        for below in os.listdir(fd):
            remove(below, fd)
        os.close(fd)
        os.rmdir(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def race(operation: Operation, place: Path, enough: Callable[[int], bool]) -> str:
    """Try an operation again and again while folder and link are swapped; return the figures."""
    flip = [sys.executable, "-c", FLIP, str(place.parent)]
    there = os.open(place, os.O_RDONLY)
    inbox = place.parent.parent
    done = failed = tries = 0
    with subprocess.Popen(flip, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flipper:
        assert flipper.stdout is not None
        if flipper.stdout.readline() != b"flipping\n":
            pytest.skip("names cannot be exchanged here")
        while not (enough(tries) and done and failed):
            tries += 1
            with Root(inbox) as root:
                receipts = operation(root, tries)
                while MADE:
                    MADE.pop().close()
            failures = sum(receipt.action is Action.FAILED for receipt in receipts)
            failed += failures
            done += len(receipts) - failures
            if tries % 100 == 0:
                clear(there)
        flips = int(flipper.communicate()[0])
        assert flipper.returncode == 0
    os.close(there)
    with Root(inbox) as root:
        partials(root, keep=0).close()  # what may go on another time is dropped
    for path in inbox.rglob(".objxfer-*"):
        path.unlink()  # but for what lies in a folder that was moved away
    return f"{operation.__name__}: {tries:,} tries, {flips:,} flips, {done:,} done, {failed:,} not"


@pytest.mark.skipif(sys.platform != "linux", reason="names are exchanged as Linux does it")
@pytest.mark.parametrize("operation", OPERATIONS)
class TestNothingLeadsOut:
    def test_of_some_tries(
        self, operation: Operation, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", os.fstat)  # flushing would only make the tries fewer
        race(operation, place, lambda tries: tries >= TRIES)

    @pytest.mark.long
    @pytest.mark.timeout(SECONDS + 60)
    def test_in_a_minute(
        self, operation: Operation, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", os.fstat)
        end = time.monotonic() + SECONDS
        print(race(operation, place, lambda _: time.monotonic() >= end))
