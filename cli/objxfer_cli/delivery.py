"""One delivery as a command follows it: bars or JSON lines on its way, words at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

import objxfer
from objxfer import EntryReport, Outcome, Progress, Report, Tally
from objxfer.bars import Ticker
from objxfer.errors import (
    ConnectionLost,
    ExitCode,
    NoSpace,
    ObjxferError,
    RefusedByPeer,
    Timeout,
)
from objxfer.files import paths
from objxfer.files.digest import written
from objxfer.transfer.report import CARRIED
from objxfer_cli import failures
from objxfer_cli.terminal import Terminal, duration, files, json_path, listed, rate, shown, size

_PROGRESS_SECONDS: Final = 1.0
_INSTANT: Final = 1e-6
_MEASURABLE: Final = 100_000
"""Bytes under which a speed says nothing."""
_KEPT_BOTH: Final = 10
"""How many files that were stored under another name are named."""


class Delivery:
    """Follows one delivery: hand it over as ``progress=``, and ``entry`` as ``on_entry=``.

    It may take several connections; tell of each with ``connected``.

    Args:
        terminal: where all is said.
        sending: whether it is ours.
        number: what goes with each JSON line, as ``delivery``, where there are several.
        bars: whether bars may be drawn.
        bar: shows it, instead of one of its own.
        held: nothing is shown of it before ``go_on``.
        again: what to do where the connection is lost for good; "" is to run it again.
    """

    def __init__(
        self,
        terminal: Terminal,
        *,
        sending: bool,
        number: int | None = None,
        bars: bool = True,
        bar: Progress | None = None,
        held: bool = False,
        again: str = "",
    ) -> None:
        self.terminal = terminal
        self.sending = sending
        self.begun = False
        self.report = Report(resumable=number is None)
        self.peer = ""
        self._called = ""
        self._held = held
        self._again = again
        self._number = {} if number is None else {"delivery": number}
        self._bar = bar or (objxfer.bar() if bars and terminal.shows_bars else None)
        self._ticker: Ticker | None = None
        self._tally = Tally()
        self._there = 0
        self._since = 0.0

    # --- on its way ---

    def begin(self, tally: Tally) -> None:
        """See ``Progress``."""
        self.begun, self._tally, self._since = True, tally, time.monotonic()
        if not self._held:
            self._show()

    def go_on(self) -> None:
        """Let it be shown from now on, if it is not yet."""
        if self._held:
            self._held, self._since = False, time.monotonic()
            self._show()

    def end(self, tally: Tally) -> None:
        """See ``Progress``."""
        if self._held:
            return
        self.terminal.underway.remove(self.tell)
        if self._ticker is not None:
            self._ticker.stop()
        if self._bar is not None:
            self._bar.end(tally)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.begin(self._tally)
        if self.terminal.json:
            self._ticker = Ticker(_PROGRESS_SECONDS, self.tell)
        self.terminal.underway.append(self.tell)

    def entry(self, entry: EntryReport) -> None:
        """Hear what became of one entry."""
        self._there += entry.durable
        if self.terminal.json:
            self._record_entry(entry)

    def tell(self) -> None:
        """Say how far it is by now."""
        tally, seconds = self._tally, max(time.monotonic() - self._since, _INSTANT)
        done, pace = tally.bytes_done, tally.bytes_done / seconds
        left = None if tally.bytes_total is None else max(0, tally.bytes_total - done)
        self.terminal.progress(
            self.introduction + how_far(tally, seconds),
            **self._number,
            bytes_done=done,
            bytes_total=tally.bytes_total,
            files_done=tally.files_done,
            files_total=tally.files_total,
            bytes_per_second=round(pace),
            eta_seconds=None if left is None or not pace else round(left / pace, 1),
        )

    @property
    def introduction(self) -> str:
        """What is said in front of how far it is."""
        return ""

    @property
    def what(self) -> str:
        """What is delivered, as far as that is known."""
        return self._tally.name

    @property
    def standing(self) -> str:
        """How far it is, as a part of a sentence."""
        if not self.begun:
            return ""
        total = self._tally.files_total
        of = f"{self._there:,} of {files(total)}" if total else files(self._there)
        verb = "is" if (total or self._there) == 1 else "are"
        return f"; {of} {verb} there, none of them half-written"

    # --- JSON lines ---

    def connected(
        self, connection: objxfer.Connection, name: str | None = None
    ) -> objxfer.Connection:
        """Hear, and write, that there is a peer: at first, and again after it was lost.

        Args:
            connection: to it.
            name: what it is called here, if it is paired.

        Returns:
            The connection.
        """
        self.peer, self.begun = connection.peer, False
        self._called = name or connection.peer
        self._record(
            "connected",
            peer=connection.peer,
            url=connection.url,
            encrypted=connection.encrypted,
            **({"name": name} if name else {}),
        )
        return connection

    def lost(self, error: ObjxferError, pause: float | None) -> None:
        """Say that the connection is lost, and in how many seconds there is another, if we call."""
        again = "waiting for it to come back" if pause is None else f"again in {pause:.0f} s"
        self.terminal.notice(f"{self._naming_peer(error)}; {again}")
        self._record("lost", message=str(error), again_in=pause and round(pause, 1))

    def record_summary(self, code: int, report: Report) -> None:
        """Write the last line of a delivery, as far as it came."""
        done = Outcome.SENT if self.sending else Outcome.RECEIVED
        self._record("summary", **figures(report, done), exit_code=int(code))

    def _record_entry(self, entry: EntryReport) -> None:
        line: dict[str, object] = {**json_path("path", entry.path), "action": entry.outcome.value}
        if entry.stored_as:
            line |= json_path("stored_as", entry.stored_as)
        if entry.reason:
            line["reason"] = entry.reason
        if entry.outcome is not Outcome.SKIPPED:
            line |= {
                "size": entry.size,
                "digest": written(entry.digest) if entry.digest else None,
                "durable": entry.durable,
            }
        self._record("file", **line)

    def _record(self, kind: str, **values: object) -> None:
        self.terminal.record(kind, **self._number, **values)

    # --- how it ended ---

    @contextmanager
    def told(self) -> Iterator[None]:
        """Say what goes wrong in the ``with`` block, and end the command with its code."""
        try:
            yield
        except BaseException as error:
            code = self.failed(error)
            raise click.exceptions.Exit(code) from error

    def failed(self, error: BaseException) -> int:
        """Say why it has failed; return the exit code."""
        if isinstance(error, ObjxferError):
            error = self._naming_peer(error)
        code = failures.say(self.terminal, error, standing=self.standing, **self._number)
        if self.begun or self.report.tops:
            self.report.seconds = self.report.seconds or time.monotonic() - self._since
            self.record_summary(code, self.report)
        return code

    def _naming_peer(self, error: ObjxferError) -> ObjxferError:
        """Return an error that says of whom it speaks."""
        if not self._called:  # nobody has answered yet, and it says who has not
            return error
        match error:
            case ConnectionLost() | RefusedByPeer(exit_code=ExitCode.CONNECTION_LOST):
                what = "lost the connection to"
            case RefusedByPeer():
                what = "refused by"
            case NoSpace(exit_code=ExitCode.PEER_NO_SPACE):
                what = "no space at"
            case Timeout():
                what = "gave up on"
            case _:
                return error
        message = f"{what} {self._called}: {error}"
        again = self._again if error.exit_code is ExitCode.CONNECTION_LOST else ""
        named = type(error)(message, hint=error.hint or again, exit_code=error.exit_code)
        named.__cause__ = error
        return named

    def finished(self, report: Report, line: str, *, asked: str | None = None) -> int:
        """Say what came of it.

        Args:
            report: of all of it.
            line: says so in short; it gets what is out of the ordinary behind it.
            asked: what ``--if-exists`` this side asked for.

        Returns:
            The exit code.
        """
        others = (Outcome.UNCHANGED, Outcome.SKIPPED, Outcome.FAILED)
        counts = [f", {report.count(one):,} {one}" for one in others if report.count(one)]
        if report.kept:
            counts.insert(0, f", {size(report.kept)} lay there already")
        if not report.exit_code or report.files > report.count(Outcome.FAILED):
            self.terminal.result(line + "".join(counts))
        for entry in report.kept_both[:_KEPT_BOTH]:
            name = shown(entry.stored_as.rpartition(b"/")[2])
            self.terminal.result(f'{self.introduction}kept both: the new one is "{name}"')
        for code in sorted(report.codes, reverse=True):
            self._say_problem(report, code, asked)
        self.record_summary(report.exit_code, report)
        return report.exit_code

    def warn(self, text: str) -> None:
        """Say that something of it is not as it should be."""
        self.terminal.warning(text)

    def complain(self, text: str, *, hint: str = "") -> None:
        """Say what of it went wrong, and what to do about it."""
        self.terminal.error(text, hint=hint)

    def _say_problem(self, report: Report, code: ExitCode, asked: str | None) -> None:
        """Say what is wrong with all entries of one exit code, in one line."""
        count = report.codes[code]
        entries = [entry for entry in report.problems if entry.code == code]
        names = listed([shown(entry.path) for entry in entries], count)
        reasons = _reasons(entries[0], count)
        peer, one = self._called, count == 1
        match code:
            case ExitCode.INCOMPLETE:
                self.warn(f"{files(count)} left out: {reasons}")
            case ExitCode.CHANGED:
                read = "it was read" if one else "they were read"
                self.warn(f"{files(count)} changed while {read}: {names}")
            case ExitCode.VANISHED:
                read = "it was read" if one else "they were read"
                self.warn(f"{files(count)} vanished before {read}: {names}")
            case ExitCode.REFUSED:
                by = f" by {peer}" if self.sending else ""
                harsh = asked and any("does not" in entry.reason for entry in entries)
                hint = f"it allows that with --if-exists {asked}" if harsh else ""
                self.complain(f"refused{by}: {reasons}", hint=hint)
            case ExitCode.PEER_NO_SPACE | ExitCode.NO_SPACE:
                at = f"at {peer}" if self.sending else "here"
                over = [one.reason for one in entries if one.reason.startswith("over the quota")]
                quota = f" ({over[-1]})" if over else ""
                self.complain(f"no space left {at} for {files(count)}: {names}{quota}")
            case ExitCode.RECEIPT_MISSING:
                self.complain(f"no durable receipt for {files(count)}: {reasons}")
            case _:
                self.complain(f"{files(count)} failed: {reasons}")


def figures(report: Report, done: Outcome) -> dict[str, object]:
    """Return a report as JSON lines have it; ``done`` is what became of what was carried anew."""
    others = (Outcome.REPLACED, Outcome.RESUMED, Outcome.UNCHANGED)
    counted = (done, *others, Outcome.SKIPPED, Outcome.FAILED)
    return {
        "files": report.files,
        **{outcome.value: report.count(outcome) for outcome in counted},
        "bytes": report.bytes,
        "bytes_on_wire": report.bytes_on_wire or None,  # not known of one that failed at serve
        "seconds": round(report.seconds, 3),
    }


def summed_up(report: Report) -> str:
    """Return how many files, how much and how long: ``1 file, 2.41 MB in 0.1 s``."""
    count = sum(map(report.count, CARRIED))
    return f"{files(count)}, {size(report.bytes)} in {duration(report.seconds)}"


def speed(report: Report) -> str:
    """Return how fast it was, with a comma behind it, if it was enough to tell."""
    return f"{rate(report.bytes, report.seconds)}, " if report.bytes >= _MEASURABLE else ""


def how_far(tally: Tally, seconds: float) -> str:
    """Return how far a delivery has come in so many seconds, as far as that is known.

    ``photos: 2.57 GB of 4.21 GB, 2,611 of 4,120 files, 104 MB/s, 16 s left, now a.jpg (48%)``
    """
    done, total = tally.bytes_done, tally.bytes_total
    count, all_files = tally.files_done, tally.files_total
    said = [size(done) if total is None else f"{size(done)} of {size(max(done, total))}"]
    if (all_files or count) > 1:
        said.append(f"{count:,} of {files(all_files)}" if all_files else files(count))
    if done:
        said.append(rate(done, seconds))
    if done and total is not None and total > done:
        said.append(f"{duration((total - done) * seconds / done)} left")
    path, path_total = tally.path, tally.path_total
    if path_total and (b"/" in path or (all_files or 1) > 1):
        said.append(f"now {shown(path)} ({100 * min(tally.path_done, path_total) // path_total}%)")
    return (f"{tally.name}: " if tally.name else "") + ", ".join(said)


def tops(report: Report) -> str:
    """Return the names that were delivered."""
    return listed([shown(top) for top in report.tops], len(report.tops))


def _reasons(first: EntryReport, count: int) -> str:
    """Return why it is so of the first of some entries, and how many more there are.

    The path stands in front, where the reason does not begin with it.
    """
    path, reason = paths.shown(first.path), first.reason  # as reasons hold it
    why = reason if reason.startswith(path) else f"{path}: {reason or first.outcome}"
    more = count - 1
    return f"{why}; and {more:,} more {'entry' if more == 1 else 'entries'}" if more else why
