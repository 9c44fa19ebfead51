"""``objxfer receive``."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any, BinaryIO

import click

import objxfer
from objxfer.blocking.retrying import LOST, patience, persist
from objxfer.errors import ExitCode, ObjxferError, Timeout
from objxfer_cli import codes, completion, options, text, visitors
from objxfer_cli.delivery import Delivery, summed_up, tops
from objxfer_cli.question import Question
from objxfer_cli.terminal import Terminal, raw

if TYPE_CHECKING:
    from objxfer.blocking.meeting import Host
    from objxfer.blocking.places import Place


@click.command()
@click.argument(
    "code",
    metavar="[CODE]",
    nargs=-1,
    callback=codes.joined,
    shell_complete=completion.codes,
)
@click.option(
    "--from",
    "sender",
    metavar="URL",
    shell_complete=completion.among("tls://"),
    help="Where the sender of the code is: tls://HOST[:PORT].",
)
@click.option("--yes", is_flag=True, help="Take what comes by a code without being asked.")
@click.option("--qr", is_flag=True, help="Show the code as a QR code, too.")
@options.listen
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="Where it lands; the current folder.",
)
@click.option("--stdout", is_flag=True, help="Write a single file, or a text, to standard output.")
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
    code: str | None,
    sender: str | None,
    yes: bool,
    qr: bool,
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
    """Take one delivery, then end.

    With the CODE that a sender shows (- asks for it) the sender is found. Without one this side
    waits: for who holds the key, and for peers, if there are any, otherwise for who types the code
    it shows. What comes by a code is taken when you say so.
    """
    if stdout and (into is not None or if_exists is not None or terminal.json):
        raise click.UsageError("--stdout goes with neither --into, --if-exists nor --json")
    if sender is not None and code is None:
        code = "-"
    if code is not None and (key_file is not None or insecure or qr or url != options.LISTEN):
        raise click.UsageError("a CODE goes with neither --key, --insecure, --qr nor --listen")
    if qr and terminal.json:
        raise click.UsageError("--qr is for people, --json for programs")
    terminal.piped = stdout
    folder = None if stdout else os.path.abspath(into or ".")
    output = _standard_output() if stdout else None
    place: Place | None = output or folder
    terms: dict[str, Any] = {
        "accepts": text.ACCEPTS,
        "limits": text.LIMITS,
        "into": place,
        "if_exists": if_exists or "rename",
        "keep_partial": keep_partial,
    }
    # What was written to standard output cannot be taken up again.
    retries = 0 if stdout else retries
    key = peers = None
    if code is None:
        key = options.find_key(key_file, insecure=insecure)
        peers = options.find_peers(terminal, url, insecure=insecure)
    if key is None and peers is None and not insecure:
        delivery = Delivery(terminal, sending=False, held=True, again=codes.AGAIN)
        question = Question(terminal, delivery, folder, yes=yes)
        taking = Taking(delivery, timeout, question, output)
        if code is not None:
            return _meet(terminal, code, sender, taking, retries, terms)
        there = "objxfer send PATH --code"
        invited = codes.Invited(terminal, url, there, "--to", qr=qr, **terms)
        with invited.host as host, delivery.told():
            return taking.wait(host, patience(retries))
    if qr:
        raise click.UsageError("--qr is for codes: with a key, a peer or --insecure none is shown")
    delivery = Delivery(terminal, sending=False)
    options.warn_of_no_key(terminal, insecure=insecure)
    with objxfer.listen(
        url,
        key=[each for each in (key, peers) if each is not None] or None,
        insecure=insecure,
        on_refused=lambda peer, error: visitors.say_refused(terminal, peer, error),
        **terms,
    ) as listener:
        where = "to standard output" if folder is None else f"into {folder}"
        terminal.record("listening", url=listener.url)
        terminal.notice(f"{visitors.place(listener.url, listener.key_id, peers)}, {where}")
        if key is None and peers is not None:
            terminal.notice("on the machine of a peer:  objxfer send PATH --to NAME")
        else:
            no_key = " --insecure" if insecure else ""
            target = options.short(listener.url)
            terminal.notice(f"on the other machine:  objxfer send PATH --to {target}{no_key}")
        with delivery.told(), visitors.findable(terminal, listener, peers):
            return Taking(delivery, timeout, None, output).wait(listener, patience(retries))


def _meet(
    terminal: Terminal,
    code: str,
    sender: str | None,
    taking: Taking,
    retries: int | None,
    terms: dict[str, Any],
) -> int:
    """Take a delivery from who shows a code; return the exit code."""
    first = codes.meet(terminal, code, sender, "--from", **terms)
    delivery = taking.delivery
    delivery.connected(first)
    with delivery.told():
        report = persist(
            first,
            lambda: delivery.connected(codes.again(first, **terms)),
            taking.take,
            report=delivery.report,
            retries=retries,
            on_lost=delivery.lost,
            in_vain=taking.in_vain,
        )
    return taking.finished(report)


def _standard_output() -> BinaryIO:
    if sys.stdout is None:
        raise click.UsageError("--stdout: there is no standard output")
    return raw(sys.stdout)


class Taking:
    """Takes one delivery.

    Args:
        delivery: follows it.
        timeout: seconds without a sign of life that end a connection.
        question: asks whether to take it, of who came by a code; None takes it.
        output: gets a text as it is; None shows it.
    """

    def __init__(
        self,
        delivery: Delivery,
        timeout: float,
        question: Question | None,
        output: BinaryIO | None,
    ) -> None:
        self.delivery = delivery
        self._timeout = timeout
        self._question = question
        self._text = text.Incoming(delivery, question, output)
        self._by_code = question is not None
        self._name: str | None = None

    def take(self, connection: objxfer.Connection) -> objxfer.Report:
        """Take it over one connection; for a text, the report says nothing."""
        if self._by_code and connection.takes_files:
            raise ObjxferError(
                "the other side takes files, too, and sends none",
                hint='one of the two runs "objxfer send PATH"',
                exit_code=ExitCode.REFUSED,
            )
        if self._by_code and codes.wants_to_pair(connection):
            raise ObjxferError(
                "the other side wants to pair, and sends nothing",
                hint='start "objxfer pair" on both, or "objxfer send PATH" there',
                exit_code=ExitCode.REFUSED,
            )
        with codes.goodbye(connection) if self._by_code else contextlib.nullcontext():
            return self._take(connection)

    def _take(self, connection: objxfer.Connection) -> objxfer.Report:
        came: object = None
        try:
            came = connection.recv(
                self._timeout,
                silence=self._timeout,
                progress=self.delivery,
                on_entry=self.delivery.entry,
                on_offer=self._question,
                on_object=self._text,
                report=self.delivery.report,
            )
        except ObjxferError:
            if self._text.taken is None:
                raise
            # It was shown: how its receipt fares changes nothing any more.
        return came if isinstance(came, objxfer.Report) else self.delivery.report

    def in_vain(self, error: ObjxferError) -> bool:
        """Tell whether who was lost cannot come back."""
        offered = bool(self.delivery.report.tops) or self._text.offered
        return self._by_code and codes.in_vain(error, offered=offered)

    def wait(self, listener: objxfer.Listener | Host, patience: float | None) -> int:
        """Take it over as many connections as it needs; return the exit code.

        Args:
            listener: where the sender comes, and comes back.
            patience: seconds for a lost sender to come back, None for ever.
        """
        delivery = self.delivery
        lost: ObjxferError | None = None
        until: float | None = None
        while True:
            try:
                connection = listener.accept(until and max(0.0, until - time.monotonic()))
            except Timeout:
                assert lost is not None
                raise lost from None
            self._name = connection.name
            delivery.connected(connection, self._name)
            report: objxfer.Report | None = None
            try:
                with connection:
                    report = self.take(connection)
            except ObjxferError as error:
                offered = delivery.begun or self._text.offered
                if report is None and not offered and not self._by_code:
                    visitors.say_idle(delivery.terminal, connection.peer, error, name=self._name)
                    continue
                if report is None:
                    if error.exit_code not in LOST or patience == 0 or self.in_vain(error):
                        raise
                    lost = error
                    until = None if patience is None else time.monotonic() + patience
                    delivery.lost(error, None)
                    continue
                # All is receipted: how the connection ends changes nothing any more.
            assert report is not None
            return self.finished(report)

    def finished(self, report: objxfer.Report) -> int:
        """Say what came of it; return the exit code."""
        caller = visitors.caller(self.delivery.peer, self._name)
        if self._text.taken is not None:
            code = self._text.finished(caller)
        else:
            line = f"received {summed_up(report)} from {caller}: {tops(report)}"
            code = self.delivery.finished(report, line)
        if self._question is not None and self._question.answered and code == ExitCode.OK:
            self.delivery.terminal.hint('"objxfer pair" and next time no code is needed')
        return code
