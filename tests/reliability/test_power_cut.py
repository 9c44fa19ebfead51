"""The power fails at any moment: what was receipted by then lies there, whole, after the journal.

What is left of a disk is a copy of the image below a file system that is in use. It holds what
the system has written to the disk, and nothing that is still on its way there.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Final

import pytest

from objxfer.errors import ExitCode
from objxfer.files.digest import file_digest, written
from objxfer.limits import MIB
from support.commands import PATIENCE
from support.connected import begin
from support.deliveries import contents, write
from support.mounts import Mounts, needs_mounts
from support.nursery import Child, Nursery

pytestmark = [
    needs_mounts,
    pytest.mark.skipif(os.geteuid() != 0, reason="loop devices are for root"),
    pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="there is no mkfs.ext4"),
]

SIZE: Final = 64 * MIB
WRITES, IN_FLIGHT = 4, 8
"""Fields of a block device's ``stat``."""
CASES: Final = [
    pytest.param("ordered", 1, 5, id="ordered, some"),
    *(
        pytest.param(
            mode,
            seed,
            125,
            id=f"{mode}, {seed}",
            marks=[pytest.mark.long, pytest.mark.timeout(900)],
        )
        for mode in ("ordered", "writeback")
        for seed in (2, 3)
    ),
]


class Disk:
    """An image with an ext4 on it, mounted."""

    def __init__(self, folder: Path, mounts: Mounts, mode: str) -> None:
        self.place = folder / "disk"
        self._image, self._copy, self._again = folder / "image", folder / "copy", folder / "again"
        self._mounts = mounts
        for each in (self.place, self._again):
            each.mkdir()
        with self._image.open("wb") as image:
            image.truncate(SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-F", self._image], check=True)
        mounts.run("mount", "-o", f"loop,data={mode}", str(self._image), str(self.place))
        listed = subprocess.run(
            ["losetup", "--associated", self._image, "--output", "NAME", "--noheadings"],
            check=True,
            capture_output=True,
            text=True,
        )
        self._stat = Path("/sys/block", Path(listed.stdout.strip()).name, "stat")

    @property
    def inside(self) -> Path:
        """Its top, as seen from here."""
        return self._mounts.seen(self.place)

    def cut(self) -> None:
        """Copy what a power cut would leave now; nobody may be writing."""
        deadline = time.monotonic() + PATIENCE
        while True:
            before = self._written()
            subprocess.run(
                ["cp", "--sparse=always", "--reflink=auto", self._image, self._copy], check=True
            )
            if before is not None and before == self._written():
                return
            assert time.monotonic() < deadline, "the disk does not come to rest"

    def left(self) -> dict[str, bytes]:
        """Return the files that a restart finds on the copy."""
        self._mounts.run("mount", "-o", "loop", str(self._copy), str(self._again))
        top = self._mounts.seen(self._again) / "inbox"
        found = {
            str(path.relative_to(top)): path.read_bytes()
            for path in top.rglob("*")
            if path.is_file() and ".objxfer" not in str(path.relative_to(top))
        }
        self._mounts.run("umount", str(self._again))
        return found

    def _written(self) -> str | None:
        """Return how often the disk was written to; None while it is."""
        fields = self._stat.read_text().split()
        return fields[WRITES] if fields[IN_FLIGHT] == "0" else None


class Sender:
    """Delivers one round after the other, some files new and some changed, until it is stopped."""

    def __init__(self, folder: Path, nursery: Nursery, url: str) -> None:
        self.versions: defaultdict[str, list[str]] = defaultdict(list)
        """Of each path the digests of all that was ever sent, oldest first."""
        self.receipted: dict[str, str] = {}
        """Of each path the digest in its last receipt."""
        self._source = folder / "source"
        self._nursery = nursery
        self._url = url
        self._over = threading.Event()
        self._sent = begin(self._run)

    def stop(self) -> None:
        """Let it come to its end."""
        self._over.set()
        self._sent.result(PATIENCE)

    def _run(self) -> None:
        turn = 0
        while not self._over.is_set():
            turn += 1
            tree = {f"t/new/{turn}/{each}": contents(turn, 900 * each) for each in range(4)}
            tree |= {f"t/changed/{each}": contents(-turn, 50_000 * each) for each in range(1, 3)}
            write(self._source, tree, 10**18 + turn)
            for path, what in tree.items():
                self.versions[path].append(written(file_digest(what)))
            self._send(self._source / "t")
            shutil.rmtree(self._source)

    def _send(self, top: Path) -> None:
        sending = self._nursery.start("send", str(top), "--to", self._url, "--json")
        for line in sending.out_lines():
            if line["type"] == "file" and line["durable"]:
                self.receipted[line["path"]] = line["digest"]
        assert sending.finish().code == ExitCode.OK


@pytest.mark.parametrize(("mode", "seed", "cuts"), CASES)
def test_power_fails(mode: str, seed: int, cuts: int, key_file: Path, tmp_path: Path) -> None:
    random = Random(seed)
    with Mounts() as mounts:
        disk = Disk(tmp_path, mounts, mode)
        (disk.inside / "inbox").mkdir()
        mounts.run("sync", "--file-system", str(disk.place))
        receipts = 0
        with Nursery(tmp_path, key_file, mounts.inside) as nursery:
            serving = nursery.listen("serve", str(disk.place / "inbox"), "--if-exists", "replace")
            sender = Sender(tmp_path, nursery, serving.url)
            for number in range(cuts):
                time.sleep(random.uniform(0, 0.15))  # any moment will do
                receipted = fail(serving, disk, sender)
                receipts += check(disk.left(), receipted, sender, f"seed {seed}, cut {number}")
            sender.stop()
    print(f"{mode}, seed {seed}: {cuts} cuts, {receipts} receipts held")
    assert receipts > cuts


def fail(serving: Child, disk: Disk, sender: Sender) -> dict[str, str]:
    """Cut the power once; return what had been receipted before."""
    serving.signal(signal.SIGSTOP)
    receipted = dict(sender.receipted)
    disk.cut()
    serving.signal(signal.SIGCONT)
    return receipted


def check(left: dict[str, bytes], receipted: dict[str, str], sender: Sender, when: str) -> int:
    """Check that every receipt holds, and that no file is half there; return how many held."""
    digests = {path: written(file_digest(what)) for path, what in left.items()}
    for path, digest in digests.items():
        assert digest in sender.versions[path], f"{when}: {path} was never sent like that"
    for path, digest in receipted.items():
        sent = sender.versions[path]
        assert path in left, f"{when}: {path} was receipted, and is not there"
        assert digests[path] in sent[sent.index(digest) :], f"{when}: {path} is older"
    return len(receipted)
