"""Ctrl-C and its kin: said in a line, within a second, with nothing half-written."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time

import pytest

from support.commands import PATIENCE, Commands, command
from support.inbox import landed
from support.relay import relay, slow

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
    commands.file("photos/large", bytes(40_000_000))
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


@pytest.mark.parametrize("number", SIGNALS)
def test_while_it_waits(commands: Commands, number: signal.Signals) -> None:
    receiving = commands.receive()
    receiving.signal(number)
    assert receiving.finish() == (128 + number, "", "objxfer: interrupted\n")


def test_a_reader_that_hangs_does_not_hold_it(commands: Commands) -> None:
    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "wb") as pipe:
        receiving = commands.start(
            "receive", "--stdout", "--listen", "tcp://127.0.0.1:0", stdout=pipe
        )
        url = receiving.err_line().removeprefix("listening on ").partition(",")[0]
        receiving.err_line()
        sending = commands.start("send", "-", "--to", url)
        sending.write(bytes(3_000_000))
        assert os.read(read, 1)
        receiving.signal(signal.SIGINT)
        begun = time.monotonic()
        assert receiving.finish().code == 130
        assert time.monotonic() - begun < PATIENCE
    assert sending.finish().code != 0


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
