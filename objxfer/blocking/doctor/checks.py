"""What a check finds, and what follows from all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from objxfer.errors import ExitCode


class Status(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    """Not as it should be, and nothing fails of it."""
    FAILED = "failed"
    NOT_REACHED = "not_reached"
    """A check before it failed."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. It holds no secret, but perhaps words of a peer, unescaped."""

    name: str
    """What was looked at, in one word; several checks may have the same."""
    status: Status
    message: str
    """What was found."""
    advice: str = ""
    """What to do about it, or ""."""
    exit_code: ExitCode = ExitCode.OK
    """What a delivery would end with that fails of this."""


def ok(name: str, message: str, advice: str = "") -> Check:
    """Return a check that came out as it should."""
    return Check(name, Status.OK, message, advice)


def warning(name: str, message: str, advice: str = "") -> Check:
    """Return a check after which things may still work."""
    return Check(name, Status.WARNING, message, advice)


def failed(name: str, message: str, advice: str, exit_code: ExitCode = ExitCode.FAILED) -> Check:
    """Return a check after which a delivery fails."""
    return Check(name, Status.FAILED, message, advice, exit_code)


def conclusion(checks: Iterable[Check], well: str) -> Check:
    """Return what all checks come to: the first that failed decides, as it would in a delivery.

    Args:
        checks: in the order they were made.
        well: what it comes to where nothing failed.
    """
    warnings = 0
    for check in checks:
        if check.status is Status.FAILED:
            code = check.exit_code
            name = check.name.replace("_", " ")
            message = f"a delivery fails at {name}, with exit code {code:d}"
            return failed("conclusion", message, check.advice, code)
        warnings += check.status is Status.WARNING
    if not warnings:
        return ok("conclusion", well)
    count = "1 warning" if warnings == 1 else f"{warnings} warnings"
    return warning("conclusion", f"{well}, with {count}")
