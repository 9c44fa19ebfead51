"""What other tools lost data by, once each: here the good copy is kept, and the rest arrives."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from objxfer.errors import ExitCode
from objxfer.files.digest import file_digest, written
from support.commands import Commands
from support.connected import PATIENCE, begin, connected
from support.deliveries import contents
from support.inbox import landed
from support.mounts import Mounts, needs_mounts
from support.relay import relay

SCANDIR: Final = os.scandir
LONG_AGO: Final = 10**18
GOOD: Final = b"the good copy " * 10_000


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with ExitStack() as exit_stack:
        yield Commands(tmp_path, exit_stack)


def identity(path: Path) -> tuple[int, int]:
    """What is the same only of a file that nobody has touched."""
    status = path.stat()
    return status.st_ino, status.st_ctime_ns


class Listing:
    """The listing of a folder on a disk that fails behind some names."""

    def __init__(self, location: bytes, names: int) -> None:
        self._listing = SCANDIR(location)
        self._left = names

    def __iter__(self) -> Listing:
        return self

    def __next__(self) -> os.DirEntry[bytes]:
        if not self._left:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._left -= 1
        return next(self._listing)

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *_: object) -> None:
        self._listing.close()


@pytest.mark.parametrize("listed", [0, 1, 5])
def test_a_listing_that_fails_is_no_empty_folder(
    listed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, inbox = tmp_path / "t", tmp_path / "inbox"
    for name in ("ahead/x", *(f"bad/{number}" for number in range(10)), "behind/x"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(GOOD)
    for folder in ("ahead", "bad", "behind"):
        os.utime(source / folder, ns=(LONG_AGO, LONG_AGO))
    inbox.mkdir()

    def failing(location: bytes) -> Iterator[os.DirEntry[bytes]] | Listing:
        return Listing(location, listed) if location.endswith(b"/bad") else SCANDIR(location)

    with connected(there={"into": inbox}) as (client, server), monkeypatch.context() as patch:
        patch.setattr(os, "scandir", failing)
        receiving = begin(server.recv, PATIENCE)
        report = client.push(source)
        receiving.result(PATIENCE)
    assert report.exit_code is ExitCode.INCOMPLETE
    (problem,) = report.problems
    assert (problem.path, problem.reason) == (b"t/bad", "input/output error")
    assert not problem.durable
    arrived = [path for path in (inbox / "t").rglob("*") if path.is_file()]
    assert len(arrived) == 2 + listed
    # Of the others it is said that they are there, by their time, which comes last.
    assert (inbox / "t/ahead").stat().st_mtime_ns == LONG_AGO
    assert (inbox / "t/behind").stat().st_mtime_ns == LONG_AGO
    assert not (inbox / "t/bad").exists() or (inbox / "t/bad").stat().st_mtime_ns != LONG_AGO


def test_a_check_that_fails_deletes_nothing(commands: Commands) -> None:
    good = commands.file("inbox/report", GOOD)
    before = identity(good)
    commands.file("report", b"x" * 200_000)
    receiving = commands.receive("--if-exists", "replace")
    with relay(receiving.url, lambda data: data.replace(b"x" * 64, b"y" * 64)) as url:
        assert commands.run("send", "report", "--to", url, "--retry", "0").code != ExitCode.OK
        assert receiving.finish().code == ExitCode.INTEGRITY
    assert good.read_bytes() == GOOD
    assert identity(good) == before
    receiving = commands.receive("--if-exists", "replace")
    assert commands.run("send", "report", "--to", receiving.url).code == ExitCode.OK
    assert good.read_bytes() == b"x" * 200_000


@needs_mounts
def test_a_full_disk_puts_no_short_file_in_place_of_a_good_one(commands: Commands) -> None:
    commands.inbox.joinpath("report").write_bytes(GOOD)
    with Mounts() as mounts:
        mounts.mount(commands.inbox, "size=2m")
        inbox = mounts.seen(commands.inbox)
        good = inbox / "report"
        good.write_bytes(GOOD)
        before = identity(good)
        into = ("--into", str(commands.inbox), "--if-exists", "replace")
        receiving = commands.listen("receive", *into, inside=mounts.inside)
        sending = ("send", "-", "--name", "report", "--to")
        sent = commands.run(*sending, receiving.url, stdin=bytes(4_000_000))
        received = receiving.finish()
        assert (sent.code, received.code) == (ExitCode.PEER_NO_SPACE, ExitCode.NO_SPACE)
        assert identity(good) == before
        assert good.read_bytes() == GOOD
        assert landed(inbox) == ["report"]
        mounts.change(commands.inbox, "size=8m")
        receiving = commands.listen("receive", *into, inside=mounts.inside)
        assert commands.run(*sending, receiving.url, stdin=bytes(4_000_000)).code == ExitCode.OK
        assert good.read_bytes() == bytes(4_000_000)


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="there is no prlimit")
def test_a_limit_on_files_stops_the_large_one_alone(commands: Commands) -> None:
    good = commands.file("inbox/t/large", GOOD)
    for name in ("a", "z"):
        commands.file(f"t/{name}")
    commands.file("t/large", bytes(4_000_000))
    receiving = commands.listen(
        *("receive", "--into", str(commands.inbox), "--if-exists", "replace"),
        inside=["prlimit", "--fsize=1000000"],
    )
    sent = commands.run("send", "t", "--to", receiving.url)
    assert (sent.code, receiving.finish().code) == (ExitCode.FAILED, ExitCode.FAILED)
    assert sent.err == "objxfer: error: 1 file failed: t/large: file too large\n"
    assert good.read_bytes() == GOOD
    assert sorted(os.listdir(good.parent)) == ["a", "large", "z"]
    receiving = commands.receive("--if-exists", "replace")
    sent = commands.run("send", "t", "--to", receiving.url)
    assert sent.code == ExitCode.OK
    assert good.read_bytes() == bytes(4_000_000)


def test_a_log_that_grows_does_not_end_the_run(commands: Commands) -> None:
    log = commands.file("t/log", contents(1, 30_000_000))
    for name in ("a", "z"):
        commands.file(f"t/{name}")
    ended = threading.Event()

    def grow() -> None:
        with open(log, "ab", buffering=0) as file:
            while not ended.wait(0.0005):
                file.write(b"one line more\n")

    growing = threading.Thread(target=grow)
    growing.start()
    try:
        receiving = commands.receive()
        sent = commands.run("send", "t", "--to", receiving.url, "--json")
        received = receiving.finish()
    finally:
        ended.set()
        growing.join()
    assert (sent.code, received.code) == (ExitCode.CHANGED, ExitCode.OK)
    assert sent.err == "objxfer: warning: 1 file changed while it was read: t/log\n"
    lines = {line["path"]: line for line in sent.lines if line["type"] == "file"}
    arrived = (commands.inbox / "t/log").read_bytes()
    assert len(arrived) == lines["t/log"]["size"] >= 30_000_000
    assert log.read_bytes().startswith(arrived)
    assert lines["t/log"]["digest"] == written(file_digest(arrived))
    assert {path for path, line in lines.items() if line["durable"]} == {"t/a", "t/log", "t/z"}
    assert (commands.inbox / "t/z").read_bytes() == b"contents"
