"""``objxfer serve``."""

from __future__ import annotations

import os
import signal
import time
from typing import Final
from weakref import WeakSet

import click

import objxfer
from objxfer.errors import ConnectionClosed, ConnectionLost, NotAllowed, ObjxferError
from objxfer_cli import events, failures, options, rules, visitors
from objxfer_cli.counts import Counts
from objxfer_cli.delivery import Delivery, summed_up, tops
from objxfer_cli.oversight import Oversight
from objxfer_cli.signals import Interrupted
from objxfer_cli.systemd import passed_sockets
from objxfer_cli.terminal import Terminal, json_path

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
@click.option(
    "--metrics",
    metavar="FILE",
    type=click.Path(),
    help="Keep metrics in FILE, for a Prometheus exporter's textfile collector.",
)
@options.log_json
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
    metrics: str | None,
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
    counts = Counts()
    watcher = _Watcher(terminal, counts)
    with (
        Oversight(terminal, counts, metrics) as oversight,
        objxfer.serve(
            folder if inbox is None else inbox,
            url,
            key=[each for each in (key, peers) if inbox is None and each is not None] or None,
            if_exists=rule,
            keep_partial=keep_partial,
            insecure=insecure,
            watcher=watcher,
            sockets=passed_sockets(),
        ) as server,
    ):
        try:
            named_only: dict[str, object] = {}
            if inbox is not None:
                rulebook.follow(terminal, inbox, oversight.manager.reloading)
                named_only = {"peers": [grant.name for grant in inbox.grants]}
            oversight.listening(
                server.url,
                **json_path("folder", os.fsencode(os.path.abspath(folder))),
                if_exists=rule,
                key=server.key_id,
                version=objxfer.__version__,
                **named_only,
            )
            who = "others" if inbox is None else "who is named"
            terminal.notice(
                f"inbox {os.path.abspath(folder)}: {who} may send here; nobody can read or delete"
                f" (existing files: {rule})"
            )
            if inbox is not None:
                rules.say(terminal, inbox)
            terminal.record("listening", url=server.url)
            terminal.notice(visitors.place(server.url, server.key_id, peers, inbox))
            with visitors.findable(terminal, server, peers):
                server.wait()
        except Interrupted as interrupted:
            if interrupted.number != signal.SIGTERM:
                raise
            interrupted.put_off(2 * _DRAIN)  # cutting takes a while, too
            terminal.remark(_draining(len(terminal.underway)))
            oversight.draining(_DRAIN)
            server.close(drain=_DRAIN)


class _Watcher(objxfer.Watcher):
    """Says a line for each delivery and each refusal."""

    def __init__(self, terminal: Terminal, counts: Counts) -> None:
        self._terminal = terminal
        self._counts = counts
        self._deliveries: dict[int, _Incoming] = {}
        self._heard: WeakSet[objxfer.Connection] = WeakSet()  # of whom a delivery was told of

    def refused(self, peer: str, error: ObjxferError) -> None:
        visitors.say_refused(self._terminal, peer, error, when=_now())
        self._counts.refuse(error.exit_code)

    def connected(self, delivery: int, connection: objxfer.Connection) -> None:
        self._deliveries[delivery] = _Incoming(self._terminal, connection, delivery, self._counts)
        self._counts.connect(1)

    def progress(self, delivery: int) -> objxfer.Progress:
        return self._deliveries[delivery]

    def entry(self, delivery: int, entry: objxfer.EntryReport) -> None:
        self._deliveries[delivery].entry(entry)

    def delivered(
        self, delivery: int, connection: objxfer.Connection, report: objxfer.Report
    ) -> None:
        incoming = self._gone(delivery)
        self._heard.add(connection)
        line = f"{_now()}{incoming.caller} {tops(report)}: {summed_up(report)}"
        incoming.finished(report, line)

    def failed(self, delivery: int, connection: objxfer.Connection, error: ObjxferError) -> None:
        incoming = self._gone(delivery)
        if not incoming.begun and connection in self._heard and isinstance(error, ConnectionLost):
            return  # whose delivery was refused gives the connection up: all is said of that
        self._heard.add(connection)
        if incoming.begun:
            incoming.cut_short(error)
        elif isinstance(error, NotAllowed):
            incoming.turned_away(error)
        else:
            incoming.not_begun(error)

    def ended(self, delivery: int, connection: objxfer.Connection) -> None:
        self._gone(delivery)

    def _gone(self, delivery: int) -> _Incoming:
        self._counts.connect(-1)
        return self._deliveries.pop(delivery)


class _Incoming(Delivery):
    """A delivery into the inbox, whose peer is worth a word only once it begins."""

    def __init__(
        self, terminal: Terminal, connection: objxfer.Connection, number: int, counts: Counts
    ) -> None:
        super().__init__(terminal, sending=False, number=number, bars=False)
        self.connection = connection
        self._counts = counts

    @property
    def caller(self) -> str:
        """Who delivers: the name of a peer, and the address."""
        return visitors.caller(self.connection.peer, self.connection.name)

    @property
    def introduction(self) -> str:
        return f"{_now()}{self.caller} "

    def begin(self, tally: objxfer.Tally) -> None:
        self.connected(self.connection, self.connection.name)
        self._counts.begin(1)
        super().begin(tally)

    def end(self, tally: objxfer.Tally) -> None:
        super().end(tally)
        self._counts.begin(-1)

    def entry(self, entry: objxfer.EntryReport) -> None:
        self.report.add(entry)
        self._counts.entry(self.connection.name or "", entry)
        super().entry(entry)

    def warn(self, text: str) -> None:
        self.terminal.visitor(f"{self.introduction}{text}")

    def complain(self, text: str, *, hint: str = "") -> None:
        self.warn(text)  # whoever reads the log can follow no hint: the sender has got it

    def finished(self, report: objxfer.Report, line: str, *, asked: str | None = None) -> int:
        code = super().finished(report, line, asked=asked)
        self._event("delivery", **events.through(report))
        self._counts.end(self.connection.name or "", report.exit_code, report.seconds)
        return code

    def cut_short(self, error: ObjxferError) -> None:
        """Say that it has failed on its way, and how far it came."""
        self.warn(f"{self.what} failed: {error}{self.standing}")
        message = str(self._naming_peer(error))
        failures.record(self.terminal, error, error.exit_code, message, **self._number)
        self.terminal.traceback(error)
        self.report.seconds = time.monotonic() - self._since
        self.record_summary(error.exit_code, self.report)
        self._failed(error)

    def turned_away(self, error: ObjxferError) -> None:
        """Say that whoever came may not deliver."""
        peer, name = self.connection.peer, self.connection.name
        visitors.say_refused(self.terminal, peer, error, when=_now(), name=name)
        self._counts.refuse(error.exit_code)

    def not_begun(self, error: ObjxferError) -> None:
        """Say that it has failed before anything of it came, or that nobody meant to deliver."""
        peer, name = self.connection.peer, self.connection.name
        visitors.say_idle(self.terminal, peer, error, when=_now(), name=name)
        if isinstance(error, ConnectionClosed):
            self._event("idle", **events.reason(error, str(error)))
        else:
            self._failed(error)

    def _failed(self, error: ObjxferError) -> None:
        self._event("failed", **events.cut_short(self.report, self.what, error))
        self._counts.end(self.connection.name or "", error.exit_code)

    def _event(self, kind: str, **values: object) -> None:
        came = events.comer(self.connection)
        self.terminal.event(kind, **self._number, **came, **values)


def _draining(count: int) -> str:
    if not count:
        return "draining: nothing is on its way"
    deliveries = "1 delivery has" if count == 1 else f"{count:,} deliveries have"
    return f"draining: {deliveries} {_DRAIN:g} s to be through"


def _now() -> str:
    return time.strftime("%H:%M:%S ")
