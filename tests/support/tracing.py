"""System calls of a running process: listed, failed, delayed, or the last it makes, by strace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, Self

import pytest

from support.commands import PATIENCE
from support.nursery import Child

DISK: Final = (
    *("openat", "write", "pwrite64", "ftruncate", "fallocate", "fchmod", "utimensat"),
    *("fsync", "fdatasync", "link", "linkat", "symlinkat", "rename", "renameat", "renameat2"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "flock"),
)
"""The calls that change what lies on a disk: between two of them nothing does."""
TALK: Final = ("sendto", "sendmsg")
"""The calls that change what the peer knows."""
READ: Final = ("openat", "read", "pread64", "preadv", "getdents64", "newfstatat", "statx")
"""The calls by which a sender reads."""
_SECOND: Final = 1_000_000


class Call(NamedTuple):
    """A system call of a process: in one of its threads, the so many-th of its kind."""

    kind: str
    turn: int

    def failing(self, error: str) -> str:
        """Let it fail, and do nothing."""
        return f"{self.kind}:error={error}:when={self.turn}"

    @property
    def deadly(self) -> str:
        """Kill the process before it is done."""
        return f"{self.kind}:signal=SIGKILL:when={self.turn}"

    def late(self, seconds: float) -> str:
        """Let it be done, and return so much later."""
        return f"{self.kind}:delay_exit={int(seconds * _SECOND)}:when={self.turn}"


class Tracer:
    """An strace attached to a child. Leaving its ``with`` block detaches it.

    A child that may be killed is to be finished inside: what dies cannot be detached from.

    It counts the turns of each thread by itself, from when it is attached or the thread begins.
    """

    def __init__(
        self, child: Child, log: Path, kinds: tuple[str, ...], inject: str | None = None
    ) -> None:
        command = ["strace", "--follow-forks", "--decode-fds=path", f"--attach={child.pid}"]
        command += [f"--output={log}", f"--trace={','.join(f'?{kind}' for kind in kinds)}"]
        if inject is not None:
            command.append(f"--inject={inject}")
        self._child = child
        self._log = log
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        line = self._process.stderr.readline().decode()
        if "attached" not in line:
            self._process.communicate()
            pytest.fail(f"strace cannot attach: {line}")

    def calls(self, below: Path, *, sure: bool = False) -> list[Call]:
        """Return the calls that had to do with a folder or with the peer, once detached.

        Args:
            below: the folder.
            sure: leave out those whose turn is also that of another thread's other call.
        """
        counts: Counter[tuple[str, str]] = Counter()
        calls: dict[Call, bool] = {}
        for line in self._log.read_text("ascii", "replace").splitlines():
            thread, _, rest = line.partition(" ")
            kind, begun, _ = rest.strip().partition("(")
            if begun and kind.isidentifier():
                counts[thread, kind] += 1
                call = Call(kind, counts[thread, kind])
                meant = str(below) in rest or kind in TALK
                was = calls.get(call, meant)
                calls[call] = (was and meant) if sure else (was or meant)
        return [call for call, meant in calls.items() if meant]

    @property
    def injected(self) -> int:
        """How many calls were tampered with."""
        return self._log.read_text("ascii", "replace").count("(INJECTED)")

    def detach(self) -> None:
        """Let the child go on by itself, unless it is at its end."""
        if self._child.finished is None:
            self._process.send_signal(signal.SIGINT)
        self._process.communicate(timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()


@cache
def _why_not() -> str:
    if shutil.which("strace") is None:
        return "there is no strace"
    tried = subprocess.run(
        ["strace", "--inject=fsync:error=EIO:when=1", "true"], capture_output=True, check=False
    )
    return "" if tried.returncode == 0 else "strace may not trace here"


needs_strace = pytest.mark.skipif(os.name != "posix" or bool(_why_not()), reason=_why_not())
