"""Places where not all can be written: the old is kept, the rest comes; mended, all of it does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from objxfer.errors import ExitCode
from support.commands import Commands, Finished
from support.deliveries import Laid, Scene, contents, look
from support.mounts import Mounts, needs_mounts
from support.nursery import Nursery
from support.tracing import DISK, Tracer, needs_strace

OLD: Final = b"the good old one"
SMALL: Final = contents(1, 3000)
LARGE: Final = contents(2, 9 << 20)
"""For so much space is reserved."""
REPLACED: Final = Scene(
    {"t/a": SMALL, "t/b/large": LARGE, "t/z": SMALL},
    before={"t/a": OLD, "t/b/large": OLD, "t/z": OLD},
    rule="replace",
)
NEW: Final = Scene({"t/a": SMALL, "t/b/large": LARGE, "t/link": "a", "t/z": SMALL})


def check(scene: Laid, sent: Finished, received: Finished, code: ExitCode, *lost: str) -> None:
    """Check that some paths, and no others, are as they were before, and that this was told."""
    scene.check_whole()
    scene.check_receipts(sent)
    now = look(scene.inbox)
    for path, seen in scene.after.items():
        assert now.get(path) == (scene.before.get(path) if path in lost else seen), path
    failed = {str(line["path"]) for line in sent.lines if line.get("action") == "failed"}
    assert failed == set(lost), sent
    here = ExitCode.NO_SPACE if code is ExitCode.PEER_NO_SPACE else code
    assert (sent.code, received.code) == (code, here), (sent, received)


# --- real file systems ---


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with ExitStack() as exit_stack:
        yield Commands(tmp_path, exit_stack)


class Place:
    """A scene, the receiving folder of which is a file system that only the receiver sees."""

    def __init__(self, commands: Commands, mounts: Mounts, scene: Scene) -> None:
        laid = scene.lay(commands.folder / "scene")
        self.folder = laid.inbox
        self.scene = laid._replace(inbox=mounts.seen(laid.inbox))
        self._commands = commands
        self._mounts = mounts

    def mount(self, options: str) -> None:
        """Put a file system there, with what lay there before."""
        self._mounts.mount(self.folder, options)
        shutil.copytree(self.folder, self.scene.inbox, dirs_exist_ok=True)

    def deliver(self) -> tuple[Finished, Finished]:
        """Deliver; return what the sender and the receiver said of it."""
        rule = self.scene.scene.rule
        receiving = self._commands.listen(
            *("receive", "--into", str(self.folder), "--if-exists", rule),
            inside=self._mounts.inside,
        )
        sent = self._commands.run("send", *self.scene.tops, "--to", receiving.url, "--json")
        return sent, receiving.finish()

    def check_mended(self) -> None:
        """Deliver once more, now that all is well."""
        sent, received = self.deliver()
        self.scene.check_receipts(sent)
        self.scene.check_delivered(sent)
        assert received.code == ExitCode.OK


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    with Mounts() as mounts:
        yield mounts


@pytest.fixture
def place(commands: Commands, mounts: Mounts) -> Place:
    return Place(commands, mounts, REPLACED)


@needs_mounts
def test_a_disk_that_one_file_does_not_fit_on(place: Place, mounts: Mounts) -> None:
    place.mount("size=8m")
    check(place.scene, *place.deliver(), ExitCode.PEER_NO_SPACE, "t/b/large")
    mounts.change(place.folder, "size=64m")
    place.check_mended()


@needs_mounts
@pytest.mark.parametrize("size", [4 << 20, len(LARGE)])
def test_a_smaller_disk_in_the_middle_of_it(commands: Commands, mounts: Mounts, size: int) -> None:
    sent = {**REPLACED.sent, "t/b/large": LARGE[:size]}
    place = Place(commands, mounts, Scene(sent, before=REPLACED.before, rule="replace"))
    below = place.folder / "t/b"
    mounts.mount(below, "size=1m")  # there is room where it was asked for, and not here
    shutil.copytree(below, mounts.seen(below), dirs_exist_ok=True)
    check(place.scene, *place.deliver(), ExitCode.PEER_NO_SPACE, "t/b/large")
    mounts.change(below, "size=64m")
    place.check_mended()


@needs_mounts
def test_a_disk_that_takes_no_more_files(commands: Commands, mounts: Mounts) -> None:
    place = Place(commands, mounts, Scene(REPLACED.sent, before={"t/a": OLD}, rule="replace"))
    place.mount("size=64m,nr_inodes=7")  # what we note, and a file more, but no name more for it
    sent, received = place.deliver()
    # Of t/a there are two until the group that it is in has its names, which is then or later.
    lost = {line["path"] for line in sent.lines if line.get("action") == "failed"}
    assert {"t/b/large"} <= lost <= {"t/b/large", "t/z"}
    check(place.scene, sent, received, ExitCode.PEER_NO_SPACE, *lost)
    mounts.change(place.folder, "nr_inodes=100")
    place.check_mended()


@needs_mounts
def test_a_disk_that_is_read_only(place: Place, mounts: Mounts) -> None:
    place.mount("size=64m")
    mounts.change(place.folder, "ro")
    check(place.scene, *place.deliver(), ExitCode.FAILED, "t/a", "t/b/large", "t/z", "t", "t/b")
    mounts.change(place.folder, "rw")
    place.check_mended()


@needs_mounts
def test_a_folder_on_a_disk_that_is_read_only(place: Place, mounts: Mounts) -> None:
    place.mount("size=64m")
    below = place.folder / "t/b"
    mounts.run("mount", "--bind", str(below), str(below))
    mounts.change(below, "bind,ro")
    check(place.scene, *place.deliver(), ExitCode.FAILED, "t/b/large", "t/b")
    mounts.run("umount", str(below))
    place.check_mended()


def test_an_inbox_that_is_not_there_for_a_while(commands: Commands) -> None:
    scene = REPLACED.lay(commands.folder / "scene")
    serving = commands.listen("serve", str(scene.inbox), "--if-exists", "replace")
    scene.inbox.rename(scene.inbox.with_name("aside"))
    sent = commands.run("send", *scene.tops, "--to", serving.url, "--json")
    assert sent.code == ExitCode.FAILED
    assert "no such file or directory" in sent.err
    assert not scene.inbox.exists()
    scene.inbox.with_name("aside").rename(scene.inbox)
    scene.check_delivered(commands.run("send", *scene.tops, "--to", serving.url, "--json"))


@pytest.mark.parametrize("removed", [False, True])
def test_an_inbox_that_disappears_under_a_delivery(commands: Commands, removed: bool) -> None:
    serving = commands.listen_json("serve", str(commands.inbox))
    sending = commands.start("send", "-", "--name", "x", "--to", serving.url, "--json")
    sending.write(LARGE)
    while not json.loads(serving.out_line()).get("bytes_done"):
        pass
    aside = commands.inbox.rename(commands.inbox.with_name("aside"))
    if removed:
        shutil.rmtree(aside)
    sent = sending.finish()
    if removed:
        assert sent.code == ExitCode.FAILED
    else:  # it is the same folder, whatever it is called by now
        assert sent.code == ExitCode.OK
        assert (aside / "x").read_bytes() == LARGE
    assert not commands.inbox.exists()
    commands.inbox.mkdir()
    again = commands.run("send", "-", "--name", "x", "--to", serving.url, stdin=SMALL)
    assert again.code == ExitCode.OK
    assert (commands.inbox / "x").read_bytes() == SMALL


# --- calls that fail as they do elsewhere ---


def deliver(
    scene: Laid, nursery: Nursery, log: Path, inject: str | None = None
) -> tuple[Finished, Finished]:
    """Deliver to a receiver, some calls of which fail; return what both sides said of it."""
    rule = scene.scene.rule
    receiving = nursery.listen("receive", "--into", str(scene.inbox), "--if-exists", rule)
    with Tracer(receiving, log, DISK, inject):
        sent = scene.send(nursery, receiving.url).finish()
        return sent, receiving.finish()


@needs_strace
@pytest.mark.parametrize(
    ("inject", "code", "lost"),
    [
        pytest.param("fallocate:error=EDQUOT", 21, ["t/b/large"], id="quota"),
        pytest.param("linkat:error=ENAMETOOLONG:when=1", 1, ["t/a"], id="long-name"),
        pytest.param("linkat:error=EINVAL:when=1", 1, ["t/a"], id="no-name-there"),
        pytest.param("symlinkat:error=EPERM", 1, ["t/link"], id="no-symbolic-links"),
        pytest.param("linkat:error=EPERM", 0, [], id="no-hard-links"),
        pytest.param("linkat:error=EOPNOTSUPP", 0, [], id="no-hard-links-on-a-network"),
        pytest.param("linkat:error=EMLINK", 0, [], id="one-name-a-file"),
        pytest.param("fallocate:error=EOPNOTSUPP", 0, [], id="no-reserving"),
    ],
)
def test_what_a_place_cannot_do(
    inject: str, code: int, lost: list[str], nursery: Nursery, tmp_path: Path
) -> None:
    scene = NEW.lay(tmp_path / "scene")
    sent, received = deliver(scene, nursery, tmp_path / "log", inject)
    check(scene, sent, received, ExitCode(code), *lost)
    sent, received = deliver(scene, nursery, tmp_path / "log")
    scene.check_delivered(sent)
    assert received.code == ExitCode.OK


@needs_strace
def test_a_place_without_permission_bits(nursery: Nursery, tmp_path: Path) -> None:
    scene = NEW.lay(tmp_path / "scene")
    sent, received = deliver(scene, nursery, tmp_path / "log", "fchmod:error=EPERM")
    assert (sent.code, received.code) == (ExitCode.OK, ExitCode.OK)
    found = {path: seen.what for path, seen in look(scene.inbox).items()}
    assert found == {path: seen.what for path, seen in scene.after.items()}


@needs_strace
def test_a_disk_on_which_nothing_lasts(nursery: Nursery, tmp_path: Path) -> None:
    scene = REPLACED.lay(tmp_path / "scene")
    sent, received = deliver(scene, nursery, tmp_path / "log", "fsync:error=EIO")
    check(scene, sent, received, ExitCode.FAILED, *REPLACED.before, "t", "t/b")
    sent, _ = deliver(scene, nursery, tmp_path / "log")
    scene.check_delivered(sent)


@needs_strace
def test_a_disk_that_does_not_know_how_to_flush(nursery: Nursery, tmp_path: Path) -> None:
    scene = REPLACED.lay(tmp_path / "scene")
    sent, _ = deliver(scene, nursery, tmp_path / "log", "fsync:error=EINVAL")
    assert sent.code == ExitCode.RECEIPT_MISSING
    assert "the receiver could not flush it" in sent.err
    assert not any(line.get("durable") for line in sent.lines)
    assert look(scene.inbox) == scene.after  # all of it came
    sent, received = deliver(scene, nursery, tmp_path / "log")
    scene.check_delivered(sent)
    assert received.code == ExitCode.OK


@needs_strace
def test_a_receiver_that_cannot_flush_says_so_too(nursery: Nursery, tmp_path: Path) -> None:
    scene = REPLACED.lay(tmp_path / "scene")
    _, received = deliver(scene, nursery, tmp_path / "log", "fsync:error=EINVAL")
    assert received.code == ExitCode.RECEIPT_MISSING
