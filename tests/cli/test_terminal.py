"""What is printed, and what never is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import objxfer
from objxfer.escapes import escaped
from objxfer_cli import failures, terminal
from objxfer_cli.delivery import Delivery, how_far
from objxfer_cli.terminal import Terminal
from support.commands import PATIENCE, Commands
from support.connected import begin, connected

pytestmark = pytest.mark.timeout(60)

HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\u202egpj.\u2066\u200f\u2028x\x9b31m\x7f"
ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (999, "999 B"),
        (1_000, "1.00 kB"),
        (2_410_000, "2.41 MB"),
        (31_400_000, "31.4 MB"),
        (64_000_000, "64.0 MB"),
        (999_600, "1.00 MB"),
        (4_210_000_000, "4.21 GB"),
        (120_000_000_000, "120 GB"),
    ],
)
def test_sizes_are_decimal_and_have_three_digits(count: int, text: str) -> None:
    assert terminal.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.1 s"),
        (0.14, "0.1 s"),
        (9.9, "9.9 s"),
        (9.97, "10 s"),
        (40.2, "40 s"),
        (125, "2 min 05 s"),
        (12_000, "3 h 20 min"),
    ],
)
def test_times(seconds: float, text: str) -> None:
    assert terminal.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "seconds", "text"),
    [
        (2_410_000, 0.0274, "88 MB/s"),
        (4_210_000_000, 40, "105 MB/s"),
        (3_000, 2, "1.5 kB/s"),
        (1_200_000_000, 1, "1.2 GB/s"),
        (100, 0, "100 MB/s"),
    ],
)
def test_speeds(count: int, seconds: float, text: str) -> None:
    assert terminal.rate(count, seconds) == text


@pytest.mark.parametrize(
    ("tally", "text"),
    [
        (objxfer.Tally(), "0 B"),
        (objxfer.Tally(name="a", bytes_total=2_000, files_total=1), "a: 0 B of 2.00 kB"),
        (
            objxfer.Tally(
                name="a",
                bytes_done=1_000,
                bytes_total=2_000,
                files_total=1,
                path=b"a",
                path_done=1_000,
                path_total=2_000,
            ),
            "a: 1.00 kB of 2.00 kB, 100 B/s, 10 s left",
        ),
        (
            objxfer.Tally(
                name="photos",
                bytes_done=2_570_000_000,
                bytes_total=4_210_000_000,
                files_done=2_611,
                files_total=4_120,
                path=b"photos/\x1b.jpg",
                path_done=48,
                path_total=100,
            ),
            "photos: 2.57 GB of 4.21 GB, 2,611 of 4,120 files, 257 MB/s, 6.4 s left,"
            r" now photos/\x1b.jpg (48%)",
        ),
        (
            objxfer.Tally(name="more than was counted", bytes_done=30, bytes_total=20),
            "more than was counted: 30 B of 30 B, 3.0 B/s",
        ),
        (
            objxfer.Tally(name="nobody knows", bytes_done=3_000, files_done=3),
            "nobody knows: 3.00 kB, 3 files, 300 B/s",
        ),
    ],
)
def test_how_far_it_is(tally: objxfer.Tally, text: str) -> None:
    assert how_far(tally, 10) == text


def test_numbers_of_files() -> None:
    assert terminal.files(1) == "1 file"
    assert terminal.files(4120) == "4,120 files"
    assert terminal.listed(["a", "b"], 2) == "a, b"
    assert terminal.listed(["a", "b", "c", "d"], 1204) == "a, b, c and 1,201 more"


@given(st.text())
def test_nothing_that_is_shown_acts_on_a_terminal(text: str) -> None:
    assert ACTING.search(escaped(text)) is None
    assert escaped(text).isprintable()


def test_what_is_harmless_is_shown_as_it_is() -> None:
    assert escaped("Übersicht 2026 … café.txt") == "Übersicht 2026 … café.txt"
    assert terminal.shown(b"caf\xe9.txt") == r"caf\xe9.txt"
    assert terminal.shown(b"a\nb\x1b") == r"a\nb\x1b"


def test_every_line_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    said = Terminal()
    for say in (
        said.result,
        said.notice,
        said.visitor,
        said.hint,
        said.warning,
        said.error,
        said.interrupted,
    ):
        say(HOSTILE)
    failures.say(said, objxfer.RefusedByPeer(HOSTILE, hint=HOSTILE))
    failures.say(said, ValueError(HOSTILE))
    failures.say(said, OSError(5, HOSTILE, HOSTILE))
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 1
    assert shown.err.count("\n") == 11
    assert ACTING.search(shown.out + shown.err) is None


@pytest.mark.parametrize(
    ("code", "sent", "received"),
    [
        (3, "objxfer: warning: 2 files left out: a: why; and 1 more entry", None),
        (4, "objxfer: warning: 2 files changed while they were read: a, b", None),
        (5, "objxfer: warning: 2 files vanished before they were read: a, b", None),
        (
            20,
            "objxfer: error: refused by 127.0.0.1: a: why; and 1 more entry",
            "objxfer: error: refused: a: why; and 1 more entry",
        ),
        (21, "objxfer: error: no space left at 127.0.0.1 for 2 files: a, b", None),
        (22, None, "objxfer: error: no space left here for 2 files: a, b"),
        (30, "objxfer: error: 2 files failed: a: why; and 1 more entry", None),
        (31, "objxfer: error: no durable receipt for 2 files: a: why; and 1 more entry", None),
        (
            1,
            "objxfer: error: 2 files failed: a: why; and 1 more entry",
            "objxfer: error: 2 files failed: a: why; and 1 more entry",
        ),
    ],
)
def test_one_line_for_all_entries_of_a_code(
    code: int, sent: str | None, received: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    report = objxfer.Report()
    for path in (b"a", b"b"):
        report.add(
            objxfer.EntryReport(
                path, objxfer.Outcome.FAILED, code=objxfer.ExitCode(code), reason="why"
            )
        )
    for sending, expected in ((True, sent), (False, received)):
        with connected() as (here, _):
            delivery = Delivery(Terminal(), sending=sending)
            delivery.connected(here)
            assert delivery.finished(report, "") == code
        if expected is not None:
            assert capsys.readouterr().err == expected + "\n"
        capsys.readouterr()


def test_hostile_names_of_a_sender_do_not_reach_the_terminal(commands: Commands) -> None:
    hostile = "\u202egpj.\u2066exe\u200f\u2028"
    commands.file(f"{hostile}/{hostile}")
    commands.file(f"inbox/{hostile}/{hostile}", b"another")
    receiving = commands.receive("-vv")
    sent = commands.run("send", hostile, "--to", receiving.url, "-vv")
    received = receiving.finish()
    assert sent.code == received.code == 0
    assert r": \u202egpj.\u2066exe\u200f\u2028" in received.out
    for shown in (sent, received):
        assert 'kept both: the new one is "\\u202egpj (1)' in shown.out
        assert ACTING.search(shown.out + shown.err) is None


def test_hostile_reasons_of_a_peer_do_not_reach_the_terminal(
    commands: Commands, tmp_path: Path
) -> None:
    commands.file("report.pdf")

    class Hostile:
        def write(self, _data: object) -> int:
            raise OSError(5, HOSTILE)

        def flush(self) -> None: ...

    with objxfer.listen("tcp://127.0.0.1:0", key=commands.key, into=Hostile()) as listener:  # type: ignore[arg-type]  # all that is used of a stream

        def take() -> None:
            with listener.accept(PATIENCE) as connection:
                connection.recv(PATIENCE)

        taking = begin(take)
        ended = commands.run("send", "report.pdf", "--to", listener.url)
        assert isinstance(taking.exception(PATIENCE), objxfer.FileFailed)
    assert ended.code == 1
    assert "refused by 127.0.0.1: the output takes no more: " in ended.err
    assert ACTING.search(ended.err) is None
