"""What is logged, in the forms that a command shows it in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from objxfer.escapes import escaped


class Warnings(logging.Handler):
    """Says what the library warns of as the command says its own warnings."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        self._say(record.getMessage())


class Events(logging.Handler):
    """Writes what is logged as events."""

    def __init__(self, write: Callable[..., None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        values: dict[str, object] = {"level": record.levelname.lower()}
        try:
            values["message"] = record.getMessage()
            if record.exc_info:
                values["traceback"] = logging.Formatter().formatException(record.exc_info)
            self._write("log", **values)
        except Exception:  # noqa: BLE001 - as every handler does: logging fails nobody
            self.handleError(record)


class Lines(logging.Handler):
    """Writes what is logged as lines for people, each with nothing that acts on a terminal."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self.setFormatter(_Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        try:
            for line in self.format(record).splitlines():
                self._write(line)
        except Exception:  # noqa: BLE001 - as every handler does: logging fails nobody
            self.handleError(record)


class _Formatter(logging.Formatter):
    """Formats what is logged in escaped lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """See ``logging.Formatter``."""
        return "\n".join(map(escaped, super().formatException(ei).splitlines()))
