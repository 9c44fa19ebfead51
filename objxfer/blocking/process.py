"""What all connections of one process share: the threads that run their jobs."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

MOST: Final = 2048
"""Jobs that run at once. Each may wait without end, for a disk that hangs or somebody who is
asked: there are as many threads as that takes, and the others are not kept waiting by it."""


class Process:
    """Stands for one process: its child has another. Safe for any threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers: Callable[[], ThreadPoolExecutor | None] = lambda: None

    def workers(self) -> ThreadPoolExecutor:
        """Return the threads for jobs; they end when nobody holds what this returned."""
        with self._lock:
            workers = self._workers()
            if workers is None:
                workers = ThreadPoolExecutor(MOST, thread_name_prefix="objxfer-job")
                self._workers = weakref.ref(workers)
            return workers


_current = Process()


def current() -> Process:
    """Return the process that calls."""
    return _current


def _forked() -> None:
    global _current
    _current = Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
