"""Deliveries that something happens to, and what a user would check of them afterwards."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from stat import S_IMODE
from typing import Final, NamedTuple

from objxfer.errors import ExitCode
from objxfer.files.digest import file_digest, written
from objxfer.limits import MIB
from support.commands import Finished
from support.nursery import Child, Nursery
from support.relay import cutting, relay

Tree = Mapping[str, bytes | str | None]
"""Files with their contents, links with their targets, folders with None."""

_OURS: Final = ".objxfer"
EARLY: Final = (
    ExitCode.CANNOT_CONNECT,
    ExitCode.CONNECTION_LOST,
    ExitCode.NOT_AUTHENTICATED,
    ExitCode.MISMATCH,
)
"""What a connection that is cut within the handshake may be taken for."""
_OLD, _NEW = 10**18, 10**18 + 10**9


class Seen(NamedTuple):
    """What a user sees of one path. Of links and folders the time is not looked at."""

    what: bytes | str | None
    mode: int = 0
    mtime_ns: int = 0

    @property
    def told(self) -> str:
        """It in short."""
        what = self.what
        if isinstance(what, bytes):
            what = f"{len(what)} bytes {written(file_digest(what))}"
        return f"{what}, {self.mode:o}, {self.mtime_ns}"


@dataclass(frozen=True)
class Scene:
    """A delivery: what is sent, what lies there before, and under which rule."""

    sent: Tree
    before: Tree = field(default_factory=dict)
    rule: str = "rename"
    moved: Mapping[str, str] = field(default_factory=dict)
    """Under which other names what is sent will lie."""
    cut: int = 0
    """Behind how many bytes a delivery was cut that came before."""

    def lay(self, folder: Path) -> Laid:
        """Lay out its source and its receiving folder."""
        source, inbox = folder / "source", folder / "inbox"
        write(source, self.sent, _NEW)
        write(inbox, self.before, _OLD)
        before = look(inbox)
        sent = {self.moved.get(path, path): seen for path, seen in look(source).items()}
        return Laid(self, source, inbox, before, before | sent)


class Laid(NamedTuple):
    """A scene on the disk."""

    scene: Scene
    source: Path
    inbox: Path
    before: dict[str, Seen]
    after: dict[str, Seen]

    @property
    def log(self) -> Path:
        """Where to write what happens to it."""
        return self.source.parent / "log"

    @property
    def tops(self) -> list[str]:
        """What is sent: the paths of a command line."""
        return [str(path) for path in sorted(self.source.iterdir())]

    def serve(self, nursery: Nursery, scheme: str = "tcp") -> Child:
        """Start a receiver that stays."""
        rule = self.scene.rule
        return nursery.listen("serve", str(self.inbox), "--if-exists", rule, scheme=scheme)

    def send(self, nursery: Nursery, url: str, *options: str, held: bool = False) -> Child:
        """Start a sender."""
        return nursery.start(
            "send", *self.tops, "--to", url, "--json", "--retry", "0", *options, held=held
        )

    def prepare(self, nursery: Nursery) -> None:
        """Have happened to it what is to come before."""
        if self.scene.cut:
            serving = self.serve(nursery)
            with relay(serving.url, cutting(self.scene.cut)) as url:
                assert self.send(nursery, url).finish().code == ExitCode.CONNECTION_LOST
            serving.finish(signal.SIGTERM)

    def change(self, name: str, at: int) -> Laid:
        """Change a byte of what is sent, and its time; what lies there by now is to be kept."""
        path = self.source / name
        was = path.read_bytes()
        path.write_bytes(was[:at] + bytes([was[at] ^ 1]) + was[at + 1 :])
        now = look(self.inbox)
        place = f"{name} (1)" if name in now else name
        after = self.after | now | {place: look(self.source)[name]}
        return self._replace(before=now, after=after)

    def check_whole(self) -> None:
        """Check that under final names lies what was there before or what was sent, whole."""
        now = look(self.inbox)
        for path, seen in now.items():
            versions = [each[path] for each in (self.before, self.after) if path in each]
            assert seen in versions, f"{path} is {seen.told}, not {[v.told for v in versions]}"
        missing = self.before.keys() - now.keys()
        assert not missing, f"{missing} lay there before"
        if self.scene.rule != "replace":
            replaced = [path for path, seen in self.before.items() if now[path] != seen]
            assert not replaced, f"{replaced} were to be kept"

    def check_receipts(self, sent: Finished) -> None:
        """Check that what the sender was told is durable lies there."""
        for line in sent.lines:
            if line["type"] == "file" and line["durable"]:
                path = self.inbox / str(line.get("stored_as", line["path"]))
                if line["digest"] is None:
                    assert os.path.lexists(path), line
                else:
                    assert written(file_digest(path.read_bytes())) == line["digest"], line

    def check_delivered(self, sent: Finished) -> None:
        """Check that all of it went well, and that both trees are equal."""
        assert sent.code == 0, sent
        now = look(self.inbox)
        assert now.keys() == self.after.keys()
        assert now == self.after

    def check_clean(self) -> None:
        """Check that of objxfer's own nothing is left but what may be gone on with.

        The receiver has ended. What tries out the file system, and lies there empty for a moment,
        has a test of its own.
        """
        kept = {f"{_OURS}-{path.name}" for path in self.inbox.glob(f"{_OURS}/*")}
        left = {path.name for path in self.inbox.rglob(f"{_OURS}-*")}
        assert left <= kept

    def deliver(self, nursery: Nursery) -> None:
        """Deliver it, with nobody in the way."""
        serving = self.serve(nursery)
        sent = self.send(nursery, serving.url).finish()
        serving.finish(signal.SIGTERM)
        self.check_receipts(sent)
        self.check_delivered(sent)
        self.check_clean()


@contextmanager
def laid(scene: Scene, folder: Path) -> Iterator[Laid]:
    """Lay a scene out for a ``with`` block."""
    yield scene.lay(folder)
    shutil.rmtree(folder)


def write(folder: Path, tree: Tree, mtime_ns: int) -> None:
    """Write a tree, all of one time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, what in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match what:
            case None:
                path.mkdir(exist_ok=True)
            case str():
                path.symlink_to(what)
            case bytes():
                path.write_bytes(what)
    for name in tree:
        os.utime(folder / name, ns=(mtime_ns, mtime_ns), follow_symlinks=False)


def look(folder: Path) -> dict[str, Seen]:
    """Return what lies in a folder, but for what is objxfer's own and may vanish meanwhile."""
    found = {}
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(_OURS)]
        for name in folders + [name for name in files if not name.startswith(_OURS)]:
            path = Path(place, name)
            if path.is_symlink():
                seen = Seen(os.readlink(path))
            elif path.is_dir():
                seen = Seen(None)
            else:
                with path.open("rb") as file:  # once: it may be replaced meanwhile
                    status = os.fstat(file.fileno())
                    seen = Seen(file.read(), S_IMODE(status.st_mode), status.st_mtime_ns)
            found[str(path.relative_to(folder))] = seen
    return found


def contents(seed: int, size: int) -> bytes:
    """Return bytes that follow from a seed."""
    return Random(seed).randbytes(size)


_LARGE: Final = contents(1, 2 * MIB + 5)
_SMALL: Final = contents(2, 3000)
SCENES: Final = {
    "new": Scene({"large": _LARGE, "small": _SMALL}),
    "replaced": Scene(
        {"large": _LARGE, "small": _SMALL},
        before={"large": contents(3, MIB), "small": b"older"},
        rule="replace",
    ),
    "renamed": Scene(
        {"large.bin": _LARGE, "small": _SMALL},
        before={"large.bin": contents(3, MIB), "small": b"older"},
        moved={"large.bin": "large (1).bin", "small": "small (1)"},
    ),
    "folders": Scene({"t/a": _SMALL, "t/b/c/d": _LARGE, "t/empty": None, "t/b/empty": None}),
    "links": Scene(
        {"t/file": _SMALL, "t/new": "file", "t/other": "file"},
        before={"t/other": "elsewhere"},
        rule="replace",
    ),
    "resumed": Scene({"huge": contents(4, 5 * MIB + 7), "small": _SMALL}, cut=3 * MIB),
    "packs": Scene({f"t/{number % 3}/{number}": _SMALL for number in range(12)}),
}
"""Small deliveries of every kind."""
