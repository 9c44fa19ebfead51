"""A pickle that leaves a mark where it is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


class Marks:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)
