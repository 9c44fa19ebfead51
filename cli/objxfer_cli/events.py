"""What the log of ``--log-json`` holds of deliveries, beside the figures of their JSON lines."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import objxfer
from objxfer import Outcome, Report
from objxfer.errors import ObjxferError
from objxfer_cli.delivery import figures
from objxfer_cli.terminal import json_path

_NAMED: Final = 10
"""How many names, problems and files with another name an event holds."""


def comer(connection: objxfer.Connection) -> dict[str, object]:
    """Return who has come: the address, what it is called here, and the id of the key."""
    return {
        "peer": connection.peer,
        **({"name": connection.name} if connection.name else {}),
        "key": connection.key_id or None,
        "encrypted": connection.encrypted,
    }


def through(report: Report) -> dict[str, object]:
    """Return what came of a delivery that is through, well or not."""
    return {
        **_names(report.tops),
        **figures(report, Outcome.RECEIVED),
        "kept": report.kept,
        **_out_of_the_ordinary(report),
        "exit_code": int(report.exit_code),
    }


def cut_short(report: Report, what: str, error: ObjxferError) -> dict[str, object]:
    """Return how far a delivery came that failed, and why.

    Args:
        report: of the entries that something has become of.
        what: was delivered, as a person is told.
        error: ended it.
    """
    return {
        "what": what,
        **figures(report, Outcome.RECEIVED),
        **_out_of_the_ordinary(report),
        **reason(error, str(error)),
    }


def reason(error: ObjxferError, message: str) -> dict[str, object]:
    """Return why something failed."""
    return {
        "exit_code": int(error.exit_code),
        "error": type(error).__name__,
        "message": message,
    }


def _names(tops: Sequence[bytes]) -> dict[str, object]:
    """Return the names that were delivered: text, and the bytes beside it where one is none."""
    shown = tops[:_NAMED]
    named: dict[str, object] = {"names": [top.decode(errors="replace") for top in shown]}
    if any("names_b64" in json_path("names", top) for top in shown):
        named["names_b64"] = [base64.b64encode(top).decode() for top in shown]
    return {**named, "names_total": len(tops)}


def _out_of_the_ordinary(report: Report) -> dict[str, object]:
    """Return the first files that are not as the sender meant them to be."""
    return {
        "problems": [
            {
                **json_path("path", entry.path),
                "action": entry.outcome.value,
                "exit_code": int(entry.code),
                "reason": entry.reason,
            }
            for entry in report.problems[:_NAMED]
        ],
        "kept_both": [
            {**json_path("path", entry.path), **json_path("stored_as", entry.stored_as)}
            for entry in report.kept_both[:_NAMED]
        ],
    }
