"""Bars, on a terminal that a test reads."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import pytest

import objxfer
from objxfer import Tally
from objxfer.bars import aside, rows
from objxfer_cli.terminal import Terminal

pytestmark = pytest.mark.timeout(60)


class Screen:
    """A terminal: what is written to ``stream`` is read by a thread until ``close``."""

    def __init__(self, columns: int) -> None:
        self._main, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", columns and 30, columns, 0, 0))
        self.stream: TextIO = os.fdopen(other, "w", encoding="utf-8")
        self._written = bytearray()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, pattern: str) -> None:
        """Wait until what was written matches."""
        with self._changed:
            assert self._changed.wait_for(lambda: re.search(pattern, self._text()), 20), (
                self._text()
            )

    def close(self) -> str:
        """Return all that was written."""
        self.stream.close()
        self._thread.join()
        os.close(self._main)
        return self._text()

    def _read(self) -> None:
        # At the end of the other side some systems give nothing, and others an error.
        while data := self._chunk():
            with self._changed:
                self._written += data
                self._changed.notify_all()

    def _chunk(self) -> bytes:
        try:
            return os.read(self._main, 65536)
        except OSError:
            return b""

    def _text(self) -> str:
        return self._written.decode("utf-8", "replace")


MakeScreen = Callable[[int], Screen]


@pytest.fixture
def make_screen(monkeypatch: pytest.MonkeyPatch) -> MakeScreen:
    def make(columns: int = 100) -> Screen:
        screen = Screen(columns)
        monkeypatch.setattr(sys, "stderr", screen.stream)
        return screen

    return make


def drawn(written: str) -> list[str]:
    """Return what stood in the first line, one state after the other."""
    lines = re.split(r"[\r\n]+|\x1b\[A", written)
    return [line for line in lines if line.strip()]


def left_standing(written: str) -> list[str]:
    """Return the lines that a terminal shows in the end."""
    lines, row, column = [""], 0, 0
    for one in re.split(r"(\x1b\[A|[\r\n])", written):
        if one == "\r":
            column = 0
        elif one == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif one == "\x1b[A":
            row -= 1
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + one + line[column + len(one) :]
            column += len(one)
    return [line.rstrip() for line in lines]


def test_a_small_delivery_ends_with_a_full_bar(make_screen: MakeScreen) -> None:
    screen = make_screen(100)
    tally = Tally(name="report.pdf")
    bar = objxfer.bar()
    bar.begin(tally)
    tally.bytes_done = tally.bytes_total = 2_410_000
    tally.files_done = tally.files_total = 1
    bar.end(tally)
    last = drawn(screen.close())[-1]
    assert re.fullmatch(r"report\.pdf  100%\|█+\| 2\.41M/2\.41M \[00:00<00:00, .*B/s\]", last)
    assert len(last) <= 100


def test_a_large_one_shows_the_job_and_the_current_file(make_screen: MakeScreen) -> None:
    screen = make_screen(100)
    tally = Tally(
        name="photos",
        bytes_total=4_210_000_000,
        bytes_done=2_570_000_000,
        files_total=4120,
        files_done=2611,
        path=b"photos/IMG_2041.CR3",
        path_total=50_000_000,
        path_done=24_000_000,
    )
    bar = objxfer.bar()
    bar.begin(tally)
    screen.wait_for(r"IMG_2041\.CR3 +48%")
    tally.bytes_done, tally.files_done, tally.path = 4_210_000_000, 4120, b""
    bar.end(tally)
    lines = drawn(screen.close())
    assert re.fullmatch(
        r"photos   61%\|.+\| 2\.57G/4\.21G \[\d\d:\d\d<\d\d:\d\d, .*B/s\] 2,611/4,120 files",
        lines[0],
    )
    assert lines[1] == "  IMG_2041.CR3   48%"
    assert re.fullmatch(r"photos  100%\|█+\| 4\.21G/4\.21G \[.*\]", lines[-1])


def test_without_a_total_it_counts_and_goes_away(make_screen: MakeScreen) -> None:
    screen = make_screen(100)
    tally = Tally(name="stdin", bytes_done=2_000_000, files_done=3)
    bar = objxfer.bar()
    bar.begin(tally)
    screen.wait_for(r"stdin  2\.00M \[00:00, .*B/s\] 3 files")
    bar.end(tally)
    written = screen.close()
    assert re.search(r"\r +\r\Z", written), written[-200:]


def test_a_failure_at_once_draws_nothing(make_screen: MakeScreen) -> None:
    screen = make_screen(100)
    tally = Tally(name="report.pdf", bytes_total=1000)
    bar = objxfer.bar()
    bar.begin(tally)
    bar.end(tally)
    assert screen.close() == ""


def test_one_after_the_other(make_screen: MakeScreen) -> None:
    screen = make_screen(100)
    bar = objxfer.bar()
    for name in ("first", "second"):
        tally = Tally(name=name, bytes_total=10, bytes_done=10)
        bar.begin(tally)
        bar.end(tally)
    written = screen.close()
    assert "first  100%" in written
    assert "second  100%" in written


def say_aside(line: str) -> None:
    with aside():
        print(line, file=sys.stderr, flush=True)


@pytest.mark.parametrize("say", [say_aside, logging.getLogger("objxfer").info])
def test_a_line_between_the_bars(
    make_screen: MakeScreen, say: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = make_screen(100)
    logger = logging.getLogger("objxfer")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)
    Terminal().log(1)
    tally = Tally(
        name="photos",
        bytes_total=100_000_000,
        bytes_done=50_000_000,
        files_total=2,
        path=b"photos/large",
        path_total=90_000_000,
        path_done=60_000_000,
    )
    bar = objxfer.bar()
    bar.begin(tally)
    for line in ("one", "two"):
        screen.wait_for(r"(?s)one.*large +67%" if line == "two" else r"large +67%")
        say(line)
    tally.bytes_done, tally.path = 100_000_000, b""
    bar.end(tally)
    one, two, job, rest = left_standing(screen.close())
    assert [re.sub(r"^[\d:]{8} ", "", line) for line in (one, two, rest)] == ["one", "two", ""]
    assert job.startswith("photos  100%")


@pytest.mark.parametrize("columns", [0, 30, 200])
def test_any_width(make_screen: MakeScreen, columns: int) -> None:
    screen = make_screen(columns)
    tally = Tally(name="n" * 300, bytes_total=10, bytes_done=10)
    bar = objxfer.bar()
    bar.begin(tally)
    bar.end(tally)
    lines = drawn(screen.close())
    assert lines
    assert all(len(line) <= (columns or 80) for line in lines)


def test_names_do_not_act_on_the_terminal(make_screen: MakeScreen) -> None:
    screen = make_screen(200)
    hostile = "\x1b]0;owned\x07\u202egpj\x9b"
    tally = Tally(
        name=hostile,
        bytes_total=100,
        bytes_done=50,
        files_total=2,
        path=b"x/" + hostile.encode() + b"\xff",
        path_total=10,
        path_done=5,
    )
    bar = objxfer.bar()
    bar.begin(tally)
    screen.wait_for("50%.*\n.*50%")
    bar.end(tally)
    written = screen.close()
    assert r"\x1b]0;owned\x07\u202egpj\x9b" in written
    assert r"\xff" in written
    assert not re.search("\x1b(?!\\[A)|[\x07\u202e\x9b]", written)


def test_a_terminal_that_goes_away_does_not_end_the_delivery(
    make_screen: MakeScreen, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = make_screen(100)
    tally = Tally(name="report.pdf", bytes_total=100, bytes_done=50)
    bar = objxfer.bar()
    bar.begin(tally)
    screen.wait_for("50%")
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, screen.stream.fileno())
    os.close(nowhere)
    tally.bytes_done = 100
    bar.end(tally)
    monkeypatch.undo()
    with contextlib.suppress(OSError):
        screen.close()


def test_where_stderr_is_no_terminal_nothing_is_drawn_nor_loaded() -> None:
    code = (
        "import sys, objxfer\n"
        "tally = objxfer.Tally(bytes_done=10, bytes_total=10)\n"
        "bar = objxfer.bar()\n"
        "bar.begin(tally); bar.end(tally)\n"
        "print('tqdm' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_push_fills_the_tally_and_the_bar(make_screen: MakeScreen, tmp_path: Path) -> None:
    screen = make_screen(100)
    key = objxfer.Key.generate()
    (tmp_path / "inbox").mkdir()
    (tmp_path / "blob").write_bytes(bytes(20_000_000))
    with objxfer.serve(tmp_path / "inbox", "tcp://127.0.0.1:0", key=key) as server:
        objxfer.push(tmp_path / "blob", to=server.url, key=key, progress=objxfer.bar())
    assert re.search(r"blob  100%\|█+\| 20\.0M/20\.0M ", drawn(screen.close())[-1])


def lines(written: str) -> list[str]:
    """What stands on a terminal after all of it was written."""
    screen, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[A|[\r\n]|[^\r\n\x1b]+", written):
        match part:
            case "\x1b[A":
                row -= 1
            case "\r":
                column = 0
            case "\n":
                row, column = row + 1, 0  # as a terminal does it, which adds the return
                screen += [""] * (row - len(screen) + 1)
            case _:
                line = screen[row].ljust(column)
                screen[row] = line[:column] + part + line[column + len(part) :]
                column += len(part)
    return [line.rstrip() for line in screen]


class TestRows:
    """Several at once."""

    def test_each_has_its_line_and_those_below_move_up(self, make_screen: MakeScreen) -> None:
        screen = make_screen(100)
        shown = rows(["nas", "attic", "tls://\x1b[2J"])
        tallies = [Tally(name="photos", bytes_done=10, bytes_total=100 * n) for n in (1, 2, 5)]
        for row, tally in reversed(list(zip(shown, tallies, strict=True))):
            row.begin(tally)
        screen.wait_for(r"nas .*10\.0/100")
        screen.wait_for(r"\n\rattic .*10\.0/200 .*\x1b\[A")
        screen.wait_for(r"\n\r\n\rtls:.*10\.0/500 .*\x1b\[A\x1b\[A")
        shown[0].end(tallies[0])
        with aside():
            screen.stream.write("nas: sent\n")
            screen.stream.flush()
        tallies[1].bytes_done = tallies[2].bytes_done = 50
        screen.wait_for(r"attic .*50\.0/200")
        screen.wait_for(r"\n\rtls:.*50\.0/500 [^\n]*\x1b\[A")
        standing = lines(screen._text())
        assert standing[0] == "nas: sent"
        assert re.match(r"attic +25%\|", standing[1])
        assert re.match(r"tls://\\x1b\[2J +10%\|", standing[2])
        for row, tally in zip(shown[1:], tallies[1:], strict=True):
            row.end(tally)
        assert [line for line in lines(screen.close()) if line] == ["nas: sent"]

    def test_where_nobody_looks_nothing_is_drawn(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with (tmp_path / "stderr").open("w") as stream:
            monkeypatch.setattr(sys, "stderr", stream)
            (row,) = rows(["nas"])
            row.begin(Tally())
            row.end(Tally())
        assert (tmp_path / "stderr").read_text() == ""
