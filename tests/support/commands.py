"""The command as its users run it: processes of their own, a home folder of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, NamedTuple

import objxfer

PATIENCE = 30.0
"""Seconds after which a test that waits has failed."""

Line = dict[str, Any]


class Finished(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Line]:
        """Its JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class Running:
    """A command on its way."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.url = ""

    def out_line(self) -> str:
        return self._line(self.process.stdout)

    def err_line(self) -> str:
        return self._line(self.process.stderr)

    def until(self, words: str) -> str:
        """Read what it says on the way, byte by byte, until that has these words."""
        assert self.process.stderr is not None
        said = b""
        while words not in said.decode(errors="replace"):
            byte = os.read(self.process.stderr.fileno(), 1)
            assert byte, said
            said += byte
        return said.decode()

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def finish(self, stdin: bytes | None = None) -> Finished:
        out, err = self.process.communicate(stdin, timeout=PATIENCE)
        code = self.process.returncode
        return Finished(code, _text(out), _text(err))

    def _line(self, stream: IO[bytes] | None) -> str:
        assert stream is not None
        return _text(stream.readline()).rstrip("\n")


class Commands:
    """Runs ``objxfer`` in a folder, with a key where it is looked for."""

    def __init__(self, folder: Path, exit_stack: ExitStack) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        self.key = objxfer.Key.generate()
        self.key_file = folder / "home" / ".config" / "objxfer" / "key"
        self._exit_stack = exit_stack
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        home = str(folder / "home")
        self.environment = {**kept, "HOME": home, "XDG_CONFIG_HOME": f"{home}/.config"}
        if sys.platform == "darwin":
            self.key_file = folder / "home/Library/Application Support/objxfer/key"
        self.key.save(self.key_file)

    def start(
        self,
        *arguments: str,
        stdin: int | IO[bytes] = subprocess.PIPE,
        stdout: int | IO[bytes] = subprocess.PIPE,
        stderr: int | IO[bytes] = subprocess.PIPE,
        environment: dict[str, str] | None = None,
        inside: Sequence[str] = (),
    ) -> Running:
        """Start a command, behind the words of ``inside``; it is killed when the test is over."""
        process = subprocess.Popen(
            [*inside, *command(arguments)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=self.folder,
            env=self.environment | (environment or {}),
        )
        self._exit_stack.callback(_end, process)
        return Running(process)

    def run(
        self, *arguments: str, stdin: bytes = b"", environment: dict[str, str] | None = None
    ) -> Finished:
        """Run a command to its end."""
        return self.start(*arguments, environment=environment).finish(stdin)

    def listen(self, *arguments: str, scheme: str = "tcp", inside: Sequence[str] = ()) -> Running:
        """Start ``receive`` or ``serve``, and wait until it listens; see ``Running.url``."""
        running = self.start(*arguments, "--listen", f"{scheme}://127.0.0.1:0", inside=inside)
        while not (line := running.err_line()).startswith("listening on "):
            assert line, "it ended before it listened"
        running.url = line.removeprefix("listening on ").partition(",")[0]
        return running

    def listen_json(self, *arguments: str, scheme: str = "tcp") -> Running:
        """Do as ``listen`` with ``--json``."""
        running = self.start(*arguments, "--json", "--listen", f"{scheme}://127.0.0.1:0")
        line = json.loads(running.out_line())
        assert line["type"] == "listening"
        running.url = line["url"]
        return running

    def receive(self, *arguments: str, scheme: str = "tcp") -> Running:
        """Start ``receive`` into the inbox."""
        running = self.listen("receive", "--into", "inbox", *arguments, scheme=scheme)
        assert running.err_line().startswith("on the other machine:")
        return running

    def file(self, name: str, contents: bytes = b"contents") -> Path:
        """Write a file in the folder that the commands run in."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
        return path


def command(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that run ``objxfer``."""
    return [sys.executable, "-m", "objxfer_cli", *arguments]


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "backslashreplace")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()
