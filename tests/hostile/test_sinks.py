"""Strings of a peer, and all the ways in which they come out: nothing in them acts on a terminal.

A new way out is one line in ``SINKS``; a new string is one in ``STRINGS``.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from typing import Final, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from objxfer import EntryReport, Outcome, Report, Tally, bars
from objxfer.blocking.pairing import NAMELESS
from objxfer.discovery import names as discovered
from objxfer.errors import (
    ConnectionLost,
    ExitCode,
    ObjxferError,
    ProtocolMismatch,
    RefusedByPeer,
    WrongKey,
)
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.protocol.messages import Abort
from objxfer.protocol.trees import Offer
from objxfer.security.keys import Key
from objxfer.security.pairing import Pair
from objxfer.security.peerfiles import Peer, fitting
from objxfer.transfer.exchange import _aborted
from objxfer_cli import failures, peers, visitors
from objxfer_cli.counts import Counts
from objxfer_cli.delivery import Delivery, how_far, tops
from objxfer_cli.metrics import exposition
from objxfer_cli.question import Question
from objxfer_cli.terminal import Terminal, json_path, shown
from support.handshakes import hello, server

BEGIN, END = "<<<", ">>>"
"""Stand around each string, so that it shows where a line was broken."""


def control(numbers: range) -> str:
    return "".join(map(chr, numbers))


STRINGS: Final = {
    "C0": control(range(0x20)),
    "DEL and C1": control(range(0x7F, 0xA0)),
    "clears the screen": "\x1b[2J\x1b[H",
    "8-bit CSI": "\x9b31m",
    "title": "\x1b]0;owned\x07",
    "8-bit OSC": "\x9d0;owned\x9c",
    "link": "\x1b]8;;http://example.org\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "device status": '\x1b[6n\x1b[c\x1bP$q"p\x1b\\',
    "newline": "\nobjxfer: error: this is no line of ours\n",
    "CR": "\rreceived 1 file",
    "vertical": "\x0b\x0c\x85\u2028\u2029",
    "backspaces": "\x08" * 20 + "owned",
    "right to left": "\u202egpj.exe\u202c\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
    "not to be seen": "\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\U000e0041",
    "other spaces": "\u00a0\u2007\u3000\u1680",
    "surrogates": "\ud800\udfff\udbff",
    "no UTF-8": b"\xff\xfe\x80\xed\xa0\x80".decode("utf-8", "surrogateescape"),
    "private and unassigned": "\ue000\U0010ffff\uffff\u0378",
    "very long": "x" * 20_000,
    "very long and worse": "\x1b[31m" * 2_000,
    "tqdm and %": "{postfix} %s %(name)s {0} {bar}",
    "rich": "[bold red]owned[/] <b>owned</b>",
}

hostile: Final = st.text(
    st.characters(exclude_categories=["Ll", "Lu", "Lo", "Nd"])
    | st.sampled_from("\x1b\n\r\x9b\u202e"),
    max_size=40,
)
"""Strings of what is no letter."""


class Sink(NamedTuple):
    """A way out: given a terminal and a string of a peer, it says something."""

    say: Callable[[Terminal, str], object]
    json: bool = False
    """With ``--json``."""
    verbosity: int = 0
    logs: bool = False
    """With ``--log-json``."""
    lines: bool = False
    """Whether what is said has several lines by its nature: a traceback."""


def raw(text: str) -> bytes:
    """A path as it comes over the wire."""
    return text.encode("utf-8", "surrogatepass")


def raised(text: str) -> ObjxferError:
    """An error of a peer's that has a cause."""
    try:
        try:
            raise LookupError(text)
        except LookupError as error:
            raise RefusedByPeer(text, hint=text) from error
    except RefusedByPeer as error:
        return error


# --- what says it ---


def logged(level: int) -> Callable[[Terminal, str], None]:
    return lambda _, text: logging.getLogger("objxfer").log(level, "%s", text)


def logged_with_traceback(_: Terminal, text: str) -> None:
    logging.getLogger("objxfer").error("%s", text, exc_info=raised(text))


def logged_elsewhere(_: Terminal, text: str) -> None:
    """By a package that reads what the network says."""
    logging.getLogger("zeroconf").warning("Exception while unpacking %s", text)


def delivered(terminal: Terminal, text: str) -> None:
    path = raw(text)
    report = Report()
    report.tops = (path,)
    for outcome, code in (
        (Outcome.RECEIVED, ExitCode.OK),
        (Outcome.FAILED, ExitCode.FAILED),
        (Outcome.FAILED, ExitCode.REFUSED),
        (Outcome.FAILED, ExitCode.NO_SPACE),
        (Outcome.FAILED, ExitCode.RECEIPT_MISSING),
        (Outcome.FAILED, ExitCode.CHANGED),
        (Outcome.FAILED, ExitCode.VANISHED),
        (Outcome.SKIPPED, ExitCode.INCOMPLETE),
    ):
        entry = EntryReport(path, outcome, 1, stored_as=path + b" (1)", code=code, reason=text)
        report.add(entry)
    delivery = Delivery(terminal, sending=False, bars=False)
    for entry in report.problems:
        delivery.entry(entry)
    delivery.finished(report, f"received from here: {tops(report)}", asked="replace")


def failed(terminal: Terminal, text: str) -> None:
    delivery = Delivery(terminal, sending=True, bars=False)
    for error in (RefusedByPeer(text), ConnectionLost(text), raised(text), LookupError(text)):
        delivery.failed(error)
    delivery.lost(ConnectionLost(text), 1.0)


def offered(terminal: Terminal, text: str) -> None:
    delivery = Delivery(terminal, sending=False, bars=False, held=True)
    question = Question(terminal, delivery, "/", yes=True)
    path = raw(text)
    question(Offer((path, path), path, None, 3, 3), lambda: False)
    question(Offer((path,), b"", None, 1, 1), lambda: False)
    delivery.end(Tally())


def on_its_way(terminal: Terminal, text: str) -> None:
    path = raw(text)
    tally = Tally(name=shown(path), path=b"a/" + path, path_total=9, files_total=3)
    terminal.progress(how_far(tally, 1.0), name=text)


def drawn(terminal: Terminal, text: str) -> None:
    """The name beside a bar."""
    terminal.visitor(bars._short(text))
    sys.stderr.write(bars._short(text) + "\n")


def listed(terminal: Terminal, text: str) -> None:
    """A peer that proposed its name."""
    pair = Pair(Key.from_bytes(bytes(range(32))), b"o" * 16, b"p" * 16)
    name = fitting(text, NAMELESS)
    assert name.isprintable()
    peer = Peer(name, pair, datetime(2026, 5, 4, tzinfo=UTC), "10.0.0.1", ("tls://10.0.0.1:6259",))
    terminal.answer(f"{peer.name}  {peers._described(peer)}")
    terminal.record("peer", **peers.facts(peer))
    terminal.result(f"paired with 10.0.0.1: {peer.name}")


def named_by_hand(terminal: Terminal, text: str) -> None:
    """A name of a peer that no check has seen."""
    terminal.result(visitors.caller("10.0.0.1", text))
    terminal.record("connected", name=text)


def announced(terminal: Terminal, text: str) -> None:
    """The name of a service, as mDNS carries it."""
    instance = discovered.instance_of(f"{text}.{discovered.SERVICE}")
    if instance is not None:
        terminal.visitor(instance)
    discovered.peer_id_in(b"\x10" + raw(text)[:16])


def aborted(terminal: Terminal, text: str) -> None:
    error = _aborted(Abort(ExitCode.REFUSED, raw(text), text))
    assert str(error).isprintable()
    failures.say(terminal, error)


def greeted(terminal: Terminal, text: str) -> None:
    """What a hello says of its sender, where the two do not fit."""
    said = text.encode("ascii", "replace").decode()[:1000]
    own = Hello(Role.CLIENT, Mode.KEY, b"n" * 32, b"p" * 16, key_id=bytes(4), python=said)
    with pytest.raises(ProtocolMismatch) as caught:
        server(hello(Role.SERVER, versions=(2, 2))).receive(own.pack())
    visitors.say_refused(terminal, "10.0.0.1", caught.value)


def turned_away(terminal: Terminal, text: str) -> None:
    for error in (WrongKey(text), ProtocolMismatch(text, hint=text), raised(text)):
        visitors.say_refused(terminal, "10.0.0.1", error, when="12:00:00 ")
        visitors.say_idle(terminal, "10.0.0.1", error)


def recorded(terminal: Terminal, text: str) -> None:
    terminal.record("file", **json_path("path", raw(text)), reason=text, names=[text])


def happened(terminal: Terminal, text: str) -> None:
    terminal.event("delivery", what=text, names=[text], problems=[{"path": text}])


def counted(_: Terminal, text: str) -> None:
    counts = Counts()
    counts.end(text, ExitCode.OK, 1.0)
    sys.stdout.write(exposition(counts, up=True))


WORDS: Final[dict[str, Callable[[Terminal, str], object]]] = {
    "result": Terminal.result,
    "answer": Terminal.answer,
    "notice": Terminal.notice,
    "needed": Terminal.needed,
    "visitor": Terminal.visitor,
    "remark": Terminal.remark,
    "hint": Terminal.hint,
    "warning": Terminal.warning,
    "error": lambda terminal, text: terminal.error(text, hint=text),
    "interrupted": Terminal.interrupted,
    "progress": Terminal.progress,
    "prompt": lambda terminal, text: terminal.ask(text, lambda: True),
    "of": lambda terminal, text: terminal.of(text).warning(text),
    "a delivery": delivered,
    "a failure": failed,
    "an offer": offered,
    "on its way": on_its_way,
    "a bar": drawn,
    "peers": listed,
    "a peer's name": named_by_hand,
    "mDNS": announced,
    "an abort": aborted,
    "a hello": greeted,
    "refused": turned_away,
    "log": logged(logging.WARNING),
    "log of others": logged_elsewhere,
}
SINKS: Final = {
    **{name: Sink(say) for name, say in WORDS.items()},
    **{f"{name}, JSON": Sink(say, json=True) for name, say in WORDS.items()},
    # Where a log is kept, nothing is drawn or asked.
    **{
        f"{name}, log": Sink(say, logs=True)
        for name, say in WORDS.items()
        if name not in ("a bar", "prompt")
    },
    "event": Sink(happened, logs=True),
    "metrics": Sink(counted),
    "JSON": Sink(recorded, json=True),
    "log -v": Sink(logged(logging.INFO), verbosity=1),
    "log -vv": Sink(logged(logging.DEBUG), verbosity=2),
    "log with a traceback": Sink(logged_with_traceback, lines=True),
    "log with a traceback, -vv": Sink(logged_with_traceback, verbosity=2, lines=True),
    "a failure, -vv": Sink(failed, verbosity=2, lines=True),
    "traceback": Sink(
        lambda terminal, text: terminal.traceback(raised(text)), verbosity=2, lines=True
    ),
}


@contextmanager
def loggers_restored() -> Iterator[None]:
    loggers = logging.getLogger(), logging.getLogger("objxfer")
    before = [(each.handlers[:], each.level) for each in loggers]
    for each in loggers:  # pytest has its own there, and other tests leave theirs
        each.handlers[:] = []
    try:
        yield
    finally:
        for each, (handlers, level) in zip(loggers, before, strict=True):
            each.handlers[:] = handlers
            each.setLevel(level)


def said(sink: Sink, text: str) -> str:
    """What comes out on either stream."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), loggers_restored():
        terminal = Terminal()
        terminal.json = sink.json
        if sink.logs:
            terminal.keep_log()
        terminal.log(sink.verbosity)
        sink.say(terminal, text)
    for stream, of_json in ((out, sink.json), (err, sink.logs)):
        for line in stream.getvalue().splitlines() if of_json else ():
            json.loads(line)
    return out.getvalue() + err.getvalue()


def acts(sink: Sink, text: str) -> str:
    """The first line that could act on a terminal, or that a string has begun by itself."""
    for line in said(sink, f"{BEGIN}{text}{END}").split("\n"):
        # Of a path, some sinks show the last name alone.
        broken = END in line and BEGIN not in line and not sink.lines and "/" not in text
        if broken or not line.isprintable():
            return ascii(line[:200])
    return ""


@pytest.mark.parametrize("text", STRINGS.values(), ids=STRINGS.keys())
def test_nothing_comes_out_as_it_came(text: str) -> None:
    acted_on = {name: acts(sink, text) for name, sink in SINKS.items()}
    assert {name: line for name, line in acted_on.items() if line} == {}


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(st.sampled_from(sorted(SINKS)), hostile)
def test_nor_whatever_else_it_may_be(name: str, text: str) -> None:
    assert not acts(SINKS[name], text)


def test_the_strings_are_what_must_not_come_out() -> None:
    """All kinds of control and format characters, and each of them alone."""
    every = "".join(STRINGS.values())
    assert {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"} <= set(map(unicodedata.category, every))
    assert {chr(number) for number in (*range(0x20), *range(0x7F, 0xA0))} <= set(every)


def test_each_way_of_saying_something_is_among_the_sinks() -> None:
    """A method of the terminal that takes a text and is not in the table is one too many."""
    takes_text = {
        name
        for name, method in vars(Terminal).items()
        if not name.startswith("_") and callable(method) and "str" in str(method.__annotations__)
    }
    takes_text.remove("show")  # which writes bytes, and has tests/cli/test_text.py
    other = {"record": "JSON", "ask": "prompt"}
    assert {other.get(name, name) for name in takes_text} <= set(SINKS)
