"""From what was raised to what is said about it, and to the exit code."""

from __future__ import annotations

import contextlib
import errno
import sys
from typing import Final

import click

from objxfer.errors import ExitCode, FileFailed, ObjxferError
from objxfer_cli.signals import Interrupted
from objxfer_cli.terminal import Terminal, discard

CLOSED_PIPE: Final = 141
"""What a program ends with that SIGPIPE ended."""
_RUN_AGAIN: Final = "run it again: it goes on where it stopped"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def say(terminal: Terminal, error: BaseException, *, standing: str = "", **more: object) -> int:
    """Say what went wrong.

    Args:
        terminal: where to.
        error: what was raised.
        standing: how far the delivery is, for an interruption.
        **more: what else the JSON line of the error holds.

    Returns:
        The exit code.
    """
    if isinstance(error, FileFailed) and isinstance(error.__cause__, BrokenPipeError):
        # Who reads our standard output has had enough.
        discard(sys.stdout)
        return CLOSED_PIPE
    code, message, hint = _told(error, standing)
    if isinstance(error, Interrupted):
        terminal.interrupted(standing)
    else:
        terminal.error(message, hint=hint, exit_code=int(code), error=type(error).__name__)
    record(terminal, error, code, message, **more)
    terminal.traceback(error)
    return code


def record(
    terminal: Terminal, error: BaseException, code: int, message: str, **more: object
) -> None:
    """Write the JSON line of an error."""
    with contextlib.suppress(OSError):  # stdout takes no more, and stderr has said it
        terminal.record(
            "error", exit_code=code, name=type(error).__name__, message=message, path=None, **more
        )


def _told(error: BaseException, standing: str) -> tuple[int, str, str]:
    """Return exit code, message and hint."""
    match error:
        case Interrupted():
            return error.exit_code, f"interrupted{standing}", ""
        case ObjxferError():
            hint = error.hint
            if not hint and error.exit_code is ExitCode.CONNECTION_LOST:
                hint = _RUN_AGAIN
            return error.exit_code, str(error), hint
        case click.ClickException():
            context = getattr(error, "ctx", None)
            hint = f'see "{context.command_path} --help"' if context else ""
            message = error.format_message().rstrip(".")
            return ExitCode.USAGE, message[:1].lower() + message[1:], hint
        case OSError():
            code = ExitCode.NO_SPACE if error.errno in _FULL else ExitCode.FAILED
            where = f": {error.filename}" if error.filename else ""
            return code, (error.strerror or str(error)).lower() + where, ""
        case _:
            hint = "with -vv it says where"
            return ExitCode.FAILED, f"{type(error).__name__}: {error}", hint
