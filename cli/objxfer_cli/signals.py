"""Signals that end a command: raised once in the main thread, and obeyed within a second."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_PATIENCE: Final = 0.8
"""Seconds for cleaning up; a disk or a reader that hangs does not keep us longer."""
_NUDGE: Final = 0.05


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
    raised = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raised.set()
        raise Interrupted(number)

    for number in numbers:
        signal.signal(number, handle)
    if sys.platform != "win32":
        _watch(raised, last_words)


def _watch(raised: threading.Event, last_words: Callable[[], None]) -> None:
    """Start the thread that sees to it that a signal is obeyed.

    The system may give a signal to any thread, and Python runs its handler in the main one,
    whenever that is done waiting for the peer. So the main thread is sent the signal again.
    """
    assert sys.platform != "win32"
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    main = threading.main_thread().ident
    assert main is not None

    def watch() -> None:
        number = os.read(heard, 1)[0]
        deadline = time.monotonic() + _PATIENCE
        while not raised.wait(_NUDGE) and time.monotonic() < deadline:
            signal.pthread_kill(main, number)
        time.sleep(max(0.0, deadline - time.monotonic()))
        last_words()
        os._exit(128 + number)

    threading.Thread(target=watch, name="objxfer-signals", daemon=True).start()
