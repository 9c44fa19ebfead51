"""The screens of ``docs/inbox.md`` are those of real machines on a cable."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

import objxfer
from objxfer import Pair, Peer
from support.commands import Running
from support.machines import Machine
from support.neighbours import THERE_IPV4, Cable, needs_cable
from support.pages import Page
from test_docs import PROJECT, typical

pytestmark = [pytest.mark.timeout(120), needs_cable]
PAGE: Final = Page(PROJECT / "docs" / "inbox.md")
RULES: Final = re.search(
    r"<!-- rules -->\n```toml\n(.*?)^```$", PAGE.text, re.DOTALL | re.MULTILINE
)


def alike(line: str) -> str:
    line = re.sub(r"\b(by|at) nas\b", r"\1 PEER", line)  # a peer is named as it was called
    return typical(re.sub(r"inbox /\S+:", "inbox /home/anna/inbox:", line))


class Scene:
    """An inbox, and two peers of the machine that it is on."""

    def __init__(self, folder: Path, cable: Cable, exit_stack: ExitStack) -> None:
        self.nas = Machine(folder / "nas", exit_stack, cable.there)
        self.ben = self._peer(folder, "ben", cable, exit_stack)
        self.carol = self._peer(folder, "carol", cable, exit_stack)
        self._peer(folder, "old laptop", cable, exit_stack)
        objxfer.Key.generate().save(self.nas.commands.folder / "scanner.key")

    def _peer(self, folder: Path, name: str, cable: Cable, exit_stack: ExitStack) -> Machine:
        machine = Machine(folder / name, exit_stack, cable.here)
        key, when = objxfer.Key.generate(), datetime.now(UTC)
        own, there = machine.peers.own_id(), self.nas.peers.own_id()
        url = f"tls://{THERE_IPV4}:6259"
        machine.peers.add(Peer("nas", Pair(key, own, there), when, THERE_IPV4, (url,)))
        self.nas.peers.add(Peer(name, Pair(key, there, own), when, "10.0.0.1"))
        machine.commands.file("letter.txt", b"Dear Anna,\n\n")
        return machine

    def serve(self, *rules: str) -> tuple[Running, list[str]]:
        """Start the inbox; return it, and what it has said."""
        serving = self.nas.start("serve", "inbox", *rules)
        said = [serving.err_line()]
        while not said[-1].startswith("listening on "):
            assert said[-1], "it ended before it listened"
            said.append(serving.err_line())
        return serving, said


def end(serving: Running) -> list[str]:
    serving.signal(signal.SIGTERM)
    ended = serving.finish()
    assert ended.code == 0
    return [*ended.out.splitlines(), *ended.err.splitlines()]


def typed(machine: str, number: int = 0) -> list[str]:
    """The arguments of a command that the page shows at a machine."""
    commands = re.findall(rf"^{machine}\$ objxfer (.*)$", PAGE.text, re.MULTILINE)
    return str(commands[number]).split()


def named(scene: Scene, number: int = 0) -> list[str]:
    serving, said = scene.serve(*typed("nas", number)[2:])
    sent = scene.ben.run(*typed("ben"))
    refused = scene.carol.run(*typed("carol", number))
    assert (sent.code, refused.code) == (0, 20)
    assert (scene.nas.inbox / "ben" / "letter.txt").is_file()
    return [*said, sent.out, *refused.err.splitlines(), *end(serving)]


def quota(scene: Scene) -> list[str]:
    scene.nas.commands.file("inbox/ben/old", bytes(2_000_000))
    scene.ben.commands.file("film.mp4", bytes(3_500_000))
    serving, _ = scene.serve(*typed("nas")[2:])
    refused = scene.ben.run(*typed("ben", 1))
    assert refused.code == 21
    end(serving)
    return refused.err.splitlines()


def reload(scene: Scene) -> list[str]:
    assert RULES
    rules = scene.nas.commands.file("rules.toml", RULES[1].encode())
    serving, said = scene.serve("--config", "rules.toml")
    assert scene.ben.run(*typed("ben")).code == 0
    said.append(serving.out_line())
    for size, lines in (("5 MiB", 1), ("7MB", 4)):
        rules.write_text(RULES[1].replace("5MB", size))
        serving.signal(signal.SIGHUP)
        said += [serving.err_line() for _ in range(lines)]
    end(serving)
    return said


SCENES: Final[dict[str, Callable[[Scene], list[str]]]] = {
    "named": named,
    "rights": lambda scene: named(scene, 1),
    "quota": quota,
    "reload": reload,
}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as exit_stack:
        cable = exit_stack.enter_context(Cable(ipv6=False))
        yield Scene(tmp_path, cable, exit_stack)


@pytest.mark.parametrize("name", SCENES)
def test_what_a_screen_shows_is_what_happens(name: str, scene: Scene) -> None:
    PAGE.check(name, SCENES[name](scene), alike)
