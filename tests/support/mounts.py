"""File systems of a test's own: mounted where nobody else sees them, and gone with it."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final, Self

import pytest

_HOLD: Final = ("sh", "-c", "echo there; exec cat")


def _new() -> list[str]:
    """The command that gives another one mounts of its own; it takes no root."""
    return ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() else [])]


class Mounts:
    """A view of the file systems in which more can be mounted. Leaving its block ends it.

    Attributes:
        inside: what goes before a command that is to see it.
        root: where all of it can be seen from outside.
    """

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            [*_new(), *_HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"there\n"
        users = ["--user", "--preserve-credentials"] if os.geteuid() else []
        self.inside = ["nsenter", f"--target={self._holder.pid}", "--mount", *users, "--"]
        self.root = Path(f"/proc/{self._holder.pid}/root")

    def seen(self, path: Path) -> Path:
        """Return where a path that was mounted upon can be looked at."""
        return self.root / path.relative_to("/")

    def mount(self, place: Path, options: str) -> None:
        """Put a new, empty file system there."""
        self.run("mount", "-t", "tmpfs", "-o", options, "none", str(place))

    def change(self, place: Path, options: str) -> None:
        """Give the file system that is there other options."""
        # Of those it has, some name users by numbers that mean others inside.
        self.run("mount", "--options-mode=ignore", "-o", f"remount,{options}", str(place))

    def run(self, *command: str) -> None:
        """Run a command that sees it."""
        subprocess.run([*self.inside, *command], check=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.communicate()


@cache
def _why_not() -> str:
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "there is no unshare or nsenter"
    tried = subprocess.run(
        [*_new(), "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    return "" if tried.returncode == 0 else "nothing can be mounted here"


needs_mounts = pytest.mark.skipif(bool(_why_not()), reason=_why_not())
