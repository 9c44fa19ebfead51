"""Waiting for several connections at once."""

from __future__ import annotations

import selectors
import time
from collections.abc import Sequence

from objxfer.blocking.connection import Connection


def wait(connections: Sequence[Connection], timeout: float | None = None) -> list[Connection]:
    """Wait until ``recv`` can begin on at least one of several connections.

    Args:
        connections: open ones; the same may not be waited for by two threads at once.
        timeout: seconds, or None to wait for as long as it takes.

    Returns:
        Those on which an object has begun to come, or that have ended; empty when the time
        is up.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.fileno(), selectors.EVENT_READ, connection)
        while True:
            ready = [connection for connection in connections if connection.poll()]
            left = None if deadline is None else deadline - time.monotonic()
            if ready or (left is not None and left <= 0):
                return ready
            selector.select(left)
