"""A page of ``docs/`` and its screens, each of which a test plays as a scene."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

_SCREEN: Final = re.compile(r"<!-- scene: (\w+) -->\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TYPED: Final = re.compile(r"\w+\$ ")


class Page:
    """What a page shows; a scene may have several screens."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text("utf-8")
        self._screens: list[tuple[str, str]] = _SCREEN.findall(self.text)

    @property
    def scenes(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self._screens))

    def lines(self, scene: str) -> list[str]:
        """Return what programs say in it."""
        shown = [
            line.removeprefix("^C")
            for name, screen in self._screens
            if name == scene
            for line in screen.splitlines()
            if not _TYPED.match(line)
        ]
        assert shown
        return shown

    def check(self, scene: str, said: Iterable[str], alike: Callable[[str], str]) -> None:
        """Check that each of its lines was said, but for what varies, of which ``alike`` is."""
        printed = [alike(line) for text in said for line in text.splitlines()]
        for line in self.lines(scene):
            assert alike(line) in printed, f"{line}\n\n{printed}"
