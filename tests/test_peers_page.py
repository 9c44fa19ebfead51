"""The screens of ``docs/peers.md`` are those of real machines on a cable."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from support.commands import Finished
from support.machines import ANNOUNCE, MOVED_IPV4, Machine, acquaint
from support.neighbours import THERE_IPV4, WIRE, Cable, needs_cable
from support.pages import Page
from test_docs import PROJECT, typical

pytestmark = [pytest.mark.timeout(120), needs_cable]
PAGE: Final = Page(PROJECT / "docs" / "peers.md")
VARYING: Final = [
    (re.compile(r"\d+(?:-[a-z]+){3}"), "CODE"),
    (re.compile(r"\[?fe80::[\w:]+%\w+\]?"), "10.0.0.1"),
    (re.compile(r"(key (?:of the pair \()?)[0-9a-f]{8}"), r"\1ID"),
    (re.compile(r"into /\S+"), "into /home/anna"),
    (re.compile(r"(\(10\.0\.0\.1)(?:, 10\.0\.0\.1)+"), r"\1"),
]


def alike(line: str) -> str:
    for varying, constant in VARYING:
        line = varying.sub(constant, line)
    return re.sub(r"HOST(, HOST)+", "HOST", typical(line))


class Scene:
    """Two on a cable."""

    def __init__(self, folder: Path, cable: Cable, exit_stack: ExitStack) -> None:
        self.cable = cable
        self.ben = Machine(folder / "ben", exit_stack, cable.here)
        self.nas = Machine(folder / "nas", exit_stack, cable.there)
        self.ben.commands.file("letter.txt", b"Dear Anna,\n\n")

    def know(self) -> None:
        acquaint(self.ben, "ben", self.nas, "nas")

    def send(self, to: str = "nas") -> Finished:
        return self.ben.run("send", "letter.txt", "--to", to)


def pair(scene: Scene) -> list[Finished]:
    waiting, code, other = scene.nas.wait_with_code("--as", "nas")
    came = scene.ben.run("pair", code, "nas", "--as", "ben")
    ended = waiting.finish()
    said = f"code: {code}\nthere: objxfer pair {code}\nif that finds nobody, add: --from {other}\n"
    return [came, ended._replace(err=said + ended.err)]


def send(scene: Scene) -> list[Finished]:
    scene.know()
    receiving = scene.nas.start("receive")
    said = [receiving.err_line(), receiving.err_line()]
    sent = scene.send("nas:letters")
    return [sent, receiving.finish(), Finished(0, "\n".join(said), "")]


def moved(scene: Scene) -> list[Finished]:
    scene.know()
    there = scene.cable.there
    there.run("ip", "address", "del", f"{THERE_IPV4}/24", "dev", WIRE)
    there.run("ip", "address", "add", f"{MOVED_IPV4}/24", "dev", WIRE)
    scene.nas.listen("serve", "inbox", "--listen", f"tls://{MOVED_IPV4}:7001")
    return [scene.send(), scene.ben.run("peers")]


def another(scene: Scene) -> list[Finished]:
    scene.know()
    scene.nas.commands.key.save(scene.nas.commands.key_file)
    peer_id = scene.nas.peers.own_id().hex()
    scene.nas.peers.remove("ben")
    scene.nas.listen("serve", "inbox", "--listen", "tls://:7002")
    assert scene.cable.there.python(ANNOUNCE, peer_id, "7002").line() == "announced"
    refused = scene.send()
    assert refused.code == 13
    return [refused]


def nobody(scene: Scene) -> list[Finished]:
    scene.know()
    failed = scene.send()
    assert failed.code == 10
    return [failed]


def peers(scene: Scene) -> list[Finished]:
    scene.know()
    run = scene.ben.run
    return [
        run("peers"),
        run("peers", "rename", "nas", "attic"),
        run("peers", "remove", "attic"),
        run("peers"),
    ]


SCENES: Final[dict[str, Callable[[Scene], list[Finished]]]] = {
    "pair": pair,
    "send": send,
    "moved": moved,
    "another": another,
    "nobody": nobody,
    "peers": peers,
}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as exit_stack:
        cable = exit_stack.enter_context(Cable(ipv6=False))
        yield Scene(tmp_path, cable, exit_stack)


@pytest.mark.parametrize("name", SCENES)
def test_what_a_screen_shows_is_what_happens(name: str, scene: Scene) -> None:
    PAGE.check(name, (one.out + one.err for one in SCENES[name](scene)), alike)


def test_every_screen_has_its_scene() -> None:
    assert set(PAGE.scenes) == set(SCENES)
