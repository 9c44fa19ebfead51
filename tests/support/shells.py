"""Shells at a terminal, in which somebody types and presses Tab."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from support.commands import PATIENCE

SAYS_WHAT_IT_GETS: Final = {
    "bash": 'objxfer() { printf "<%s>" "$@"; echo END; }',
    "zsh": 'objxfer() { printf "<%s>" "$@"; echo END; }',
    "fish": 'function objxfer; printf "<%s>" $argv; echo END; end',
}
"""For each shell, what takes the place of the command when a line is run, and not when it is
completed."""
_ARGUMENTS: Final = re.compile(r"((?:<[^<>\r\n]*>)+)END\r\n")
_ON_THE_TERMINAL: Final = 'exec "$@" <> "$TERMINAL" >&0 2>&1'


class Shell:
    """An interactive shell that has read its configuration."""

    def __init__(self, name: str, home: Path, stack: ExitStack) -> None:
        self._person, program = pty.openpty()
        stack.callback(os.close, self._person)
        fcntl.ioctl(program, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        process = subprocess.Popen(
            ["sh", "-c", _ON_THE_TERMINAL, "sh", name, "-i"],
            start_new_session=True,  # so that the terminal becomes its own
            cwd=home,
            env={
                "HOME": str(home),
                "XDG_CONFIG_HOME": str(home / ".config"),
                "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
                "LANG": "C.UTF-8",
                "TERM": "dumb",
                "TERMINAL": os.ttyname(program),
            },
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        stack.callback(os.close, program)  # open until then: without any, reading fails
        self._shown = ""
        self._type(SAYS_WHAT_IT_GETS[name])
        self._type("echo set''up")
        self._until(r"setup\r\n")

    def arguments(self, keys: str) -> list[str]:
        """Type something, and Enter; return the arguments that the command has got."""
        self._type(keys)
        return self._until(_ARGUMENTS.pattern)[1][1:-1].split("><")

    def _type(self, keys: str) -> None:
        os.write(self._person, f"{keys}\r".encode())

    def _until(self, words: str) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(words, self._shown)):
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self._person], [], [], left)[0], self._shown
            self._shown += os.read(self._person, 65536).decode(errors="replace")
        self._shown = self._shown[found.end() :]
        return found
