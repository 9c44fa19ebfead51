"""``objxfer send``."""

from __future__ import annotations

import sys

import click

import objxfer
from objxfer.blocking.retrying import persist
from objxfer_cli import options
from objxfer_cli.delivery import Delivery, speed, summed_up
from objxfer_cli.terminal import Terminal

_STANDARD_INPUT = "-"


@click.command()
@click.argument("paths", metavar="PATH…", nargs=-1, required=True)
@click.option(
    "--to",
    "target",
    metavar="TARGET",
    required=True,
    help="tls://HOST[:PORT][/FOLDER], tcp://…, or a peer: NAME[:FOLDER]",
)
@click.option("--name", metavar="NAME", help='What standard input is called there; "stdin".')
@options.if_exists("Ask the receiver for a milder rule than its own for names that are taken.")
@click.option("--copy-links", is_flag=True, help="Send what links point to.")
@click.option("--checksum", is_flag=True, help="Compare files there by contents, not by time.")
@options.retry(
    "Try a lost connection again so often in a row, each time later; 14 take five minutes."
)
@options.key
@options.insecure
@options.timeout
@options.json
@options.quiet
@options.verbose
@click.pass_obj
def send(
    terminal: Terminal,
    paths: tuple[str, ...],
    target: str,
    name: str | None,
    if_exists: str | None,
    copy_links: bool,
    checksum: bool,
    retries: int | None,
    key_file: str | None,
    insecure: bool,
    timeout: float,
) -> int:
    """Deliver files and folders, each under its last name, and wait for the receipts.

    A PATH of - is standard input.
    """
    piped = _STANDARD_INPUT in paths
    if piped and len(paths) > 1:
        raise click.UsageError("- is standard input, and is sent alone")
    if piped and sys.stdin is None:
        raise click.UsageError("-: there is no standard input")
    if name is not None and not piped:
        raise click.UsageError("--name is for standard input; a file keeps its name")
    if name is not None and (not name or "/" in name or name in (".", "..")):
        raise click.UsageError(f"--name {name!r} is no name of a file")
    if checksum and piped:
        raise click.UsageError("--checksum is for files; of standard input nothing lies there")
    if checksum and insecure:
        raise click.UsageError("--checksum needs a key: a receiver compares for nobody else")
    peer = "" if "://" in target else target.partition(":")[0]
    if (insecure or key_file is not None) and objxfer.peers().find(peer) is not None:
        raise click.UsageError(f"{peer} has a key of its own: --key and --insecure are for URLs")
    key = None if peer else options.find_key(key_file, insecure=insecure)
    options.warn_of_no_key(terminal, insecure=insecure)
    delivery = Delivery(terminal, sending=True)

    def dial() -> objxfer.Connection:
        connection = objxfer.connect(target, key=key, insecure=insecure)
        delivery.connected(connection, peer)
        return connection

    def deliver(connection: objxfer.Connection) -> objxfer.Report:
        return connection.push(
            sys.stdin.buffer if piped else paths,
            name=(name or "stdin") if piped else None,
            if_exists=if_exists,
            copy_links=copy_links,
            checksum=checksum,
            progress=delivery,
            on_entry=delivery.entry,
            silence=timeout,
            report=delivery.report,
        )

    connection = dial()
    with delivery.told():
        report = persist(
            connection,
            dial,
            deliver,
            report=delivery.report,
            retries=0 if piped else retries,  # what was read of a pipe is gone
            on_lost=delivery.lost,
        )
    protection = "TLS" if connection.encrypted else "not encrypted"
    line = f"sent {summed_up(report)} ({speed(report)}{protection}, {peer or connection.peer})"
    return delivery.finished(report, line, asked=if_exists)
