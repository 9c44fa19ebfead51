"""A text in place of files: read where it is sent, shown where it is received."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final

import click

import objxfer
from objxfer.errors import ExitCode, FileFailed, ObjxferError, RefusedByPeer
from objxfer.limits import Limits
from objxfer.transports.urls import Url
from objxfer_cli.terminal import Terminal, characters

if TYPE_CHECKING:
    from objxfer_cli.delivery import Delivery
    from objxfer_cli.question import Question

LONGEST: Final = 64_000
"""Bytes of a text, as UTF-8: what a terminal shows, and what fits into one message."""
ACCEPTS: Final = ("text",)
LIMITS: Final = Limits(head=LONGEST, object=LONGEST, buffers=1)
"""What who takes texts accepts of objects at the most."""
AGAIN: Final = "whether it was shown there is not known: ask before you send it again"
_STANDARD_INPUT: Final = "-"
_AS_FILE: Final = "objxfer send - sends standard input as a file, and --name names it"


def read(terminal: Terminal, given: str, target: str | None) -> str:
    """Return the text to send: what is given, or where that is ``-``, standard input.

    Args:
        terminal: who types it is told there how it ends.
        given: the argument.
        target: where it goes, if that is named.

    Raises:
        click.UsageError: it is empty, or there is no standard input, or the target has a folder.
        ObjxferError: it is too long or not UTF-8, or the target is none (exit code ``USAGE``).
    """
    if target is not None:
        named = "://" in target
        folder = Url.target(target).folder if named else target.partition(":")[2]
        if folder:
            raise click.UsageError("a text goes into no folder: leave that out of --to")
    if given == _STANDARD_INPUT:
        if sys.stdin is None:
            raise click.UsageError("--text -: there is no standard input")
        if terminal.attended:
            terminal.notice("the text, and Ctrl-D in a line of its own behind it:")
        data = sys.stdin.buffer.read(LONGEST + 1)
    else:
        data = given.encode("utf-8", "surrogateescape")
    if not data:
        raise click.UsageError("the text is empty")
    if len(data) > LONGEST:
        raise _no_text(f"a text has at most {LONGEST:,} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _no_text("the text is not UTF-8") from None


def send(connection: objxfer.Connection, text: str, silence: float) -> None:
    """Send a text, and wait until it is shown.

    Raises:
        RefusedByPeer: it takes no texts, and none was sent; or it does not take this one.
        ObjxferError: as ``Connection.send``.
    """
    if not set(ACCEPTS) & set(connection.accepted):
        raise RefusedByPeer("it takes files, and no text", hint=_AS_FILE)
    connection.send(text, serializer="text", wait=True, silence=silence)


def sent(terminal: Terminal, text: str, to: str) -> int:
    """Say that a text was shown there; return the exit code."""
    terminal.result(f"sent a text of {characters(text)} ({to})")
    terminal.record("text", action="sent", **_measures(text))
    return ExitCode.OK


class Incoming:
    """Takes a text, once: hand it over as ``on_object=``.

    Args:
        delivery: by which it comes.
        question: asks whether to take it; None takes it.
        output: gets it as it is; None shows it on the terminal.
    """

    def __init__(
        self, delivery: Delivery, question: Question | None, output: BinaryIO | None
    ) -> None:
        self._delivery = delivery
        self._question = question
        self._output = output
        self.offered = False
        """Whether there is one."""
        self.taken: str | None = None
        """The text, once it was shown."""

    def __call__(self, text: str, withdrawn: Callable[[], bool]) -> None:
        """See ``Connection.recv``.

        Raises:
            ObjxferError: it is declined, or nobody can be asked (exit code ``REFUSED``).
            FileFailed: standard output does not take it.
        """
        from objxfer.files.outlet import Outlet  # of no use to who sends, and large

        self.offered = True
        if self._question is not None and not self._question.about_text(text, withdrawn):
            return
        terminal = self._delivery.terminal
        if self._output is not None:
            Outlet(self._output).write(text.encode())
        elif terminal.json:
            terminal.record("text", action="received", **_measures(text), text=text)
            if terminal.unread:
                raise FileFailed("nobody reads standard output") from BrokenPipeError()
        else:
            terminal.show(text)
        self.taken = text

    def finished(self, caller: str) -> int:
        """Say that it was shown; return the exit code."""
        assert self.taken is not None
        self._delivery.terminal.notice(f"received a text of {characters(self.taken)} from {caller}")
        return ExitCode.OK


def _no_text(message: str) -> ObjxferError:
    return ObjxferError(message, hint=_AS_FILE, exit_code=ExitCode.USAGE)


def _measures(text: str) -> dict[str, object]:
    return {"characters": len(text), "bytes": len(text.encode())}
