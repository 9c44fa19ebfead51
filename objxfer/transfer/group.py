"""The group: files that are finished and flushed together, so that their receipts come together."""

from __future__ import annotations

from typing import Final

from objxfer.limits import MIB

FILES: Final = 200
"""All of them are held open until then."""
_BYTES: Final = 64 * MIB
_SECONDS: Final = 2.0


class Group:
    """Counts the files of a group, not what is done with them.

    Attributes:
        files: how many wait for their receipts.
    """

    def __init__(self) -> None:
        self.files = 0
        self._bytes = 0
        self._began = 0.0

    @property
    def room(self) -> int:
        """How many files it still takes."""
        return FILES - self.files

    def add(self, files: int, size: int, now: float) -> None:
        """Hear of files that are finished, and of their bytes together."""
        if not self.files:
            self._began = now
        self.files += files
        self._bytes += size

    def due(self, now: float) -> bool:
        """Tell whether it is large or old enough to be published, whatever comes next."""
        return self.files > 0 and (
            self.files >= FILES or self._bytes >= _BYTES or now - self._began >= _SECONDS
        )

    def clear(self) -> None:
        """Hear that it is published."""
        self.files = self._bytes = 0
