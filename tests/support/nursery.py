"""Commands without the start of an interpreter: forked off a process that has imported everything.

What runs in a child is the command's own ``main``, in a process of its own that can be killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import pkgutil
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from support.commands import PATIENCE, Finished, Line

_PACKAGES: Final = ("objxfer", "objxfer_cli")
_LATER: Final = (
    "cryptography.x509",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "encodings.idna",
)
"""What is imported where it is used."""
_SET_PTRACER: Final = 0x59616D61
"""PR_SET_PTRACER of prctl(2)."""
_FULL: Final = 1 << 16


class _Said:
    """What a command says on one of its pipes, read as it comes.

    A command whose words nobody reads waits with them, and its peers wait with it.
    """

    def __init__(self, fd: int) -> None:
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._pipe = open(fd, "rb")  # noqa: SIM115 - closed by its thread
        threading.Thread(target=self._read, daemon=True).start()

    def line(self) -> str:
        """Return the next line; "" at the end."""
        line = self._lines.get()
        if not line:
            self._lines.put(line)  # the end stays the end
        return line.decode().rstrip("\n")

    def rest(self) -> str:
        """Return all that comes until the end."""
        return b"".join(iter(self._lines.get, b"")).decode()

    def _read(self) -> None:
        with self._pipe:
            for line in self._pipe:
                self._lines.put(line)
        self._lines.put(b"")


class Child:
    """A command that was forked, held until ``go``."""

    def __init__(
        self, nursery: Nursery, pid: int, stdin: int, out: int, err: int, *, held: bool
    ) -> None:
        self.pid = pid
        self.url = ""
        self._nursery = nursery
        self._stdin = stdin
        self._out, self._err = _Said(out), _Said(err)
        self.out_line, self.err_line = self._out.line, self._err.line
        self.finished: Finished | None = None
        if not held:
            self.go()

    def go(self) -> None:
        """Let it begin."""
        os.close(self._stdin)
        self._stdin = -1

    def out_lines(self) -> Iterator[Line]:
        """Return its JSON lines, each as soon as it is said."""
        return map(json.loads, iter(self.out_line, ""))

    def signal(self, number: int) -> None:
        """Send it a signal; it is there, at least as a zombie, until ``finish``."""
        with contextlib.suppress(ProcessLookupError):
            if self.finished is None:
                os.kill(self.pid, number)

    def finish(self, number: int = 0) -> Finished:
        """Wait for its end, after sending it a signal if one is given.

        Returns:
            Its exit code, negative for a signal, and what it said since.
        """
        if self.finished is None:
            if number:
                self.signal(number)
            # With its end its pipes end: so nobody else who asks is kept waiting.
            out, err = self._out.rest(), self._err.rest()
            status = self._nursery.ask({"wait": self.pid})
            self.finished = Finished(os.waitstatus_to_exitcode(status), out, err)
            self.close()
        return self.finished

    def close(self) -> None:
        """Let go of its pipes."""
        if self._stdin >= 0:
            self.go()


class Nursery:
    """Starts commands, for any thread. Leaving its ``with`` block kills those that are left.

    Args:
        folder: the current one of all commands, and their home.
        key_file: the key they find.
        inside: a command that runs another one, somewhere special.
    """

    def __init__(self, folder: Path, key_file: Path, inside: Sequence[str] = ()) -> None:
        self._folder = folder
        ours, theirs = socket.socketpair()
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "HOME": str(folder),
            "OBJXFER_KEY_FILE": str(key_file),
        }
        self._socket = ours
        self._socket.settimeout(PATIENCE)
        self._lock = threading.Lock()
        self._children: list[Child] = []
        with theirs:
            self._process = subprocess.Popen(
                [*inside, sys.executable, "-m", "support.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=folder,
                env=environment,
            )

    def start(self, *arguments: str, held: bool = False) -> Child:
        """Fork a command.

        Args:
            arguments: its command line.
            held: whether it waits for ``go``.
        """
        stdin, out, err = os.pipe(), os.pipe(), os.pipe()
        given = (stdin[0], out[1], err[1])
        try:
            pid = self.ask({"run": arguments}, given)
        finally:
            for fd in given:
                os.close(fd)
        child = Child(self, pid, stdin[1], out[0], err[0], held=held)
        self._children = [each for each in self._children if each.finished is None]
        self._children.append(child)
        return child

    def listen(self, *arguments: str, scheme: str = "tcp") -> Child:
        """Start ``receive`` or ``serve``, and wait until it listens; see ``Child.url``."""
        child = self.start(*arguments, "--listen", f"{scheme}://127.0.0.1:0")
        while not (line := child.err_line()).startswith("listening on "):
            assert line, child.finish()
        child.url = line.removeprefix("listening on ").partition(",")[0]
        return child

    def run(self, *arguments: str) -> Finished:
        """Run a command to its end."""
        return self.start(*arguments).finish()

    def ask(self, request: dict[str, Any], fds: tuple[int, ...] = ()) -> int:
        """Have the forking process do something, and return its answer."""
        message = json.dumps(request).encode()
        assert len(message) < _FULL
        with self._lock:
            socket.send_fds(self._socket, [message], fds)
            return int(self._socket.recv(_FULL))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._process.wait()
        for child in self._children:
            child.close()


def _serve(fd: int) -> None:
    """Fork what is asked for, until nobody is there to ask; then kill what is left."""
    for package in _PACKAGES:
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in _LATER:
        importlib.import_module(name)
    children: set[int] = set()
    with socket.socket(fileno=fd) as asked, contextlib.suppress(ConnectionError):
        while True:
            message, fds, _, _ = socket.recv_fds(asked, _FULL, 3)
            if not message:
                break
            request = json.loads(message)
            if pid := request.get("wait"):
                children.discard(pid)
                answer = os.waitpid(pid, 0)[1]
            elif answer := os.fork():
                children.add(answer)
                for each in fds:
                    os.close(each)
            else:
                asked.close()
                _run(request["run"], fds)
            asked.send(b"%d" % answer)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _run(arguments: list[str], fds: list[int]) -> NoReturn:
    from objxfer_cli.main import main

    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    with contextlib.suppress(AttributeError):
        # Where only parents may trace: our strace is no parent of this process.
        ctypes.CDLL(None).prctl(_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    os.read(0, 1)
    sys.argv = ["objxfer", *arguments]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = int(end.code or 0)
    # Taking the interpreter down takes longer than all the rest, and is no part of the command.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
