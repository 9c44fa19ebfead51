"""The screens of ``docs/sending-files.md`` with several receivers are those of real ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from support.commands import Commands, Finished
from support.pages import Page
from support.relay import relay, slow
from test_docs import PROJECT, typical

pytestmark = pytest.mark.timeout(60)
PAGE: Final = Page(PROJECT / "docs" / "sending-files.md")


def serve(commands: Commands, *names: str) -> list[str]:
    urls = []
    for name in names:
        (commands.folder / name).mkdir()
        urls.append(commands.listen("serve", name, scheme="tls").url)
    return urls


def to(*urls: str) -> list[str]:
    return [word for url in urls for word in ("--to", url)]


def sent(commands: Commands) -> list[Finished]:
    return [commands.run("send", "photos", *to(*serve(commands, "a", "b", "c")))]


def absent(commands: Commands) -> list[Finished]:
    a, b = serve(commands, "a", "b")
    commands.run("send", "photos", "--to", a)
    ended = commands.run("send", "photos", *to(a, b, "tls://127.0.0.1:1"))
    return [ended, Finished(0, str(ended.code), "")]


def stopped(commands: Commands) -> list[Finished]:
    commands.file("film.mkv", os.urandom(24_000_000))
    a, b = serve(commands, "a", "b")
    with relay(a, slow(0.01)) as first, relay(b, slow(0.01)) as second:
        sending = commands.start("send", "film.mkv", *to(first, second))
        for name in "ab":
            # More than its record: a part of the file is there.
            while not any(
                one.stat().st_size > 600 for one in (commands.folder / name).glob(".objxfer/*")
            ):
                assert sending.process.poll() is None
        sending.signal(signal.SIGINT)
        ended = sending.finish()
    assert ended.code == 130
    return [ended]


SCENES: Final[dict[str, Callable[[Commands], list[Finished]]]] = {
    "sent": sent,
    "absent": absent,
    "stopped": stopped,
}


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    with ExitStack() as stack:
        commands = Commands(tmp_path, stack)
        for name in ("a", "b", "c"):
            commands.file(f"photos/{name}.jpg", name.encode() * 50_000)
        yield commands


@pytest.mark.parametrize("scene", SCENES)
def test_what_a_screen_shows_is_what_happens(scene: str, commands: Commands) -> None:
    ended = SCENES[scene](commands)
    printed = [typical(line) for one in ended for line in (one.out + one.err).splitlines()]
    assert sorted(map(typical, PAGE.lines(scene))) == sorted(printed)


def test_every_screen_has_its_scene() -> None:
    assert set(PAGE.scenes) == set(SCENES)
