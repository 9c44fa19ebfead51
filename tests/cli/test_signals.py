"""Ctrl-C and its kin: said in a line, within a second, with nothing half-written."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from support.commands import PATIENCE, Commands, Running, command
from support.inbox import landed
from support.relay import relay, slow
from support.streaming import BEGINNING, streaming

pytestmark = pytest.mark.timeout(60)

# How many there should be is known where the sender has said so by then.
STANDING = re.compile(
    r"objxfer: interrupted; 0 (files are|of 1 file is) there, none of them half-written\n"
)
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_sender_in_the_middle(commands: Commands, number: signal.Signals) -> None:
    receiving = commands.receive("--retry", "0")
    sending = commands.start("send", "-", "--to", receiving.url)
    sending.write(bytes(3_000_000))
    while not list(commands.inbox.iterdir()):
        assert receiving.process.poll() is None
    sending.signal(number)
    ended = sending.finish()
    assert ended.code == 128 + number
    assert ended.out == ""
    assert STANDING.fullmatch(ended.err)
    assert receiving.finish().code == 11
    assert landed(commands.inbox) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_a_receiver_in_the_middle(commands: Commands, number: signal.Signals) -> None:
    receiving = commands.receive()
    sending = commands.start("send", "-", "--to", receiving.url)
    sending.write(bytes(3_000_000))
    while not list(commands.inbox.iterdir()):
        assert receiving.process.poll() is None
    receiving.signal(number)
    ended = receiving.finish()
    assert ended.code == 128 + number
    assert STANDING.fullmatch(ended.err)
    assert landed(commands.inbox) == []
    assert sending.finish().code == 11


def test_how_many_are_there(commands: Commands) -> None:
    for each in range(20):
        commands.file(f"photos/{each:02}", b"small")
    os.truncate(commands.file("photos/large", b""), 400_000_000)  # which takes a minute
    receiving = commands.receive("--retry", "0")
    with relay(receiving.url, slow(0.01)) as url:
        sending = commands.start("send", "photos", "--to", url, "--json")
        while '"path":"photos/19"' not in sending.out_line():
            pass
        sending.signal(signal.SIGINT)
        ended = sending.finish()
    assert ended.code == 130
    assert ended.err == (
        "objxfer: interrupted; 20 of 21 files are there, none of them half-written\n"
    )
    summary = ended.lines[-1]
    assert summary["type"] == "summary"
    assert (summary["exit_code"], summary["sent"]) == (130, 20)
    assert receiving.finish().code == 11
    assert len(landed(commands.inbox / "photos")) == 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_inbox_in_the_middle(commands: Commands, number: signal.Signals) -> None:
    serving = commands.listen("serve", "inbox")
    sending = streaming(commands, serving)
    serving.signal(number)
    ended = serving.finish()
    assert ended.code == 128 + number
    assert "objxfer: interrupted\n" in ended.err
    assert "draining" not in ended.err
    assert sending.finish().code == 11


@pytest.mark.parametrize("number", SIGNALS)
def test_while_it_waits(commands: Commands, number: signal.Signals) -> None:
    receiving = commands.receive()
    receiving.signal(number)
    assert receiving.finish() == (128 + number, "", "objxfer: interrupted\n")


class Screen:
    """A terminal, of which is read what a test waits for.

    Attributes:
        stderr: for the command, which has it alone once it is closed here.
        seen: all that was written so far.
    """

    def __init__(self) -> None:
        self._main, other = pty.openpty()
        self.stderr = os.fdopen(other, "wb")
        self.seen = b""

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, *_: object) -> None:
        self.stderr.close()
        os.close(self._main)

    def wait_for(self, pattern: bytes) -> bytes:
        """Read on until all of it matches; return what the first group holds."""
        while not (found := re.search(pattern, self.seen)):
            self.seen += os.read(self._main, 65536)
        return found[found.re.groups]

    def rest(self) -> None:
        """Read on until the command has ended."""
        self.stderr.close()
        with contextlib.suppress(OSError):  # the end, on some systems
            while data := os.read(self._main, 65536):
                self.seen += data


@contextmanager
def hanging(commands: Commands, screen: Screen | None = None) -> Iterator[Running]:
    """Give a receiver that cannot clean up, because nobody reads what it writes."""
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "wb") as pipe:
        listen = ("receive", "--stdout", "--listen", "tcp://127.0.0.1:0")
        if screen is None:
            receiving = commands.start(*listen, stdout=pipe)
            url = receiving.err_line().removeprefix("listening on ").partition(",")[0]
            receiving.err_line()
        else:
            receiving = commands.start(*listen, stdout=pipe, stderr=screen.stderr)
            url = screen.wait_for(rb"listening on ([^,]+),").decode()
        sending = commands.start("send", "-", "--to", url)
        sending.write(bytes(3_000_000))
        assert os.read(read, 1)
        yield receiving
    assert sending.finish().code != 0


def test_a_reader_that_hangs_does_not_hold_it(commands: Commands) -> None:
    with hanging(commands) as receiving:
        receiving.signal(signal.SIGINT)
        assert receiving.finish() == (130, "", "objxfer: interrupted\n")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_one_ends_it_without_a_word(commands: Commands, number: signal.Signals) -> None:
    with hanging(commands) as receiving:
        receiving.signal(signal.SIGINT)
        while receiving.process.poll() is None:
            receiving.signal(number)
        assert receiving.finish() == (128 + number, "", "")


def test_a_second_one_leaves_no_bar_behind(commands: Commands) -> None:
    with Screen() as screen, hanging(commands, screen) as receiving:
        screen.wait_for(rb"B/s\]")
        receiving.signal(signal.SIGINT)
        while receiving.process.poll() is None:
            receiving.signal(signal.SIGTERM)
        screen.rest()
        assert re.search(rb"\r +\r\Z", screen.seen)


def test_a_second_one_where_nobody_reads_what_is_said(commands: Commands) -> None:
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "wb") as pipe:
        receiving = commands.start("receive", "--listen", "tcp://127.0.0.1:0", stderr=pipe)
        assert os.read(read, 1)
        os.set_blocking(write, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write, b"x")
        os.set_blocking(write, True)
        receiving.signal(signal.SIGINT)
        while receiving.process.poll() is None:
            receiving.signal(signal.SIGTERM)
        assert receiving.finish().code == 143


def test_two_at_once_are_one(commands: Commands) -> None:
    receiving = commands.receive()
    sending = streaming(commands, receiving)
    receiving.signal(signal.SIGSTOP)
    receiving.signal(signal.SIGINT)
    receiving.signal(signal.SIGTERM)
    receiving.signal(signal.SIGCONT)
    ended = receiving.finish()
    assert ended.code in (130, 143)
    assert STANDING.fullmatch(ended.err)
    assert sending.finish().code == 11


def test_the_demo_ends_all_of_it(commands: Commands) -> None:
    with subprocess.Popen(
        command(["demo"]),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=commands.environment,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        # Its other process has the same stderr: all have ended where that ends.
        assert process.stderr.read() == b"objxfer: interrupted\n"
        assert process.wait(PATIENCE) == 130


CTRL_C_AT: Final = """
import signal, sys

module, sys.argv[1:] = sys.argv[1], ["--version"]

class Finder:
    def find_spec(self, name, path, target=None):
        if name == module:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Finder())
from objxfer_cli.main import main
main()
"""
"""The command, and a Ctrl-C while it imports the module that is named."""


@pytest.mark.parametrize("module", ["click", "objxfer", "objxfer_cli.signals"])
def test_while_it_starts(module: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CTRL_C_AT, module], capture_output=True, timeout=PATIENCE
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_what_was_ignored_stays_ignored(commands: Commands) -> None:
    with subprocess.Popen(
        [
            "sh",
            "-c",
            'trap "" HUP; exec "$@"',
            "sh",
            *command(["receive", "--listen", "tcp://127.0.0.1:0"]),
        ],
        stderr=subprocess.PIPE,
        cwd=commands.folder,
        env=commands.environment,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143


class TestAsking:
    """SIGUSR1: one line, and nothing else is different."""

    @pytest.mark.parametrize("quiet", [(), ("-q",)])
    def test_both_sides(self, commands: Commands, quiet: tuple[str, ...]) -> None:
        receiving = commands.receive()
        sending = streaming(commands, receiving, *quiet)
        for side in (sending, receiving):
            side.signal(signal.SIGUSR1)
            assert re.fullmatch(r"stdin: [\d.]+ M?B(, .*B/s)?", side.err_line())
        sent, received = sending.finish(b"the rest"), receiving.finish()
        assert (sent.code, sent.err) == (received.code, received.err) == (0, "")
        assert (commands.inbox / "stdin").read_bytes() == BEGINNING + b"the rest"

    def test_a_folder(self, commands: Commands) -> None:
        commands.file("photos/a", b"small")
        commands.file("photos/b", bytes(100_000_000))
        receiving = commands.receive()
        with relay(receiving.url, slow(0.01)) as url:
            sending = commands.start("send", "photos", "--to", url)
            while not list(commands.inbox.iterdir()):
                assert sending.process.poll() is None
            told = ""
            while "now photos/b" not in told:
                sending.signal(signal.SIGUSR1)
                told = sending.err_line()
            sending.process.kill()
            sending.process.wait()
        assert re.fullmatch(
            r"photos: [\d.]+ [kM]?B of 100 MB, [01] of 2 files, .*B/s, .* left,"
            r" now photos/b \(\d+%\)",
            told,
        )

    @pytest.mark.parametrize("scheme", ["tcp", "tls"])
    def test_as_often_as_one_likes(self, commands: Commands, scheme: str) -> None:
        contents = os.urandom(30_000_000)
        commands.file("large", contents)
        receiving = commands.listen("serve", "inbox", scheme=scheme)
        sending = commands.start("send", "large", "--to", receiving.url)
        while not list(commands.inbox.iterdir()):
            assert sending.process.poll() is None
        while sending.process.poll() is None:
            for side in (sending, receiving):
                side.signal(signal.SIGUSR1)
        sent = sending.finish()
        assert sent.code == 0
        told = re.compile(r"large: [\d.]+ M?B of 30\.0 MB(, .*B/s(, .* left)?)?")
        lines = sent.err.splitlines()
        assert any(map(told.fullmatch, lines))
        assert all(line == "nothing is on its way" or told.fullmatch(line) for line in lines)
        assert (commands.inbox / "large").read_bytes() == contents
        receiving.signal(signal.SIGTERM)
        assert receiving.finish().code == 0

    def test_before_anything(self, commands: Commands) -> None:
        receiving = commands.receive()
        receiving.signal(signal.SIGUSR1)
        assert receiving.err_line() == "nothing is on its way"
        commands.file("report.pdf")
        assert commands.run("send", "report.pdf", "--to", receiving.url).code == 0
        assert receiving.finish().code == 0

    def test_an_inbox_tells_of_each_delivery(self, commands: Commands) -> None:
        serving = commands.listen("serve", "inbox")
        sending = [streaming(commands, serving, "--name", name) for name in ("a", "b")]
        serving.signal(signal.SIGUSR1)
        for name in ("a", "b"):
            assert re.fullmatch(
                rf"\d\d:\d\d:\d\d 127\.0\.0\.1 {name}: [\d.]+ M?B(, .*B/s)?", serving.err_line()
            )
        assert [each.finish().code for each in sending] == [0, 0]
        for _ in sending:
            serving.out_line()
        serving.signal(signal.SIGUSR1)
        assert serving.err_line() == "nothing is on its way"

    def test_in_json(self, commands: Commands) -> None:
        serving = commands.listen_json("serve", "inbox")
        serving.signal(signal.SIGUSR1)
        assert json.loads(serving.out_line()) == {
            "type": "progress",
            "bytes_done": 0,
            "bytes_total": None,
            "files_done": 0,
            "files_total": None,
            "bytes_per_second": 0,
            "eta_seconds": None,
        }
        sending = streaming(commands, serving)
        serving.signal(signal.SIGUSR1)
        assert json.loads(serving.out_line())["type"] == "connected"
        progress = json.loads(serving.out_line())
        assert (progress["type"], progress["delivery"]) == ("progress", 1)
        assert 0 <= progress["bytes_done"] <= len(BEGINNING)
        assert sending.finish().code == 0
        serving.signal(signal.SIGTERM)
        ended = serving.finish()
        assert [line["type"] for line in ended.lines if line["type"] != "progress"] == [
            "file",
            "summary",
        ]
        assert ended.err == "draining: nothing is on its way\n"

    def test_on_a_terminal_the_bar_stays(self, commands: Commands) -> None:
        receiving = commands.receive()
        with Screen() as screen:
            sending = commands.start("send", "-", "--to", receiving.url, stderr=screen.stderr)
            sending.write(BEGINNING)
            screen.wait_for(rb"MB/s\]")
            sending.signal(signal.SIGUSR1)
            # The line begins where a bar was wiped out, and a bar comes after it.
            screen.wait_for(rb"\r +\rstdin: [\d.]+ MB, [\d.]+ .B/s\r\n\rstdin  [^\n]*B/s\]")
            assert sending.finish().code == 0
        assert receiving.finish().code == 0
