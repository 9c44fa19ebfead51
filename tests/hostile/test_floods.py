"""The commands that listen, with thousands before the door who do not prove themselves, and with
a thousand who do.

The long form measures what ``docs/security.md`` says; run it on a machine that has time.
"""

from __future__ import annotations

import collections
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, NamedTuple

import pytest

import objxfer
from objxfer.errors import ExitCode
from objxfer.limits import MIB
from support.commands import Commands, Running
from support.connected import PATIENCE
from support.crowd import (
    Crowd,
    cpu_seconds,
    descriptors_for,
    descriptors_of,
    needs_proc,
    peak_memory,
)

pytestmark = needs_proc

SERVED: Final = 2.0
"""Seconds in which an honest sender has its receipts."""
HANDSHAKE: Final = 10.0
"""Seconds that somebody has to prove who they are."""
SLACK: Final = 5.0
"""Seconds that a machine may take that others use, too."""
IDLE: Final = 0.2
"""The share of a core that those take who prove nothing."""
MEMORY: Final = 150 * MIB
ANNOUNCING: Final = 16
"""Descriptors that a room is announced by, which takes its time."""
HERE: Final = ("--listen", "tls://127.0.0.1:0")
LETTER: Final = b"Dear Anna,\n\n" * 100


class Open(NamedTuple):
    """A command that listens, and what an honest one does there."""

    running: Running
    url: str
    visit: Callable[[], None]
    said: queue.SimpleQueue[str]
    """What it says on standard error from now on, line by line."""

    @property
    def pid(self) -> int:
        return self.running.process.pid

    def turned_away(self, count: int) -> None:
        """Wait until so many were: of those who vanish only the log of -v speaks."""
        while count:
            count -= " was not let in: " in self.said.get(timeout=PATIENCE)


def listen(running: Running, url: str, visit: Callable[[], None]) -> Open:
    """Read what a command says: one whose words nobody reads waits with them."""
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    stderr, stdout = running.process.stderr, running.process.stdout
    assert stderr is not None
    assert stdout is not None

    def read(stream: IO[bytes], put: Callable[[str], None]) -> None:
        for line in stream:
            put(line.decode())

    threading.Thread(target=read, args=(stderr, said.put), daemon=True).start()
    threading.Thread(target=read, args=(stdout, lambda _: None), daemon=True).start()
    return Open(running, url, visit, said)


def shown_code(running: Running) -> tuple[objxfer.Code, str]:
    code = objxfer.Code.parse(running.err_line().removeprefix("code: "))
    running.err_line()
    return code, running.err_line().split()[-1]


class Inbox:
    """Starts the commands that listen, in one folder."""

    def __init__(self, commands: Commands) -> None:
        self.commands = commands
        self.letter = commands.file("letter", LETTER)

    def push(self, url: str, key: objxfer.Key | objxfer.Code) -> None:
        with objxfer.connect(url, key=key, timeout=PATIENCE) as connection:
            assert connection.push(self.letter).exit_code == ExitCode.OK

    def serve(self, scheme: str, *options: str) -> Open:
        running = self.commands.listen("serve", "inbox", *options, scheme=scheme)
        return listen(running, running.url, lambda: self.push(running.url, self.commands.key))

    def receive(self) -> Open:
        running = self.commands.receive(scheme="tls")
        return listen(running, running.url, lambda: self.push(running.url, self.commands.key))

    def invite(self) -> Open:
        """``receive`` that shows a code."""
        self.commands.key_file.unlink()
        running = self.commands.start("receive", "--into", "inbox", "--yes", *HERE)
        code, url = shown_code(running)
        return listen(running, url, lambda: self.push(url, code))

    def offer(self) -> Open:
        """``send`` that shows a code."""
        running = self.commands.start("send", "letter", "-v", *HERE)
        code, url = shown_code(running)

        def take() -> None:
            inbox = self.commands.inbox
            with objxfer.connect(url, key=code, into=inbox, timeout=PATIENCE) as connection:
                report = connection.recv(PATIENCE)
            assert report.exit_code == ExitCode.OK

        return listen(running, url, take)


COMMANDS: Final[dict[str, Callable[[Inbox], Open]]] = {
    "serve": lambda inbox: inbox.serve("tls", "-v"),
    "serve on tcp": lambda inbox: inbox.serve("tcp"),
    "receive": Inbox.receive,
    "receive by a code": Inbox.invite,
    "send by a code": Inbox.offer,
}


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    with ExitStack() as exit_stack:
        yield Inbox(Commands(tmp_path, exit_stack))


# --- those who say nothing, and those who say it slowly ---


@pytest.mark.parametrize("name", ["serve", "send by a code"])
def test_a_crowd_keeps_no_honest_one_out_of_a_command(name: str, inbox: Inbox) -> None:
    with descriptors_for(2000):
        place = COMMANDS[name](inbox)
        before = descriptors_of(place.pid) + ANNOUNCING
        with Crowd(place.url) as crowd:
            crowd.come(520)
            crowd.trickle(40)
            crowd.greet(40)
            if name == "serve":
                place.visit()
        place.turned_away(600)
        assert descriptors_of(place.pid) <= before
        place.visit()
        assert (inbox.commands.inbox / "letter").read_bytes() == LETTER
        if name != "serve":
            assert place.running.process.wait(PATIENCE) == ExitCode.OK


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", COMMANDS)
def test_five_thousand_silent_or_slow_ones(
    name: str, inbox: Inbox, record_property: Callable[[str, object], None]
) -> None:
    with descriptors_for(12_000):
        place = COMMANDS[name](inbox)
        if name.startswith("serve"):
            place.visit()  # what is made once is made
        before = settled(place.pid)
        with Crowd(place.url) as crowd:
            crowd.come(3000)
            crowd.trickle(2000)
            came = time.monotonic()
            computed = cpu_seconds(place.pid)
            time.sleep(5)
            share = (cpu_seconds(place.pid) - computed) / (time.monotonic() - came)
            wait_for(lambda: descriptors_of(place.pid) <= before)
            back = time.monotonic() - came
            assert descriptors_of(place.pid) == before
        with Crowd(place.url) as crowd:
            crowd.come(2500)
            crowd.trickle(2000)
            crowd.greet(500)
            visits = [seconds(place.visit)]
            if name.startswith("serve"):
                visits += [seconds(place.visit) for _ in range(9)]
        measured = {"served": max(visits), "share of a core": share, "descriptors back": back}
        print(f"\n{name}: {measured}")
        assert (inbox.commands.inbox / "letter").read_bytes() == LETTER
        assert max(visits) < SERVED
        assert share < IDLE
        assert back < HANDSHAKE + SLACK


def wait_for(ready: Callable[[], bool]) -> None:
    """Look again and again until something is so; for the long form, which measures when."""
    until = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.02)


def settled(pid: int) -> int:
    """How many descriptors a process holds once that does not change any more."""
    seen = [descriptors_of(pid)]
    while seen[-100:] != seen[-1:] * 100:
        time.sleep(0.02)
        seen.append(descriptors_of(pid))
    return seen[-1]


def seconds(call: Callable[[], None]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


# --- a thousand who are honest ---

SENDERS: Final = """
import json, sys, threading
import objxfer

url, key_file, folder, first, count = *sys.argv[1:4], *map(int, sys.argv[4:])
key, outcomes = objxfer.Key.load(key_file), []


def send(number):
    try:
        # They share a machine with the receiver, and keep themselves from being quicker.
        with objxfer.connect(url, key=key, timeout=60) as connection:
            report = connection.push(f"{folder}/{number}", silence=60)
        outcomes.append(int(report.exit_code))
    except Exception as error:
        outcomes.append(repr(error))


threads = [threading.Thread(target=send, args=[first + each]) for each in range(count)]
print("ready", flush=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(outcomes))
"""
"""A program that has many threads send a file each, all at once."""


class Form(NamedTuple):
    """How many send how much."""

    processes: int
    senders: int
    """Of each process."""
    size: int


FORMS: Final = [
    pytest.param(Form(1, 40, 3000), id="40"),
    pytest.param(
        Form(4, 250, 10_000), id="1000", marks=[pytest.mark.long, pytest.mark.timeout(300)]
    ),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scheme", [pytest.param("tcp", marks=pytest.mark.long), "tls"])
def test_many_at_once_deliver_and_none_is_refused(form: Form, scheme: str, inbox: Inbox) -> None:
    many = form.processes * form.senders
    with descriptors_for(5 * many + 200):
        place = inbox.serve(scheme)
        place.visit()  # what is made once is made
        before = settled(place.pid) if many >= 1000 else descriptors_of(place.pid)
        for number in range(many):
            inbox.commands.file(f"letters/{number}", os.urandom(form.size))
        arguments = [place.url, str(inbox.commands.key_file), str(inbox.letter.parent / "letters")]
        programs = [
            subprocess.Popen(
                [sys.executable, "-c", SENDERS, *arguments, str(first), str(form.senders)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for first in range(0, many, form.senders)
        ]
        for program in programs:
            assert program.stdout is not None
            assert program.stdout.readline() == b"ready\n"
        began = time.monotonic()
        for program in programs:
            assert program.stdin is not None
            program.stdin.write(b"\n")
            program.stdin.flush()
        outcomes = [each for program in programs for each in json.loads(program.communicate()[0])]
        took = time.monotonic() - began
        assert collections.Counter(outcomes) == {ExitCode.OK: many}
        for number in range(many):
            sent = inbox.commands.folder / "letters" / str(number)
            assert (inbox.commands.inbox / str(number)).read_bytes() == sent.read_bytes()
        wait_for(lambda: descriptors_of(place.pid) <= before)
        peak = peak_memory(place.pid)
        print(f"\n{many} of {form.size} bytes, {scheme}: {took:.1f} s, {peak / MIB:.0f} MiB")
        assert peak < MEMORY
