"""``objxfer doctor``."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Generator
from contextlib import closing
from typing import Final

import click

from objxfer.blocking.doctor.checks import Check, Status, conclusion
from objxfer.escapes import escaped
from objxfer_cli import completion, options
from objxfer_cli.terminal import Terminal

_MARKS: Final = {
    Status.OK: "ok",
    Status.WARNING: "warning",
    Status.FAILED: "FAILED",
    Status.NOT_REACHED: "-",
}
_NAME: Final = 10
"""Columns of the name of a check."""
_MARK: Final = 7
_NARROW: Final = 30
"""Columns of text at the least."""


@click.command()
@click.argument("target", metavar="[TARGET]", required=False, shell_complete=completion.targets)
@options.key
@options.insecure
@options.json
@options.verbose
@click.pass_obj
def doctor(terminal: Terminal, target: str | None, key_file: str | None, insecure: bool) -> int:
    """Say what keeps two machines apart, and what to do.

    Without TARGET it looks at this machine; with tls://HOST[:PORT], tcp://… or the name of a peer,
    at each step of the way there. Nothing is delivered.
    """
    if key_file is not None and insecure:
        raise click.UsageError("--key and --insecure contradict each other")
    checks: list[Check] = []
    with closing(_examine(target, key_file, insecure=insecure)) as examination:
        for check in examination:
            checks.append(check)
            _say(terminal, check)
    well = "this machine is ready" if target is None else f"a delivery reaches {target}"
    outcome = conclusion(checks, well)
    _conclude(terminal, outcome)
    return outcome.exit_code


def _examine(
    target: str | None, key_file: str | None, *, insecure: bool
) -> Generator[Check, None, None]:
    if target is None:
        from objxfer.blocking.doctor.machine import examine_machine

        yield from examine_machine(key_file=key_file, insecure=insecure)
    else:
        from objxfer.blocking.doctor.target import examine

        yield from examine(target, key_file=key_file, insecure=insecure)


def _say(terminal: Terminal, check: Check) -> None:
    terminal.record(
        "check",
        name=check.name,
        status=check.status,
        message=check.message,
        advice=check.advice or None,
    )
    name = check.name.replace("_", " ")
    _lines(terminal, f"{_MARKS[check.status]:<{_MARK}}  {name:<{_NAME}}  ", check.message)
    if check.advice:
        _lines(terminal, f"{'':<{_MARK}}  {'':<{_NAME}}  > ", check.advice)


def _conclude(terminal: Terminal, outcome: Check) -> None:
    terminal.record(
        "conclusion",
        status=outcome.status,
        message=outcome.message,
        advice=outcome.advice or None,
        exit_code=outcome.exit_code,
    )
    terminal.answer(outcome.message)
    if outcome.advice:
        _lines(terminal, "do first: ", outcome.advice)


def _lines(terminal: Terminal, begin: str, text: str) -> None:
    """Say something that is cut into lines where it is a terminal that shows it."""
    text = escaped(text)
    lines = [text]
    if sys.stdout is not None and sys.stdout.isatty():
        room = shutil.get_terminal_size().columns - len(begin)
        lines = textwrap.wrap(text, max(room, _NARROW), break_on_hyphens=False) or [text]
    for line in lines:
        terminal.answer(begin + line)
        begin = " " * len(begin)
