"""``objxfer receive``."""

from __future__ import annotations

import os
import sys
import time

import click

import objxfer
from objxfer.blocking.places import Place
from objxfer.blocking.retrying import LOST, patience
from objxfer.errors import ObjxferError, Timeout
from objxfer.security.peers import Peers
from objxfer.transports.urls import DEFAULT_PORT
from objxfer_cli import options, visitors
from objxfer_cli.delivery import Delivery, summed_up, tops
from objxfer_cli.terminal import Terminal


@click.command()
@options.listen
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="Where it lands; the current folder.",
)
@click.option("--stdout", is_flag=True, help="Write a single file to standard output.")
@options.if_exists("What happens where a different file has the name; rename keeps both.")
@options.keep_partial
@options.retry("Wait for a lost sender about as long as it tries so often; 14 are five minutes.")
@options.key
@options.insecure
@options.timeout
@options.json
@options.quiet
@options.verbose
@click.pass_obj
def receive(
    terminal: Terminal,
    url: str,
    into: str | None,
    stdout: bool,
    if_exists: str | None,
    keep_partial: float,
    retries: int | None,
    key_file: str | None,
    insecure: bool,
    timeout: float,
) -> int:
    """Take one delivery, then end."""
    if stdout and (into is not None or if_exists is not None or terminal.json):
        raise click.UsageError("--stdout goes with neither --into, --if-exists nor --json")
    terminal.piped = stdout
    folder = os.path.abspath(into or ".")
    place: Place = folder
    if stdout:
        if sys.stdout is None:
            raise click.UsageError("--stdout: there is no standard output")
        place = open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)  # noqa: SIM115 - stays open
    key = options.find_key(key_file, insecure=insecure)
    peers = options.find_peers(terminal, url, insecure=insecure)
    options.warn_of_no_key(terminal, insecure=insecure)
    with objxfer.listen(
        url,
        key=[each for each in (key, peers) if each is not None] or None,
        accepts=(),
        into=place,
        if_exists=if_exists or "rename",
        keep_partial=keep_partial,
        insecure=insecure,
        on_refused=lambda peer, error: visitors.say_refused(terminal, peer, error),
    ) as listener:
        where = "to standard output" if stdout else f"into {folder}"
        terminal.record("listening", url=listener.url)
        terminal.notice(f"{visitors.place(listener.url, listener.key_id, peers)}, {where}")
        if key is None and peers is not None:
            terminal.notice("on the machine of a peer:  objxfer send PATH --to NAME")
        else:
            target = listener.url.removesuffix(f":{DEFAULT_PORT}")
            no_key = " --insecure" if insecure else ""
            terminal.notice(f"on the other machine:  objxfer send PATH --to {target}{no_key}")
        delivery = Delivery(terminal, sending=False)
        # What was written to standard output cannot be taken up again.
        wait = 0.0 if stdout else patience(retries)
        with delivery.told(), visitors.findable(terminal, url, listener.url, peers):
            return _take(listener, delivery, timeout, wait, peers)


def _take(
    listener: objxfer.Listener,
    delivery: Delivery,
    timeout: float,
    wait: float | None,
    peers: Peers | None,
) -> int:
    """Take one delivery, over as many connections as it needs; return the exit code.

    Args:
        listener: where the sender comes, and comes back.
        delivery: follows it.
        timeout: seconds without a sign of life that end a connection.
        wait: seconds for a lost sender to come back, None for ever.
        peers: those who are let in besides who holds the key.
    """
    lost: ObjxferError | None = None
    until: float | None = None
    while True:
        try:
            connection = listener.accept(until and max(0.0, until - time.monotonic()))
        except Timeout:
            assert lost is not None
            raise lost from None
        name = visitors.name_of(connection, peers)
        delivery.connected(connection, name)
        report: objxfer.Report | None = None
        try:
            with connection:
                report = connection.recv(
                    timeout,
                    silence=timeout,
                    progress=delivery,
                    on_entry=delivery.entry,
                    report=delivery.report,
                )
        except ObjxferError as error:
            if report is None and not delivery.begun:
                visitors.say_idle(delivery.terminal, connection.peer, error)
                continue
            if report is None:
                if error.exit_code not in LOST or wait == 0:
                    raise
                lost = error
                until = None if wait is None else time.monotonic() + wait
                delivery.lost(error, None)
                continue
            # All is receipted: how the connection ends changes nothing any more.
        assert report is not None
        caller = visitors.caller(connection.peer, name)
        line = f"received {summed_up(report)} from {caller}: {tops(report)}"
        return delivery.finished(report, line)
