"""``objxfer send``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

import click

import objxfer
from objxfer.blocking.retrying import OnLost, persist
from objxfer.files import scan
from objxfer_cli import codes, completion, options, text
from objxfer_cli.delivery import Delivery, speed, summed_up
from objxfer_cli.terminal import Terminal

_STANDARD_INPUT: Final = "-"
_COUNTING: Final = 5.0
"""Seconds in which a folder is counted for who is asked to take it."""
_COME_BACK: Final = 30.0
"""Seconds that one attempt waits for a receiver that was lost."""


@click.command()
@click.argument("paths", metavar="(PATH… | --text TEXT)", nargs=-1, shell_complete=completion.files)
@click.option(
    "--to",
    "targets",
    metavar="TARGET",
    multiple=True,
    shell_complete=completion.targets,
    help="tls://HOST[:PORT][/FOLDER], tcp://…, or a peer: NAME[:FOLDER]; again for each of several",
)
@click.option(
    "--code",
    metavar="CODE",
    shell_complete=completion.codes,
    help="The code that the receiver shows; - asks for it.",
)
@click.option("--qr", is_flag=True, help="Show the code as a QR code, too.")
@options.listen
@click.option(
    "--text",
    "given",
    metavar="TEXT",
    help="Send a text in place of files, to be shown there; - reads it.",
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
    targets: tuple[str, ...],
    code: str | None,
    qr: bool,
    url: str,
    given: str | None,
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

    A PATH of - is standard input. Without --to and --code, a code is shown that the receiver types
    once; a key is of use with --to alone. With several --to, all get it at once. A --text is shown
    there; others on this machine can see it among the arguments, unless it is - for standard input.
    """
    target = targets[0] if targets else None
    if given is None and not paths:
        raise click.UsageError("missing argument 'PATH…', or option '--text'")
    if given is not None and (paths or name is not None or if_exists or copy_links or checksum):
        raise click.UsageError(
            "--text goes with neither PATH, --name, --if-exists, --copy-links nor --checksum"
        )
    if given is not None and len(targets) > 1:
        raise click.UsageError("--text is for one receiver, and so goes with one --to")
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
    if len(targets) > 1 and code is not None:
        raise click.UsageError("--code is for one receiver, and so goes with one --to")
    by_code = target is None or code is not None
    if by_code and (key_file is not None or insecure):
        raise click.UsageError("--key and --insecure go with --to, and a code needs neither")
    if (qr or url != options.LISTEN) and (target is not None or code is not None):
        raise click.UsageError(
            "--qr and --listen are for who shows a code: without --to and --code"
        )
    if qr and terminal.json:
        raise click.UsageError("--qr is for people, --json for programs")
    if (piped or given == _STANDARD_INPUT) and code == _STANDARD_INPUT:
        raise click.UsageError("- is either what is sent or the code")
    if (by_code or len(targets) > 1) and not piped and given is None:
        scan.tops(paths, [])  # what cannot be sent is said before anybody is called
    if len(targets) > 1:
        from objxfer_cli import several

        return several.send(
            terminal,
            targets,
            sys.stdin.buffer if piped else paths,
            name=(name or "stdin") if piped else None,
            if_exists=if_exists,
            copy_links=copy_links,
            checksum=checksum,
            retries=retries,
            key_file=key_file,
            insecure=insecure,
            timeout=timeout,
        )
    peer = "" if by_code or target is None or "://" in target else target.partition(":")[0]
    if peer and (insecure or key_file is not None) and objxfer.peers().find(peer) is not None:
        raise click.UsageError(f"{peer} has a key of its own: --key and --insecure are for URLs")
    said = None if given is None else text.read(terminal, given, target)
    again = text.AGAIN if said is not None else codes.AGAIN if by_code else ""
    delivery = Delivery(terminal, sending=True, again=again)

    def push(connection: objxfer.Connection) -> objxfer.Report:
        if said is not None:
            text.send(connection, said, timeout)
            return delivery.report
        return connection.push(
            sys.stdin.buffer if piped else paths,
            name=(name or "stdin") if piped else None,
            if_exists=if_exists,
            copy_links=copy_links,
            checksum=checksum,
            count=_COUNTING if by_code else 0.0,
            progress=delivery,
            on_entry=delivery.entry,
            silence=timeout,
            report=delivery.report,
        )

    def push_by_code(connection: objxfer.Connection) -> objxfer.Report:
        if not connection.takes_files:  # said here, for it may be gone by now
            what = "files" if said is None else "text"
            raise objxfer.RefusedByPeer(
                f"it takes no {what}", hint='one of the two runs "objxfer receive"'
            )
        with codes.goodbye(connection):
            return push(connection)

    with ExitStack() as at_end:
        dial: Callable[[], objxfer.Connection]
        on_lost: OnLost = delivery.lost
        if code is not None:
            first = codes.meet(terminal, code, target, "--to", accepts=())
            dial = partial(codes.again, first, target, accepts=())
        elif target is None:
            invited = codes.Invited(terminal, url, "objxfer receive", "--from", qr=qr, accepts=())
            host = at_end.enter_context(invited.host)
            first = host.accept()
            dial = partial(host.accept, _COME_BACK)
            on_lost = lambda error, _: delivery.lost(error, None)  # noqa: E731
        else:
            key = None if peer else options.find_key(key_file, insecure=insecure)
            options.warn_of_no_key(terminal, insecure=insecure)
            dial = partial(objxfer.connect, target, key=key, insecure=insecure)
            first = dial()
        delivery.connected(first, peer)
        with delivery.told():
            report = persist(
                first,
                lambda: delivery.connected(dial(), peer),
                push_by_code if by_code else push,
                report=delivery.report,
                # What was read of a pipe is gone. A text might be shown twice, where it is not
                # by the code that it comes to the same command again.
                retries=0 if piped or (said is not None and not by_code) else retries,
                on_lost=on_lost,
                in_vain=lambda error: (
                    by_code
                    and codes.in_vain(error, offered=said is not None or bool(delivery.report.tops))
                ),
            )
    protection = "TLS" if first.encrypted else "not encrypted"
    if said is not None:
        return text.sent(terminal, said, f"{protection}, {peer or delivery.peer}")
    line = f"sent {summed_up(report)} ({speed(report)}{protection}, {peer or delivery.peer})"
    return delivery.finished(report, line, asked=if_exists)
