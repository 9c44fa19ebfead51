"""``objxfer receive``."""

from __future__ import annotations

import os
import sys

import click

import objxfer
from objxfer.blocking.places import Place
from objxfer.errors import ObjxferError
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
    options.warn_of_no_key(terminal, insecure=insecure)
    with objxfer.listen(
        url,
        key=key,
        accepts=(),
        into=place,
        if_exists=if_exists or "rename",
        insecure=insecure,
        on_refused=lambda peer, error: visitors.say_refused(
            terminal, peer, error, key.id if key else None
        ),
    ) as listener:
        where = "to standard output" if stdout else f"into {folder}"
        terminal.record("listening", url=listener.url)
        terminal.notice(f"{visitors.place(listener.url, listener.key_id)}, {where}")
        target = listener.url.removesuffix(f":{DEFAULT_PORT}")
        no_key = " --insecure" if insecure else ""
        terminal.notice(f"on the other machine:  objxfer send PATH --to {target}{no_key}")
        while True:
            code = _take(terminal, listener.accept(), timeout)
            if code is not None:
                return code


def _take(terminal: Terminal, connection: objxfer.Connection, timeout: float) -> int | None:
    """Take the delivery of one peer; None where it did not begin any."""
    delivery = Delivery(terminal, connection, sending=False)
    delivery.record_connected()
    report: objxfer.Report | None = None
    with delivery.told():
        try:
            with connection:
                report = connection.recv(
                    timeout, silence=timeout, progress=delivery, on_entry=delivery.entry
                )
        except ObjxferError as error:
            if not delivery.begun:
                visitors.say_idle(terminal, connection.peer, error)
                return None
            if report is None:
                raise
            # All is receipted: how the connection ends changes nothing any more.
    assert report is not None
    line = f"received {summed_up(report)} from {connection.peer}: {tops(report)}"
    return delivery.finished(report, line)
