"""``objxfer digest``."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import BinaryIO, Final

import click

from objxfer.errors import ExitCode, FileFailed, ObjxferError, worst
from objxfer.files import scan
from objxfer.files.digest import written
from objxfer.files.entries import why
from objxfer.files.root import Root
from objxfer.files.scan import LeftOut
from objxfer.files.source import SourceFile
from objxfer_cli import completion, options, receipts
from objxfer_cli.failures import CLOSED_PIPE
from objxfer_cli.terminal import Terminal, files, json_path, listed, shown

_STANDARD_INPUT: Final = "-"
_NAMED: Final = 3


@click.command()
@click.argument("paths", metavar="PATH…", nargs=-1, shell_complete=completion.files)
@click.option(
    "-c",
    "name",
    metavar="RECEIPTS",
    shell_complete=completion.files,
    help="Check the files below PATH, or below the current folder, against these JSON lines.",
)
@options.json
@options.quiet
@options.verbose
@click.pass_obj
def digest(terminal: Terminal, paths: tuple[str, ...], name: str | None) -> int:
    """Show the digest of each file, under the path that a delivery would give it.

    With -c, check what was delivered: RECEIPTS is what send, receive or serve wrote with --json,
    or - for standard input; PATH is the folder it was delivered into, or sent from.
    """
    if name is None:
        if not paths:
            raise click.UsageError("missing argument 'PATH…'")
        return _show(terminal, paths)
    if len(paths) > 1:
        raise click.UsageError("with -c there is one PATH: the folder that was delivered into")
    folder = paths[0] if paths else "."
    if not os.path.isdir(folder):
        raise click.UsageError(f"{folder!r} is no folder")
    with _opened(name) as file:
        called = "standard input" if name == _STANDARD_INPUT else name
        return _check(terminal, file, called, folder)


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == _STANDARD_INPUT:
        if sys.stdin is None:
            raise click.UsageError("-: there is no standard input")
        yield sys.stdin.buffer
        return
    try:
        file = open(name, "rb")  # noqa: SIM115 - closed below; only its opening is a usage error
    except OSError as error:
        raise click.UsageError(f"cannot read {name!r}: {why(error)}") from error
    with file:
        yield file


class _Account:
    """Counts what was looked at, and says what was wrong, file by file."""

    def __init__(self, terminal: Terminal) -> None:
        self.good = self.failed = self.skipped = self.unchecked = 0
        self.bytes = 0
        self._terminal = terminal
        self._codes: set[int] = set()
        self._since = time.monotonic()

    def add(self, size: int) -> None:
        """Hear that all is well with a file; end the command where nobody listens."""
        self.good += 1
        self.bytes += size
        if self._terminal.unread:
            raise click.exceptions.Exit(CLOSED_PIPE)

    def fail(self, path: bytes, error: FileFailed) -> None:
        """Hear of a file that something is wrong with."""
        self.failed += 1
        self._codes.add(error.exit_code)
        said, name = str(error), shown(path)
        self._terminal.error(said if said.startswith(name) else f"{name}: {said}")
        self._terminal.record(
            "error",
            exit_code=error.exit_code,
            name=type(error).__name__,
            message=said,
            **json_path("path", path),
        )
        self._terminal.traceback(error)

    def end(self) -> int:
        """Write the last JSON line; return the exit code."""
        if self.unchecked:
            self._codes.add(ExitCode.INCOMPLETE)
        code = worst(self._codes)
        self._terminal.record(
            "summary",
            files=self.good + self.failed + self.skipped + self.unchecked,
            failed=self.failed,
            skipped=self.skipped,
            unchecked=self.unchecked,
            bytes=self.bytes,
            seconds=round(time.monotonic() - self._since, 3),
            exit_code=code,
        )
        return code


def _show(terminal: Terminal, paths: tuple[str, ...]) -> int:
    """Say the digest of every file below some paths."""
    account = _Account(terminal)
    absent: list[LeftOut] = []
    tops: list[scan.Top] = []
    with suppress(FileFailed):  # all of them are absent, and in the list
        tops = scan.tops(paths, absent)
    for found in chain(absent, scan.files(tops)):
        if isinstance(found, LeftOut):
            if found.code:
                account.fail(found.path, FileFailed(found.reason, exit_code=found.code))
            else:
                account.skipped += 1
            continue
        path = found.entry.path
        try:
            # A path named by the user may be a link.
            follow = b"/" not in path
            with SourceFile(found.location, time.time_ns(), follow=follow) as source:
                line = written(source.digest())
        except FileFailed as error:
            account.fail(path, error)
            continue
        terminal.answer(f"{line}  {shown(path)}")
        terminal.record("file", **json_path("path", path), size=source.size, digest=line)
        account.add(source.size)
    return account.end()


def _check(terminal: Terminal, file: BinaryIO, name: str, folder: str) -> int:
    """Compare what lies in a folder with the receipts for it."""
    account = _Account(terminal)
    unchecked: list[str] = []
    seen = False
    with Root(folder) as root:
        for receipt in receipts.read(file, name):
            seen = True
            if receipt.digest:
                try:
                    receipts.compare(root, receipt)
                except FileFailed as error:
                    account.fail(receipt.path, error)
                else:
                    account.add(receipt.size)
            elif receipt.action == "skipped" or (not receipt.size and receipt.action != "failed"):
                account.skipped += 1  # it was not to be delivered, or is a link: has no contents
            else:
                account.unchecked += 1
                if len(unchecked) < _NAMED:
                    unchecked.append(shown(receipt.path))
    if not seen:
        raise ObjxferError(f"{name} holds no receipts", exit_code=ExitCode.USAGE)
    parts = [f"{files(account.good)} {'matches' if account.good == 1 else 'match'}"]
    if account.failed:
        parts.append(f"{account.failed:,} {'does' if account.failed == 1 else 'do'} not")
    if account.skipped:
        parts.append(f"{account.skipped:,} skipped")
    terminal.result(", ".join(parts))
    if account.unchecked:
        named = listed(unchecked, account.unchecked, _NAMED)
        count = files(account.unchecked)
        terminal.warning(f"{count} not checked, because the receipt has no digest: {named}")
    return account.end()
