"""Runs the jobs of one connection, in a thread that is there while there are any."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from objxfer.transfer.exchange import Job

_LINGER: Final = 0.5
"""Seconds that a thread waits for another job: most follow at once, and a new thread for each small
one cost 5 % of a delivery of small files. So long may the interpreter take to end, too, where a
connection was not closed."""


class Worker:
    """Runs jobs, one after the other. All is called with the driver's lock held.

    There is no pool: nobody's job ever waits for the thread of another connection.

    Args:
        jobs: what is to be run, taken from the left.
        lock: the driver's.
        changed: of that lock; notified after each job.
        wake: called after each job, without the lock.
    """

    def __init__(
        self,
        jobs: deque[Job],
        lock: threading.Lock,
        changed: threading.Condition,
        wake: Callable[[], None],
    ) -> None:
        self._jobs = jobs
        self._lock = lock
        self._changed = changed
        self._wake = wake
        self._more = threading.Condition(lock)
        """Notified where there is another job, or will be none."""
        self._ended = False
        self._thread: threading.Thread | None = None

    @property
    def is_caller(self) -> bool:
        """Whether it is one of the jobs that asks."""
        return self._thread is threading.current_thread()

    def start(self) -> None:
        """Have all jobs run while the connection goes on.

        Where there is no thread for them they run here, with the lock released meanwhile.
        """
        if not self._jobs:
            return
        if self._thread is not None:
            self._more.notify()
            return
        try:
            # The interpreter does not end before a job does, whoever began it.
            self._thread = threading.Thread(target=self._run, name="objxfer-job", daemon=False)
            if not _started(self._thread):
                self._thread = threading.current_thread()
                self._work(linger=0.0)
        except BaseException:
            self._thread = None  # if it runs nevertheless, it finds that it is not the one
            raise

    def end(self) -> None:
        """Let a thread go that waits for more to do: there is no more."""
        self._ended = True
        self._more.notify()

    def _run(self) -> None:
        with self._lock:
            self._work(_LINGER)

    def _work(self, linger: float) -> None:
        try:
            while self.is_caller and self._comes(linger):
                job = self._jobs.popleft()
                self._lock.release()
                try:
                    job.run()
                    self._wake()
                finally:
                    self._lock.acquire()
                    self._changed.notify_all()
        finally:
            if self.is_caller:
                self._thread = None

    def _comes(self, linger: float) -> bool:
        """Whether there is a job, after a moment's wait for one."""
        self._more.wait_for(lambda: self._jobs or self._ended, linger)
        return bool(self._jobs)


def _started(thread: threading.Thread) -> bool:
    """Start a thread; False where the system has no more of them, or the interpreter ends."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True
