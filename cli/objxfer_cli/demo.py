"""``objxfer demo``: two processes on this machine, and everything once."""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

import objxfer
from objxfer.errors import ExitCode
from objxfer.transports.urls import Url
from objxfer_cli.delivery import speed, summed_up
from objxfer_cli.terminal import Terminal

_FILES: Final = 120
_BYTES: Final = 64_000_000
_FOLDERS: Final = 6
_BUFFERS: Final = 8
_BUFFER: Final = 1_000_000
_PATIENCE: Final = 20.0


class Receiver(NamedTuple):
    """The other process: see ``demo_receiver``."""

    tls: str
    tcp: str
    folder: Path
    heard: Callable[[], str]
    """Reads the next line it says."""


class NotAsItShouldBe(objxfer.ObjxferError):
    """What the demo found wrong."""


@click.command()
@click.pass_obj
def demo(terminal: Terminal) -> int:
    """Show everything once: two processes, TLS on the loopback, a temporary folder."""
    failed = False
    with tempfile.TemporaryDirectory(prefix="objxfer-demo-") as name:
        folder = Path(name)
        key = objxfer.Key.generate()
        key.save(folder / "key")
        with _receiver(folder) as receiver:
            terminal.result(
                f"objxfer {objxfer.__version__} demo: two processes, {receiver.tls}, a new key,"
                " a temporary folder"
            )
            shows = _Shows(receiver, key, folder)
            for title, show in (
                ("folder", shows.tree),
                ("object", shows.object),
                ("signed pickle", shows.signed_pickle),
                ("forged pickle", shows.forged_pickle),
                ("wrong key", shows.wrong_key),
            ):
                try:
                    outcome = show()
                except (objxfer.ObjxferError, OSError) as error:
                    failed = True
                    outcome = f"FAILED: {error}"
                terminal.result(f" {title:<14} {outcome}")
    if failed:
        return ExitCode.FAILED
    terminal.result("next: objxfer keygen · objxfer serve DIR · objxfer send PATH --to tls://HOST")
    return ExitCode.OK


@contextmanager
def _receiver(folder: Path) -> Iterator[Receiver]:
    """Start the other process; it ends with the ``with`` block."""
    inbox = folder / "inbox"
    inbox.mkdir()
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "objxfer_cli.demo_receiver", str(folder / "key"), str(inbox)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a Ctrl-C is for us, who end it
    )
    said = process.stdout
    assert said is not None

    def heard() -> str:
        return said.readline().strip()

    try:
        tls, tcp = heard(), heard()
        _check("the other process did not start", bool(tcp))
        yield Receiver(tls, tcp, inbox, heard)
    finally:
        process.kill()
        process.communicate()


class _Shows:
    """What is shown, one method each; it returns what to say, or raises what is wrong."""

    def __init__(self, receiver: Receiver, key: objxfer.Key, folder: Path) -> None:
        self._receiver = receiver
        self._key = key
        self._folder = folder

    def tree(self) -> str:
        """Deliver a folder and compare it with what lies there."""
        photos = self._folder / "photos"
        _make_photos(photos)
        durable = 0

        def on_entry(entry: objxfer.EntryReport) -> None:
            nonlocal durable
            durable += entry.durable

        report = objxfer.push(
            photos, to=self._receiver.tls, key=self._key, progress=objxfer.bar(), on_entry=on_entry
        )
        _check(f"the sender ended with {report.exit_code}", not report.exit_code)
        _check(f"{durable} of {_FILES} receipts are durable", durable == _FILES)
        there = _fingerprint(self._receiver.folder / "photos")
        _check("the trees differ", there == _fingerprint(photos))
        return (
            f"{summed_up(report)} ({speed(report).rstrip(', ')});"
            " every receipt durable, both trees equal"
        )

    def object(self) -> str:
        """Send an object and get it back."""
        blocks = [bytearray(os.urandom(_BUFFER)) for _ in range(_BUFFERS)]
        obj = {"step": 3, "name": "weights", "blocks": blocks}
        with objxfer.connect(self._receiver.tls, key=self._key) as connection:
            begun = time.monotonic()
            connection.send(obj)
            back = connection.recv(_PATIENCE)
            seconds = time.monotonic() - begun
        _check("what came back differs", back == obj)
        return (
            f"a dict with {_BUFFERS} MB of buffers, there and back in"
            f" {seconds * 1000:.0f} ms; equal"
        )

    def signed_pickle(self) -> str:
        """Send a pickle that makes a folder where it is loaded."""
        made = self._folder / "made-by-a-pickle"
        with objxfer.connect(self._receiver.tls, key=self._key) as connection:
            connection.send(_MakesFolder(made), serializer="pickle", wait=True)
            connection.recv(_PATIENCE)
        _check("it was not loaded", made.is_dir())
        return "accepted where the receiver asked for it"

    def forged_pickle(self) -> str:
        """Send the same through somebody who changes what the pickle does, but has no key."""
        meant, forged = self._folder / "meant-by-a-pickle", self._folder / "FORGE-by-a-pickle"
        with _forger(self._receiver.tcp, meant.name.encode(), forged.name.encode()) as (url, hits):
            try:
                with objxfer.connect(url, key=self._key, accepts=()) as connection:
                    connection.send(_MakesFolder(meant), serializer="pickle", wait=True)
            except objxfer.ObjxferError:
                pass
            else:
                raise NotAsItShouldBe("it was taken")
        _check("nothing was forged", bool(hits))
        reason = self._receiver.heard()
        _check(f"the receiver said {reason}", reason == objxfer.IntegrityError.__name__)
        _check("something ran", not (meant.exists() or forged.exists()))
        return "refused before it was parsed; nothing ran"

    def wrong_key(self) -> str:
        """Try to send with another key."""
        before = _fingerprint(self._receiver.folder)
        try:
            objxfer.push(
                self._folder / "photos" / "0",
                to=self._receiver.tls,
                key=objxfer.Key.generate(),
            )
        except objxfer.AuthenticationError:
            pass
        else:
            raise NotAsItShouldBe("it was let in")
        _check("something was written", _fingerprint(self._receiver.folder) == before)
        return "refused; nothing written"


class _MakesFolder:
    """Something whose pickle, as any pickle may, does what its maker chose."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self._path),)


@contextmanager
def _forger(url: str, old: bytes, new: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Stand between a sender and ``url``: pass all on, but for ``old``, which becomes ``new``.

    Gives the URL to send to, and a list that is empty until something was forged.
    """
    hits: list[bytes] = []
    target = Url.target(url)

    def stand_between() -> None:
        with (
            contextlib.suppress(OSError),
            listening.accept()[0] as sender,
            socket.create_connection((target.host, target.port)) as receiver,
            selectors.DefaultSelector() as ready,
        ):
            ready.register(sender, selectors.EVENT_READ, (sender, receiver))
            ready.register(receiver, selectors.EVENT_READ, (receiver, sender))
            while True:
                for key, _ in ready.select():
                    source, sink = key.data
                    data = source.recv(1 << 20)
                    if not data:
                        return
                    if old in data:
                        hits.append(data)
                    sink.sendall(data.replace(old, new))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=stand_between, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}", hits
        thread.join(_PATIENCE)


def _make_photos(photos: Path) -> None:
    """Write random files of many sizes, which add up."""
    cuts = sorted(random.sample(range(1, _BYTES // 1000), _FILES - 1))
    sizes = [
        (end - begin) * 1000 for begin, end in zip([0, *cuts], [*cuts, _BYTES // 1000], strict=True)
    ]
    for number, size in enumerate(sizes):
        folder = photos / str(number % _FOLDERS)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"IMG_{number:04}.CR3").write_bytes(os.urandom(size))


def _fingerprint(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return all of a tree that must be equal: names, modes, times and contents."""
    found = {}
    for path in folder.rglob("*"):
        status = path.stat()
        contents = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, contents)
    return found


def _check(wrong: str, fine: bool) -> None:
    if not fine:
        raise NotAsItShouldBe(wrong)
