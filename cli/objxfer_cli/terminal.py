"""All that is printed: results on stdout, everything else on stderr, and nothing unescaped."""

from __future__ import annotations

import base64
import contextlib
import copy
import logging
import os
import select
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Final, TextIO

from objxfer.bars import aside, escaped

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_NOTHING: Final = {
    "bytes_done": 0,
    "bytes_total": None,
    "files_done": 0,
    "files_total": None,
    "bytes_per_second": 0,
    "eta_seconds": None,
}
"""What a line of type ``progress`` holds while nothing is on its way."""
_LOOK: Final = 0.1
"""Seconds between two looks at whether a question is withdrawn."""
_LONGEST_ANSWER: Final = 4096
_LEVELS: Final = {1: logging.INFO, 2: logging.DEBUG}


class Terminal:
    """Where a command says what it has to say. Any thread may call any method.

    Attributes:
        quiet: nothing is said of success.
        json: results are JSON lines.
        verbosity: 1 for what the library does, 2 for how, and for tracebacks.
        piped: stdout carries what is received, so results go to stderr.
        unread: nobody reads stdout any more.
        underway: each of them says how far something is that is on its way.
    """

    def __init__(self) -> None:
        self.quiet = False
        self.json = False
        self.verbosity = 0
        self.piped = False
        self.unread = False
        self.underway: list[Callable[[], None]] = []
        self._of = ""
        self._mark: dict[str, object] = {}
        self._interrupted = False
        self._lock = threading.Lock()
        self._silence = contextlib.ExitStack()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")

    def of(self, receiver: str) -> Terminal:
        """Return one that says the same, and of which of several receivers it is said."""
        terminal = copy.copy(self)
        terminal._of, terminal._mark = f"{receiver}: ", {"to": receiver}
        return terminal

    @property
    def shows_bars(self) -> bool:
        """Whether bars may be drawn."""
        return not (self.quiet or self.json)

    def result(self, line: str) -> None:
        """Say what came of it, to a person."""
        if not (self.quiet or self.json):
            self._write(sys.stderr if self.piped else sys.stdout, escaped(self._of + line))

    def answer(self, line: str) -> None:
        """Say what was asked for, to a person: no matter how quiet the rest is."""
        if not self.json:
            self._write(sys.stdout, escaped(line))

    def notice(self, line: str) -> None:
        """Say something on the way, to a person."""
        if not (self.quiet or self.json):
            self._write(sys.stderr, escaped(self._of + line))

    def needed(self, line: str) -> None:
        """Say what a person cannot do without, no matter how quiet the rest is."""
        if not self.json:
            self._write(sys.stderr, escaped(line))

    def visitor(self, line: str) -> None:
        """Say something of a peer that is not an error of ours."""
        self._write(sys.stderr, escaped(line))

    def remark(self, line: str) -> None:
        """Say something to a person, also where a program reads the results."""
        if not self.quiet:
            self._write(sys.stderr, escaped(line))

    def hint(self, text: str) -> None:
        """Say what to do next."""
        if text:
            self.remark(f"hint: {self._of}{text}")

    def warning(self, text: str) -> None:
        """Say that something is not as it should be."""
        self._write(sys.stderr, f"objxfer: warning: {escaped(self._of + text)}")

    def error(self, text: str, *, hint: str = "") -> None:
        """Say what went wrong, and what to do about it."""
        self._write(sys.stderr, f"objxfer: error: {escaped(self._of + text)}")
        self.hint(hint)

    @property
    def attended(self) -> bool:
        """Whether there is somebody to ask."""
        return sys.stdin is not None and sys.stdin.isatty()

    def ask(self, question: str, withdrawn: Callable[[], bool] = lambda: False) -> str | None:
        """Ask who is there, and return the line that they type, "" where that is empty.

        What was typed before they could read the question is no answer.

        Args:
            question: stands before the answer.
            withdrawn: asked again and again whether there is nothing to answer any more.

        Returns:
            None where it is withdrawn, or where they end the input.
        """
        _forget_typed()
        self._write(sys.stderr, escaped(question), end="")
        while not withdrawn():
            if _typed_within(_LOOK):
                typed = os.read(sys.stdin.fileno(), _LONGEST_ANSWER)
                if typed:
                    return typed.decode(errors="replace").strip()
                break
        self._write(sys.stderr, "")
        return None

    def interrupted(self, standing: str = "") -> None:
        """Say, once, that a signal ended it, and how far it was."""
        if not self._interrupted:
            self._interrupted = True
            self._write(sys.stderr, escaped(f"objxfer: {self._of}interrupted{standing}"))

    def fall_silent(self) -> None:
        """Write nothing any more, and leave no bar behind: the process is about to end."""
        self._silence.enter_context(self._lock)
        self._silence.enter_context(aside())

    def tell(self) -> None:
        """Say how far all is that is on its way, to who asks with a signal."""
        underway = list(self.underway)
        for say in underway:
            say()
        if not underway:
            self.progress("nothing is on its way", **_NOTHING)

    def progress(self, line: str, **figures: object) -> None:
        """Say how far something is, in words or with ``--json`` in figures, to who listens."""
        if not _takes(sys.stdout if self.json else sys.stderr):
            return
        if self.json:
            self.record("progress", **figures)
        else:
            self._write(sys.stderr, escaped(self._of + line))

    def traceback(self, error: BaseException) -> None:
        """Show where an error comes from, to who wants to know."""
        if self.verbosity >= 2:
            for lines in traceback.format_exception(error):
                for line in lines.splitlines():
                    self._write(sys.stderr, escaped(line))

    def record(self, kind: str, **values: object) -> None:
        """Write one JSON line, if JSON is what was asked for."""
        if self.json:
            import json

            line = json.dumps({"type": kind, **self._mark, **values}, separators=(",", ":"))
            self._write(sys.stdout, line)

    def log(self, verbosity: int) -> None:
        """Show what the library logs: 1 for info, 2 and more for debug."""
        self.verbosity = verbosity
        if verbosity:
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
            logger = logging.getLogger("objxfer")
            logger.addHandler(handler)
            logger.setLevel(_LEVELS.get(verbosity, logging.DEBUG))

    def _write(self, stream: TextIO | None, line: str, end: str = "\n") -> None:
        """Write a line, whole and at once; one that nobody reads is dropped without a word."""
        if stream is None:
            return
        with self._lock, aside():
            try:
                stream.write(line + end)
                stream.flush()
            except BrokenPipeError:
                self.unread = self.unread or stream is sys.stdout
                discard(stream)
            except OSError:
                if stream is sys.stdout:
                    raise


class _Formatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        return escaped(super().formatMessage(record))


def discard(stream: TextIO) -> None:
    """Send what a stream still holds nowhere, so that nothing complains about it at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _takes(stream: TextIO | None) -> bool:
    """Tell whether a line can be written without waiting for whoever reads."""
    try:
        return stream is not None and bool(select.select([], [stream], [], 0)[1])
    except (OSError, ValueError):  # of what has no descriptor, or on Windows: nobody knows
        return True


def _forget_typed() -> None:
    """Drop what was typed, where the system can."""
    try:
        import termios
    except ImportError:
        return
    with contextlib.suppress(termios.error, OSError):
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _typed_within(seconds: float) -> bool:
    """Tell whether a line is typed within some seconds."""
    try:
        return bool(select.select([sys.stdin], [], [], seconds)[0])
    except (OSError, ValueError):  # on Windows: reading waits for it
        return True


def shown(path: bytes) -> str:
    """Return a path of a delivery for a person."""
    return escaped(path.decode("utf-8", "surrogateescape"))


def json_path(key: str, path: bytes) -> dict[str, object]:
    """Return a path as JSON lines have it: text, and the bytes beside it where it is none."""
    try:
        return {key: path.decode()}
    except UnicodeDecodeError:
        text, raw = path.decode(errors="replace"), base64.b64encode(path).decode()
        return {key: text, f"{key}_b64": raw}


def listed(paths: Sequence[str], total: int, at_most: int = 3) -> str:
    """Return some names, and how many more there are."""
    named = ", ".join(paths[:at_most])
    more = total - min(len(paths), at_most)
    return f"{named} and {more:,} more" if more else named


def files(count: int) -> str:
    """Return a number of files: ``1 file``, ``4,120 files``."""
    return f"{count:,} file{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """Return a number of bytes in decimal units with three digits: ``2.41 MB``, ``512 B``."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} B" if unit == "B" else f"{_three_digits(count)} {unit}"


def rate(count: int, seconds: float) -> str:
    """Return a speed as short as it is uncertain: ``88 MB/s``, ``1.2 GB/s``."""
    speed = count / max(seconds, 1e-6)
    for unit in _UNITS:
        if speed < 999.5 or unit == _UNITS[-1]:
            break
        speed /= 1000
    return f"{speed:.1f} {unit}/s" if speed < 9.95 else f"{speed:.0f} {unit}/s"


def duration(seconds: float) -> str:
    """Return a time: ``0.1 s``, ``40 s``, ``2 min 05 s``, ``3 h 20 min``."""
    if seconds < 9.95:
        return f"{max(seconds, 0.1):.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _three_digits(count: float) -> str:
    digits = 2 if count < 9.995 else 1 if count < 99.95 else 0
    return f"{count:.{digits}f}"
