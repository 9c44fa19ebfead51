"""The screens of ``docs/first-contact.md`` are those of two who meet by a code."""

from __future__ import annotations

import os
import pty
import re
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from support.commands import Commands, Running
from support.neighbours import Cable, needs_cable
from support.pages import Page
from test_docs import PROJECT, typical

pytestmark = pytest.mark.timeout(60)
PAGE: Final = Page(PROJECT / "docs" / "first-contact.md")
CODE: Final = re.compile(r"\b\d+(?:-[a-z]+){3}\b")
HERE: Final = ("--listen", "tls://127.0.0.1:0")
QUESTION: Final = "take it? [Y/n] "
Said = tuple[list[str], list[str]]
"""What Ben's screen shows, and what Anna's does."""


class Screen:
    """A command whose standard input is a terminal, at which somebody answers."""

    def __init__(self, commands: Commands, stack: ExitStack, *arguments: str) -> None:
        self._person, program = pty.openpty()
        stack.callback(os.close, self._person)
        with os.fdopen(program, "rb") as terminal:
            self.running = commands.start(*arguments, stdin=terminal)
        self._said = b""

    def until(self, words: str) -> str:
        """Wait until something is on the screen, and return the line that it ends."""
        assert self.running.process.stderr is not None
        while not (
            found := re.search(f"^.*{words}", self._said.decode(errors="replace"), re.MULTILINE)
        ):
            byte = os.read(self.running.process.stderr.fileno(), 1)
            assert byte, self._said
            self._said += byte
        return found[0]

    def code(self) -> tuple[str, str]:
        """Return the code it shows, and the address."""
        code = self.until("code: .*\n").split()[1]
        return code, self.until(r"tls://\S+\n").split()[-1]

    def answer(self, answer: str) -> None:
        self.type(QUESTION, f"{answer}\n")

    def type(self, words: str, keys: str) -> None:
        """Type something once these words are on the screen."""
        self.until(re.escape(words))
        os.write(self._person, keys.encode())

    def end(self) -> list[str]:
        """Return the lines of the screen."""
        done = self.running.finish()
        said = self._said.decode() + done.err
        return (said.replace(QUESTION, f"{QUESTION}\n") + done.out).splitlines()


class Stage:
    """Where Ben sends and Anna receives."""

    def __init__(self, commands: Commands, stack: ExitStack) -> None:
        self.commands = commands
        self._stack = stack

    def screen(self, *arguments: str) -> Screen:
        return Screen(self.commands, self._stack, *arguments)

    def send(self, answer: str = "y") -> Said:
        ben = self.screen("send", "report.pdf", *HERE)
        code, url = ben.code()
        anna = self.screen("receive", code, "--from", url, "--into", "anna")
        anna.answer(answer)
        return ben.end(), anna.end()

    def invite(self) -> Said:
        anna = self.screen("receive", "--into", "anna", *HERE)
        code, url = anna.code()
        ben = self.screen("send", "photos", "--code", code, "--to", url)
        anna.answer("y")
        return ben.end(), anna.end()

    def text(self) -> Said:
        ben = self.screen("send", "--text", "-", *HERE)
        typed = "correct horse battery staple"
        ben.type("behind it:\n", f"{typed}\n\x04")
        code, url = ben.code()
        anna = self.screen("receive", code, "--from", url)
        anna.answer("y")
        return [typed, *ben.end()], anna.end()

    def unattended(self) -> Said:
        ben = self.screen("send", "report.pdf", *HERE)
        code, url = ben.code()
        anna = self.commands.run("receive", code, "--from", url, "--into", "anna")
        return ben.end(), anna.err.splitlines()

    def wrong(self) -> Said:
        ben = self.screen("send", "report.pdf", *HERE)
        code, url = ben.code()
        room, first, second, _ = code.split("-")
        other = "walnut" if not code.endswith("walnut") else "copper"
        anna = self.commands.run("receive", f"{room}-{first}-{second}-{other}", "--from", url)
        ben.until("is burnt\n")
        ben.until(f"code: (?!{code}).*\nthere: .*\n")
        ben.running.process.kill()
        return ben.end(), anna.err.splitlines()

    def alone(self) -> Said:
        with Cable() as cable:
            running: Running = self.commands.start(
                "receive", "4-walnut-copper-tiger", inside=cable.here.inside
            )
            return [], [running.err_line()]


SCENES: Final[dict[str, Callable[[Stage], list[str]]]] = {
    "send": lambda stage: stage.send()[0],
    "receive": lambda stage: stage.send()[1],
    "invite": lambda stage: stage.invite()[1],
    "accept": lambda stage: stage.invite()[0],
    "declined": lambda stage: stage.send("n")[0],
    "text": lambda stage: stage.text()[0],
    "shown": lambda stage: stage.text()[1],
    "unattended": lambda stage: stage.unattended()[1],
    "wrong": lambda stage: stage.wrong()[1],
    "burnt": lambda stage: stage.wrong()[0],
    "alone": lambda stage: stage.alone()[1],
    "from": lambda stage: stage.send()[1],
}


def alike(line: str, folder: str) -> str:
    """Text in which what varies is the same."""
    if line.startswith(QUESTION):
        return QUESTION  # whatever the answer
    line = CODE.sub("CODE", line).replace(f"{folder}/anna", "FOLDER")
    line = line.replace("/home/anna", "FOLDER")
    return typical(re.sub(r"\b(?:MB|kB|GB)\b", "B", line))


@pytest.mark.parametrize(
    "scene",
    [pytest.param(scene, marks=needs_cable if scene == "alone" else ()) for scene in PAGE.scenes],
)
def test_what_a_screen_shows_is_what_happens(scene: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        commands = Commands(tmp_path, stack)
        commands.key_file.unlink()
        commands.file("report.pdf", bytes(2_410_000))
        for name in ("a", "b", "c"):
            commands.file(f"photos/{name}.jpg", name.encode() * 50_000)
        (tmp_path / "anna").mkdir()
        said = SCENES[scene](Stage(commands, stack))
    PAGE.check(scene, said, partial(alike, folder=str(tmp_path)))


def test_all_scenes_are_played() -> None:
    assert set(PAGE.scenes) == set(SCENES)
