"""Signals that end a command: raised once in the main thread, and obeyed within a second."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_PATIENCE: Final = 0.8
"""Seconds for cleaning up; a disk or a reader that hangs does not keep us longer."""


class Interrupted(BaseException):
    """A signal asks the command to end.

    Attributes:
        exit_code: 128 and the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def raise_signals(last_words: Callable[[], None]) -> None:
    """Let the first signal raise ``Interrupted`` in the main thread; further ones are ignored.

    What was ignored when we were started stays so, as ``nohup`` wants it.

    Args:
        last_words: called, by another thread, where cleaning up takes too long.
    """
    numbers = [
        number
        for name in _ENDING
        if (number := getattr(signal, name, None)) and signal.getsignal(number) != signal.SIG_IGN
    ]

    def leave(number: int) -> None:
        last_words()
        os._exit(128 + number)

    def handle(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        watchdog = threading.Timer(_PATIENCE, leave, [number])
        watchdog.daemon = True
        watchdog.start()
        raise Interrupted(number)

    for number in numbers:
        signal.signal(number, handle)
