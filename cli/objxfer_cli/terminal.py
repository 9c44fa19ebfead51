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
from typing import BinaryIO, Final, TextIO

from objxfer.bars import aside
from objxfer.errors import FileFailed
from objxfer.escapes import escaped
from objxfer.units import UNITS
from objxfer.units import size as size  # for all that is printed
from objxfer_cli import logs

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
        logs: what is said on stderr is a log of JSON lines, and people get no line at all.
        verbosity: 1 for what the library does, 2 for how, and for tracebacks.
        piped: stdout carries what is received, so results go to stderr.
        unread: nobody reads stdout any more.
        stays: others depend on the command: what stdout does not take is warned of, once, and
            raises nothing.
        underway: each of them says how far something is that is on its way.
        hung_up: set by each SIGHUP, where that does not end the command.
    """

    def __init__(self) -> None:
        self.quiet = False
        self.json = False
        self.logs = False
        self.verbosity = 0
        self.piped = False
        self.unread = False
        self.stays = False
        self.underway: list[Callable[[], None]] = []
        self.hung_up: threading.Event | None = None
        self._of = ""
        self._mark: dict[str, object] = {}
        self._interrupted = False
        self._stuck = False
        self._lock = threading.Lock()
        self._silence = contextlib.ExitStack()
        self._nobody = logging.NullHandler()
        self._handler: logging.Handler = self._nobody
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
            self._say(self._of + line, sys.stderr if self.piped else sys.stdout)

    def answer(self, line: str) -> None:
        """Say what was asked for, to a person: no matter how quiet the rest is."""
        if not self.json:
            self._say(line, sys.stdout)

    def show(self, text: str) -> None:
        """Show a text that was received, no matter how quiet the rest is: its lines, escaped.

        Raises:
            FileFailed: it cannot be written.
        """
        from objxfer.files.outlet import Outlet  # of use here alone, and large

        lines = text.removesuffix("\n").split("\n")
        shown = "".join("\t".join(map(escaped, line.split("\t"))) + "\n" for line in lines)
        if sys.stdout is None:
            raise FileFailed("there is no standard output")
        with self._lock, aside(), raw(sys.stdout) as stream:
            Outlet(stream).write(shown.encode(sys.stdout.encoding, "backslashreplace"))

    def notice(self, line: str) -> None:
        """Say something on the way, to a person."""
        if not (self.quiet or self.json):
            self._say(self._of + line, sys.stderr)

    def needed(self, line: str) -> None:
        """Say what a person cannot do without, no matter how quiet the rest is."""
        if not self.json:
            self._say(line, sys.stderr)

    def visitor(self, line: str) -> None:
        """Say something of a peer that is not an error of ours."""
        self._say(line, sys.stderr)

    def remark(self, line: str) -> None:
        """Say something to a person, also where a program reads the results."""
        if not self.quiet:
            self._say(line, sys.stderr)

    def hint(self, text: str) -> None:
        """Say what to do next."""
        if text:
            self.remark(f"hint: {self._of}{text}")

    def warning(self, text: str) -> None:
        """Say that something is not as it should be."""
        self._say(f"objxfer: warning: {self._of}{text}", sys.stderr)
        self.event("warning", message=text)

    def error(self, text: str, *, hint: str = "", **more: object) -> None:
        """Say what went wrong, and what to do about it; the log holds ``more``, too."""
        self._say(f"objxfer: error: {self._of}{text}", sys.stderr)
        self.hint(hint)
        self.event("error", **more, message=text, hint=hint or None)

    @property
    def columns(self) -> int | None:
        """How many there are for what is said on the way; None where it is on no terminal."""
        try:
            return os.get_terminal_size(sys.stderr.fileno()).columns or None
        except (AttributeError, ValueError, OSError):
            return None

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
            self._say(f"objxfer: {self._of}interrupted{standing}", sys.stderr)
            self.event("interrupted", message=f"interrupted{standing}")

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
        """Say how far something is, in words or in figures, to who listens."""
        if not _takes(sys.stdout if self.json else sys.stderr):
            return
        if self.json:
            self.record("progress", **figures)
        else:
            self._say(self._of + line, sys.stderr)
            self.event("progress", **figures)

    def traceback(self, error: BaseException) -> None:
        """Show where an error comes from, to who wants to know."""
        if self.verbosity >= 2:
            told = "".join(traceback.format_exception(error))
            for line in told.splitlines():
                self._say(line, sys.stderr)
            self.event("log", level="debug", message=str(error), traceback=told)

    def record(self, kind: str, **values: object) -> None:
        """Write one JSON line, if JSON is what was asked for."""
        if self.json:
            self._write(sys.stdout, _json_line({"type": kind, **self._mark, **values}))

    def event(self, kind: str, **values: object) -> None:
        """Write one line of the log, if that is kept."""
        if self.logs:
            from datetime import UTC, datetime

            now = datetime.now(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
            self._write(sys.stderr, _json_line({"type": kind, "time": f"{now}Z", **values}))

    def keep_log(self) -> None:
        """Make stderr a log, also of what this process's libraries warn of."""
        self.logs = True
        logging.getLogger().addHandler(logs.Events(self.event))

    def log(self, verbosity: int) -> None:
        """Show what the library logs, no less than before: 0 is warnings, 1 info, from 2 debug."""
        self.verbosity = verbosity = max(verbosity, self.verbosity)
        logger = logging.getLogger("objxfer")
        logger.setLevel(_LEVELS.get(min(verbosity, 2), logging.WARNING))
        # What other libraries warn of is nothing that a user could act on.
        logging.getLogger().addHandler(self._nobody)
        if self.logs:
            return
        handler: logging.Handler = logs.Warnings(self.warning)
        if verbosity:
            handler = logs.Lines(lambda line: self._write(sys.stderr, line))
        logger.removeHandler(self._handler)
        logger.addHandler(handler)
        self._handler = handler

    def _say(self, line: str, stream: TextIO | None) -> None:
        """Write a line for a person, unless there are only programs."""
        if not self.logs:
            self._write(stream, escaped(line))

    def _write(self, stream: TextIO | None, line: str, end: str = "\n") -> None:
        """Write a line, whole and at once; one that nobody reads is dropped without a word."""
        if stream is None:
            return
        try:
            with self._lock, aside():
                stream.write(line + end)
                stream.flush()
        except BrokenPipeError:
            self.unread = self.unread or stream is sys.stdout
            discard(stream)
        except OSError as error:
            if stream is sys.stdout:
                self._not_taken(error)
        else:
            self._stuck = self._stuck and stream is not sys.stdout

    def _not_taken(self, error: OSError) -> None:
        """Say that stdout does not take a line, if that is not to end the command."""
        if not self.stays:
            raise error
        if not self._stuck:
            from objxfer.files.entries import why  # of use here alone

            self._stuck = True
            self.warning(f"standard output takes no more: {why(error)}; deliveries go on")


def raw(stream: TextIO) -> BinaryIO:
    """Return what writes the bytes of a stream at once; closing it leaves the stream open."""
    return open(stream.fileno(), "wb", buffering=0, closefd=False)


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


def _json_line(values: dict[str, object]) -> str:
    """Return JSON of nothing but printable ASCII."""
    import json

    line = json.dumps(
        {
            # What stands for a byte that is no text would be a character that no text has.
            key: value.encode(errors="backslashreplace").decode()
            if isinstance(value, str)
            else value
            for key, value in values.items()
        },
        separators=(",", ":"),
    )
    # The one character that acts on a terminal and that JSON leaves as it is.
    return line.replace("\x7f", "\\u007f")


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


def characters(text: str) -> str:
    """Return how long a text is: ``1 character``, ``4,120 characters``."""
    return f"{len(text):,} character{'' if len(text) == 1 else 's'}"


def rate(count: int, seconds: float) -> str:
    """Return a speed as short as it is uncertain: ``88 MB/s``, ``1.2 GB/s``."""
    speed = count / max(seconds, 1e-6)
    for unit in UNITS:
        if speed < 999.5 or unit == UNITS[-1]:
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
