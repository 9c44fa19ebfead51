"""Running commands: timed from start to exit, or in the background while others run."""

from __future__ import annotations

import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Final

_READY_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05


class CommandFailed(Exception):
    """A command ended with anything but 0, or never became ready; the text says how."""

    def __init__(self, argv: Sequence[str], what: str, stderr: IO[bytes]) -> None:
        stderr.seek(0)
        said = stderr.read().decode(errors="replace").strip().splitlines()[-3:]
        super().__init__("; ".join([f"{shlex.join(argv)}: {what}", *map(str.strip, said)]))


def timed(argv: Sequence[str]) -> float:
    """Run a command and return the seconds from its start to its exit.

    Raises:
        CommandFailed: it did not end with 0.
    """
    with tempfile.TemporaryFile() as stderr:
        begin = time.perf_counter()
        with started(argv, stderr=stderr) as process:
            # Without a timeout, with which wait() would poll, 50 ms apart. The part has one.
            code = process.wait()
            seconds = time.perf_counter() - begin
        if code:
            raise CommandFailed(argv, f"exit {code}", stderr)
        return seconds


@contextmanager
def background(argv: Sequence[str], ready: Callable[[], bool]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command during the ``with`` block, which begins when it is ready.

    Raises:
        CommandFailed: it ended before, or is not ready in 20 s.
    """
    # In a session of its own, as sshd's are: the scheduler shares a busy machine out by sessions.
    with (
        tempfile.TemporaryFile() as stderr,
        started(argv, stderr=stderr, start_new_session=True) as process,
    ):
        deadline = time.monotonic() + _READY_SECONDS
        while not ready():
            if process.poll() is not None:
                raise CommandFailed(argv, f"exit {process.returncode}", stderr)
            if time.monotonic() > deadline:
                raise CommandFailed(argv, "not ready in time", stderr)
            time.sleep(_POLL_SECONDS)
        yield process


@contextmanager
def started(
    argv: Sequence[str],
    *,
    stderr: IO[bytes] | int,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    start_new_session: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command whose output is thrown away, and stop it if the block ends first."""
    process = subprocess.Popen(
        argv,
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=start_new_session,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def said(argv: Sequence[str]) -> str:
    """Return the first line a command prints, on whichever stream; nothing if it cannot run."""
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.partition("\n")[0].strip()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def answers(port: int) -> bool:
    """Tell whether somebody listens on a port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
