"""``objxfer serve``."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

import click

import objxfer
from objxfer.errors import NotAllowed, ObjxferError
from objxfer_cli import options, rules, visitors
from objxfer_cli.delivery import Delivery, summed_up, tops
from objxfer_cli.signals import Interrupted
from objxfer_cli.terminal import Terminal

_DRAIN: Final = 5.0
"""Seconds that deliveries on their way get where we are asked to stop."""


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@options.listen
@options.if_exists("What happens where a different file has the name; rename keeps both.")
@options.keep_partial
@rules.peer
@rules.config
@options.key
@options.insecure
@options.json
@options.quiet
@options.verbose
@click.pass_obj
def serve(
    terminal: Terminal,
    folder: str,
    url: str,
    if_exists: str | None,
    keep_partial: float,
    named: tuple[str, ...],
    config: str | None,
    key_file: str | None,
    insecure: bool,
) -> None:
    """Keep an inbox: others may send into DIR, many at once; nobody reads it."""
    rulebook = rules.Rulebook(named, config)
    inbox: objxfer.Rules | None = None
    if rulebook:
        if insecure or key_file is not None:
            raise click.UsageError(
                "only who is named comes in: instead of --key or --insecure, --peer NAME:key=FILE"
            )
        key, (inbox, peers) = None, rulebook.set_up(terminal, folder, url)
    else:
        key = options.find_key(key_file, insecure=insecure)
        peers = options.find_peers(terminal, url, insecure=insecure)
        options.warn_of_no_key(terminal, insecure=insecure)
    rule = if_exists or "rename"
    watcher = _Watcher(terminal)
    with objxfer.serve(
        folder if inbox is None else inbox,
        url,
        key=[each for each in (key, peers) if inbox is None and each is not None] or None,
        if_exists=rule,
        keep_partial=keep_partial,
        insecure=insecure,
        watcher=watcher,
    ) as server:
        try:
            who = "others" if inbox is None else "who is named"
            terminal.notice(
                f"inbox {os.path.abspath(folder)}: {who} may send here; nobody can read or delete"
                f" (existing files: {rule})"
            )
            if inbox is not None:
                rules.say(terminal, inbox)
                rulebook.follow(terminal, inbox)
            terminal.record("listening", url=server.url)
            terminal.notice(visitors.place(server.url, server.key_id, peers, inbox))
            with visitors.findable(terminal, url, server.url, peers):
                server.wait()
        except Interrupted as interrupted:
            if interrupted.number != signal.SIGTERM:
                raise
            interrupted.put_off(2 * _DRAIN)  # cutting takes a while, too
            terminal.remark(_draining(len(terminal.underway)))
            server.close(drain=_DRAIN)


class _Watcher(objxfer.Watcher):
    """Says a line for each delivery and each refusal."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._deliveries: dict[int, _Incoming] = {}

    def refused(self, peer: str, error: ObjxferError) -> None:
        visitors.say_refused(self._terminal, peer, error, when=_now())

    def connected(self, delivery: int, connection: objxfer.Connection) -> None:
        self._deliveries[delivery] = _Incoming(self._terminal, connection, delivery)

    def progress(self, delivery: int) -> objxfer.Progress:
        return self._deliveries[delivery]

    def entry(self, delivery: int, entry: objxfer.EntryReport) -> None:
        self._deliveries[delivery].entry(entry)

    def delivered(
        self, delivery: int, connection: objxfer.Connection, report: objxfer.Report
    ) -> None:
        incoming = self._deliveries.pop(delivery)
        line = f"{_now()}{incoming.caller} {tops(report)}: {summed_up(report)}"
        incoming.finished(report, line)

    def failed(self, delivery: int, connection: objxfer.Connection, error: ObjxferError) -> None:
        incoming = self._deliveries.pop(delivery)
        if incoming.begun:
            incoming.failed(error)
        elif isinstance(error, NotAllowed):
            visitors.say_refused(
                self._terminal, connection.peer, error, when=_now(), name=connection.name
            )
        else:
            visitors.say_idle(self._terminal, connection.peer, error, when=_now())

    def ended(self, delivery: int, connection: objxfer.Connection) -> None:
        del self._deliveries[delivery]


class _Incoming(Delivery):
    """A delivery into the inbox, whose peer is worth a word only once it begins."""

    def __init__(self, terminal: Terminal, connection: objxfer.Connection, number: int) -> None:
        super().__init__(terminal, sending=False, number=number, bars=False)
        self.connection = connection

    @property
    def caller(self) -> str:
        """Who delivers: the name of a peer, and the address."""
        return visitors.caller(self.connection.peer, self.connection.name)

    @property
    def introduction(self) -> str:
        return f"{_now()}{self.caller} "

    def begin(self, tally: objxfer.Tally) -> None:
        self.connected(self.connection, self.connection.name)
        super().begin(tally)

    def entry(self, entry: objxfer.EntryReport) -> None:
        self.report.add(entry)
        super().entry(entry)


def _draining(count: int) -> str:
    if not count:
        return "draining: nothing is on its way"
    deliveries = "1 delivery has" if count == 1 else f"{count:,} deliveries have"
    return f"draining: {deliveries} {_DRAIN:g} s to be through"


def _now() -> str:
    return time.strftime("%H:%M:%S ")
