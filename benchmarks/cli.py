"""The ``objxfer`` command that is measured, and receivers of it that run meanwhile."""

from __future__ import annotations

import compileall
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import objxfer
from benchmarks.commands import answers, background, free_port
from benchmarks.run import Missing


@dataclass(frozen=True, slots=True)
class Receiver:
    """An ``objxfer serve`` or ``receive`` that runs, and how to send to it."""

    process: subprocess.Popen[bytes]
    url: str
    key: Path

    def send(self, what: str, *options: str, folder: str = "") -> list[str]:
        """Return the command that sends something into a folder of the receiver."""
        where = f"{self.url}/{folder}" if folder else self.url
        return [program(), "send", what, "--to", where, "--key", str(self.key), *options]


def program() -> str:
    """Return the command that belongs to this Python, or else the first one of the PATH."""
    beside = Path(sys.executable).with_name("objxfer")
    found = str(beside) if beside.exists() else shutil.which("objxfer")
    if found is None:
        raise Missing("the objxfer command is not installed")
    return found


def compile_all() -> None:
    """Compile the packages, as installing them does: a checkout may never have been run."""
    for package in ("objxfer", "objxfer_cli"):
        found = importlib.util.find_spec(package)
        for folder in (found and found.submodule_search_locations) or ():
            compileall.compile_dir(folder, quiet=2)


@contextmanager
def serving(scheme: str, into: Path, key: Path) -> Iterator[Receiver]:
    """Run ``objxfer serve`` during the ``with`` block."""
    with _receiving(["serve", str(into)], scheme, key) as receiver:
        yield receiver


@contextmanager
def receiving_stream(scheme: str, key: Path) -> Iterator[Receiver]:
    """Run ``objxfer receive --stdout``, which takes one delivery, during the ``with`` block."""
    with _receiving(["receive", "--stdout"], scheme, key) as receiver:
        yield receiver


def new_key(path: Path) -> Path:
    """Write a new key file."""
    objxfer.Key.generate().save(path)
    return path


@contextmanager
def _receiving(command: list[str], scheme: str, key: Path) -> Iterator[Receiver]:
    # A port of our choice, not port 0 and --json, which would cost a line of JSON a file.
    port = free_port()
    url = f"{scheme}://127.0.0.1:{port}"
    argv = [program(), *command, "--listen", url, "--key", str(key)]
    with background(argv, ready=lambda: answers(port)) as process:
        yield Receiver(process, url, key)
