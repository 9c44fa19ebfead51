"""Runs the jobs of one connection, in a thread that is there only while there are any."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from objxfer.transfer.exchange import Job


class Worker:
    """Runs jobs, one after the other. All is called with the driver's lock held.

    There is no pool: nobody's job ever waits for the thread of another connection, and the
    thread starts as fast as a pool would hand it a job.

    Args:
        jobs: what is to be run, taken from the left.
        changed: of the driver's lock; notified after each job.
        wake: called after each job, without the lock.
    """

    def __init__(
        self, jobs: deque[Job], changed: threading.Condition, wake: Callable[[], None]
    ) -> None:
        self._jobs = jobs
        self._changed = changed
        self._wake = wake
        self._thread: threading.Thread | None = None

    @property
    def is_caller(self) -> bool:
        """Whether it is one of the jobs that asks."""
        return self._thread is threading.current_thread()

    def start(self) -> None:
        """Have all jobs run while the connection goes on.

        Where there is no thread for them they run here, with the lock released meanwhile.
        """
        if self._thread is not None or not self._jobs:
            return
        try:
            # The interpreter does not end before a job does, whoever began it.
            self._thread = threading.Thread(target=self._run, name="objxfer-job", daemon=False)
            if not _started(self._thread):
                self._thread = threading.current_thread()
                self._work()
        except BaseException:
            self._thread = None  # if it runs nevertheless, it finds that it is not the one
            raise

    def _run(self) -> None:
        with self._changed:
            self._work()

    def _work(self) -> None:
        try:
            while self.is_caller and self._jobs:
                job = self._jobs.popleft()
                self._changed.release()
                try:
                    job.run()
                    self._wake()
                finally:
                    self._changed.acquire()
                    self._changed.notify_all()
        finally:
            if self.is_caller:
                self._thread = None


def _started(thread: threading.Thread) -> bool:
    """Start a thread; False where the system has no more of them, or the interpreter ends."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True
