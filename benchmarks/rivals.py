"""Whatever delivers files: objxfer, and what one would take instead."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import bare_tls, cli
from benchmarks.commands import answers, background, free_port
from benchmarks.run import Missing, Run
from benchmarks.sshd import HOST, ssh_server

TLS: Final = "objxfer, TLS"
PLAIN: Final = "objxfer, no TLS"
SCP: Final = "scp"
RSYNC: Final = "rsync over ssh"
CP: Final = "cp"
BARE_TLS: Final = "bare ssl sockets, thrown away"


@dataclass(frozen=True, slots=True)
class Rival:
    """A command that delivers a path into a folder below the landing folder."""

    name: str
    command: Callable[[Path, Path], list[str]]
    skips_unchanged: bool = False
    keeps: bool = True
    """Whether what it delivers can be found in the folder."""


@contextmanager
def file_rivals(run: Run, landing: Path) -> Iterator[list[Rival]]:
    """Start the receiving side of each that is installed; objxfer is the first two."""
    work = run.folder / "rivals"
    work.mkdir()
    key = cli.new_key(work / "key")
    with ExitStack() as stack:
        rivals = [
            _objxfer(name, stack.enter_context(cli.serving(scheme, landing, key)))
            for name, scheme in ((TLS, "tls"), (PLAIN, "tcp"))
        ]
        try:
            rivals += _over_ssh(run, stack.enter_context(ssh_server(work / "ssh")))
        except Missing as reason:
            run.leave_out(f"{SCP}, {RSYNC}: {reason}")
        rivals.append(Rival(CP, lambda source, into: ["cp", "-r", str(source), str(into)]))
        rivals.append(stack.enter_context(_bare_tls()))
        yield rivals


def _objxfer(name: str, inbox: cli.Receiver) -> Rival:
    return Rival(
        name,
        lambda source, into: inbox.send(str(source), folder=into.name),
        skips_unchanged=True,
    )


def _over_ssh(run: Run, config: Path) -> list[Rival]:
    def scp(source: Path, into: Path) -> list[str]:
        return ["scp", "-F", str(config), "-q", "-r", str(source), f"{HOST}:{into}/"]

    def rsync(source: Path, into: Path) -> list[str]:
        return ["rsync", "-a", "-e", f"ssh -F '{config}'", str(source), f"{HOST}:{into}/"]

    rivals = []
    if shutil.which("scp"):
        rivals.append(Rival(SCP, scp))
    else:
        run.leave_out(f"{SCP}: it is not installed")
    if shutil.which("rsync"):
        rivals.append(Rival(RSYNC, rsync, skips_unchanged=True))
    else:
        run.leave_out(f"{RSYNC}: rsync is not installed")
    return rivals


@contextmanager
def _bare_tls() -> Iterator[Rival]:
    port = free_port()
    script = [sys.executable, bare_tls.__file__]
    with background([*script, "sink", str(port)], ready=lambda: answers(port)):
        yield Rival(
            BARE_TLS,
            lambda source, into: [*script, "send", str(port), str(source)],
            keeps=False,
        )
