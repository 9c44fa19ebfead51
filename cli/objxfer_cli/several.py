"""``objxfer send`` to several receivers at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import BinaryIO, Final

import click

import objxfer
from objxfer import bars
from objxfer.blocking.several import Share, push_to_all
from objxfer.blocking.terms import no_key
from objxfer.errors import ObjxferError, worst
from objxfer.transports.urls import Url
from objxfer_cli import options
from objxfer_cli.delivery import Delivery, speed, summed_up
from objxfer_cli.signals import Interrupted
from objxfer_cli.terminal import Terminal

_MOST: Final = 32
"""Receivers at once: each has threads, a connection and buffers of its own."""


def send(
    terminal: Terminal,
    targets: Sequence[str],
    what: Sequence[str] | BinaryIO,
    *,
    name: str | None,
    if_exists: str | None,
    copy_links: bool,
    checksum: bool,
    retries: int | None,
    key_file: str | None,
    insecure: bool,
    timeout: float,
) -> int:
    """Deliver the same to all targets; return the exit code that stands for all of theirs.

    Args:
        terminal: where all is said.
        targets: as they were typed.
        what: paths or a stream.
        name: of a stream.
        if_exists: as ``Connection.push`` takes it; so are the next two.
        copy_links: see there.
        checksum: see there.
        retries: for each.
        key_file: the key for those that are URLs.
        insecure: use none.
        timeout: seconds of silence that end one.

    Raises:
        ObjxferError: one is no target, two are the same, or there is no key for a URL.
    """
    urls = _checked(targets)
    if not urls and (insecure or key_file is not None):
        raise click.UsageError("peers have keys of their own: --key and --insecure are for URLs")
    key = options.find_key(key_file, insecure=insecure) if urls else None
    if urls and key is None and not insecure:
        raise no_key(urls[0])
    options.warn_of_no_key(terminal, insecure=insecure)
    rows: Sequence[objxfer.Progress | None] = [None] * len(targets)
    if terminal.shows_bars:
        rows = bars.rows([target.rpartition("://")[2] for target in targets])  # room is scarce
    receivers = []
    for target, row in zip(targets, rows, strict=True):
        dial = partial(objxfer.connect, target)
        if "://" in target:
            dial = partial(dial, key=key, insecure=insecure)
        receivers.append(
            _Receiver(
                terminal,
                target,
                row,
                dial,
                name=name,
                if_exists=if_exists,
                silence=timeout,
            )
        )
    try:
        push_to_all(what, receivers, copy_links=copy_links, checksum=checksum, retries=retries)
    except Interrupted as interrupted:
        for receiver in receivers:
            receiver.interrupted(interrupted)
    return worst({code for each in receivers if (code := each.code) is not None})


def _checked(targets: Sequence[str]) -> list[str]:
    """Return those that are URLs, if all are targets and no two the same."""
    if len(targets) > _MOST:
        raise click.UsageError(f"{len(targets)} receivers are too many at once; {_MOST} are not")
    urls, seen = [], set()
    for target in targets:
        if "://" in target:
            url = Url.target(target)
            which: object = url.scheme, url.host.lower(), url.port, url.folder.strip(b"/")
            urls.append(target)
        else:
            from objxfer.blocking.reaching import Named

            named = Named.read(target)
            which = named.peer.pair.peer, named.folder.strip(b"/")
        if which in seen:
            raise click.UsageError(f"--to {target} is named twice")
        seen.add(which)
    return urls


class _Receiver:
    """One of the receivers; see ``blocking.several.Receiver``.

    Attributes:
        report: of its delivery.
        code: what the command ended with if it were alone; None while it is on its way.
    """

    def __init__(
        self,
        terminal: Terminal,
        target: str,
        row: objxfer.Progress | None,
        dial: Callable[[], objxfer.Connection],
        *,
        name: str | None,
        if_exists: str | None,
        silence: float,
    ) -> None:
        self.code: int | None = None
        self._delivery = Delivery(terminal.of(target), sending=True, bars=False, bar=row)
        self.report = self._delivery.report
        self._peer = None if "://" in target else target.partition(":")[0]
        self._dial = dial
        self._name = name
        self._if_exists = if_exists
        self._silence = silence
        self._protection = ""
        self._begun = time.monotonic()

    def connect(self) -> objxfer.Connection:
        connection = self._delivery.connected(self._dial(), self._peer)
        self._protection = "TLS" if connection.encrypted else "not encrypted"
        return connection

    def push(self, connection: objxfer.Connection, share: Share) -> objxfer.Report:
        return connection.push(
            share,
            name=self._name,
            if_exists=self._if_exists,
            progress=self._delivery,
            on_entry=self._delivery.entry,
            silence=self._silence,
            report=self.report,
        )

    def lost(self, error: ObjxferError, pause: float) -> None:
        self._delivery.lost(error, pause)

    def delivered(self, report: objxfer.Report) -> None:
        line = f"sent {summed_up(report)} ({speed(report)}{self._protection})"
        self.code = self._delivery.finished(report, line, asked=self._if_exists)

    def failed(self, error: Exception) -> None:
        self.code = self._delivery.failed(error)

    def interrupted(self, interrupted: Interrupted) -> None:
        """Say how far it is, unless it is through."""
        if self.code is None:
            self.code = self._delivery.failed(interrupted)
