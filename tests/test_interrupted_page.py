"""The screens of ``docs/interrupted-transfers.md`` are those of real interruptions."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from support.commands import Commands, Finished
from support.mounts import Mounts, needs_mounts
from support.pages import Page
from support.relay import cutting, relay, slow
from test_docs import PROJECT, typical

pytestmark = pytest.mark.timeout(120)
PAGE: Final = Page(PROJECT / "docs" / "interrupted-transfers.md")
ENDS: Final = re.compile(
    "the connection (?:broke: connection reset by peer|broke: broken pipe"
    "|ended without an end message)"
)
FILM: Final = 34_600_000


def alike(line: str) -> str:
    """Text in which what varies is the same, and so is how a cut is first noticed."""
    return ENDS.sub("ENDS", typical(line))


def cable(commands: Commands) -> list[Finished]:
    serving = commands.listen("serve", "inbox", scheme="tls")
    with relay(serving.url, cutting(20_000_000)) as url:
        return [commands.run("send", "film.mkv", "--to", url)]


def gone(commands: Commands) -> list[Finished]:
    serving = commands.listen("serve", "inbox", scheme="tls")
    with relay(serving.url, cutting(20_000_000)) as url:
        return [commands.run("send", "film.mkv", "--to", url, "--retry", "0")]


def again(commands: Commands) -> list[Finished]:
    serving = commands.listen("serve", "inbox", scheme="tls")
    with relay(serving.url, slow(0.002)) as url:
        sending = commands.start("send", "film.mkv", "--to", url)
        while not any(one.stat().st_size > 600 for one in commands.inbox.glob(".objxfer/*")):
            assert sending.process.poll() is None
        sending.signal(signal.SIGINT)
        stopped = sending.finish()
    assert stopped.code == 130
    return [stopped, commands.run("send", "film.mkv", "--to", serving.url)]


def full(commands: Commands) -> list[Finished]:
    film = (commands.folder / "film.mkv").read_bytes()
    with Mounts() as mounts:
        mounts.mount(commands.inbox, "size=20m")
        serving = commands.listen("serve", str(commands.inbox), scheme="tls", inside=mounts.inside)
        sending = ("send", "-", "--name", "film.mkv", "--to", serving.url)
        stopped = commands.run(*sending, stdin=film)
        mounts.change(commands.inbox, "size=200m")
        ended = commands.run(*sending, stdin=film)
        assert (stopped.code, ended.code) == (21, 0)
        assert (mounts.seen(commands.inbox) / "film.mkv").read_bytes() == film
        serving.process.kill()
    return [stopped]


SCENES: Final[dict[str, Callable[[Commands], list[Finished]]]] = {
    "cable": cable,
    "gone": gone,
    "again": again,
    "full": full,
}


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with ExitStack() as stack:
        commands = Commands(tmp_path, stack)
        commands.file("film.mkv", os.urandom(FILM))
        yield commands


@pytest.mark.parametrize(
    "scene",
    [pytest.param(scene, marks=needs_mounts if scene == "full" else ()) for scene in PAGE.scenes],
)
def test_what_a_screen_shows_is_what_happens(scene: str, commands: Commands) -> None:
    PAGE.check(scene, (one.out + one.err for one in SCENES[scene](commands)), alike)
