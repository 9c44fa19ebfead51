"""Signals: one ends the command within a second, two at once, and SIGUSR1 asks how far it is."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final, NoReturn

from objxfer_cli.terminal import Terminal

_ENDING: Final = ("SIGINT", "SIGTERM", "SIGHUP")
_HANGUP: Final = getattr(signal, "SIGHUP", None)
_PATIENCE: Final = 0.8
"""Seconds for cleaning up; a disk or a reader that hangs does not keep us longer."""
_ECHO: Final = 0.05
"""Seconds in which signals count as one: ``timeout`` sends each twice, and so does a shell whose
terminal is closed."""
_NUDGE: Final = 0.05
_MOMENT: Final = 0.1
"""Seconds for last words, which a terminal that is stopped does not take."""


class Interrupted(BaseException):
    """A signal asks the command to end.

    Attributes:
        number: the signal.
        exit_code: 128 and its number.
        echo_ends: the monotonic time from which another signal is the second one.
        deadline: the monotonic time at which the process ends, whatever it is doing then.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.exit_code = 128 + number
        now = time.monotonic()
        self.echo_ends = now + _ECHO
        self.deadline = now + _PATIENCE

    def put_off(self, seconds: float) -> None:
        """Let the process end so much later.

        Returns when another signal is the second one: so whoever answers with one to what is
        said next is heard.
        """
        self.deadline += seconds
        time.sleep(max(0.0, self.echo_ends - time.monotonic()))


class Signals:
    """Heeds the signals of this process; one is made, by the main thread.

    The first of SIGINT, SIGTERM and SIGHUP raises ``Interrupted`` in the main thread; the second
    ends the process where it stands. SIGUSR1 lets the terminal tell how far things are. A SIGHUP
    that the command waits for (``Terminal.hung_up``) does not end it. What was ignored when we were
    started stays so, as ``nohup`` wants it.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._ending = [
            number
            for name in _ENDING
            if (number := getattr(signal, name, None))
            and signal.getsignal(number) != signal.SIG_IGN
        ]
        self._unheard: Interrupted | None = None
        self._raised: Interrupted | None = None
        self._over = False
        for number in self._ending:
            signal.signal(number, self._handle)
        if sys.platform != "win32":
            self._watch_from_now_on()

    def over(self) -> None:
        """Say that the command is at its end: nothing is raised from now on."""
        self._over = True

    # --- in the main thread ---

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._terminal.hung_up is not None and number == _HANGUP:
            return
        if self._raised is None:
            self._raise(Interrupted(number))
        elif sys.platform == "win32":
            os._exit(128 + number)

    def _raise(self, interrupted: Interrupted | None) -> None:
        if interrupted is not None and self._raised is None and not self._over:
            self._raised = interrupted
            raise interrupted

    def _watch_from_now_on(self) -> None:
        """Start the threads that see to it that signals are obeyed, and answered.

        The system may give a signal to any thread, and Python runs its handler in the main one,
        whenever that is done waiting. So a thread reads the numbers of the signals from a pipe. It
        calls the main thread by SIGURG, which means nothing otherwise, until that has heard.
        SIGUSR1 has no handler: it is blocked in all threads, and waited for in one. So it
        interrupts nothing, not even an interpreter that is about to end.
        """
        assert sys.platform != "win32"
        self._heard, told = os.pipe()
        os.set_blocking(told, False)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        self._poll = select.poll()
        self._poll.register(self._heard, select.POLLIN)
        signal.signal(signal.SIGURG, lambda _number, _frame: self._raise(self._unheard))
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        for name, run in (("signals", self._watch), ("answers", self._answer)):
            threading.Thread(target=run, name=f"objxfer-{name}", daemon=True).start()

    # --- in threads of their own ---

    def _watch(self) -> None:
        """See to it that the first signal is obeyed, and the second one too."""
        assert sys.platform != "win32"
        main = threading.main_thread().ident
        first = self._next(None)
        assert main is not None
        assert first is not None
        self._unheard = Interrupted(first)
        while time.monotonic() < (interrupted := self._raised or self._unheard).deadline:
            until = interrupted.deadline
            if self._raised is None:
                signal.pthread_kill(main, signal.SIGURG)
                until = min(until, time.monotonic() + _NUDGE)
            second = self._next(until)
            if second is not None and time.monotonic() >= interrupted.echo_ends:
                _end(second, self._terminal.fall_silent)
        _end(first, self._last_words)

    def _next(self, deadline: float | None) -> int | None:
        """Return the next signal that ends us, or None at the deadline."""
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            if not self._poll.poll(left):
                return None
            number = os.read(self._heard, 1)[0]
            if self._terminal.hung_up is not None and number == _HANGUP:
                self._terminal.hung_up.set()
            elif number in self._ending:
                return number

    def _answer(self) -> None:
        """Tell who asks."""
        assert sys.platform != "win32"
        while True:
            with suppress(OSError):  # who writes to standard output next fails by it, and says so
                signal.sigwait([signal.SIGUSR1])
                self._terminal.tell()

    def _last_words(self) -> None:
        self._terminal.interrupted()
        self._terminal.fall_silent()


def _end(number: int, last: Callable[[], None]) -> NoReturn:
    """End the process at once, but for a moment in which the terminal is left clean."""
    try:
        thread = threading.Thread(target=last, daemon=True)
        thread.start()
        thread.join(_MOMENT)
    finally:
        os._exit(128 + number)
