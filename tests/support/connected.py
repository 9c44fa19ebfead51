"""Two connections that talk to each other, and work done beside the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from objxfer.blocking.connecting import connect
from objxfer.blocking.connection import Connection
from objxfer.blocking.listener import listen
from objxfer.security.keys import Key

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which a test that waits has failed."""
KEY = Key.from_bytes(bytes(range(32)))
OTHER_KEY = Key.from_bytes(bytes(range(1, 33)))

Pair = tuple[Connection, Connection]
"""The side that connected, and the side that listened."""


def begin(call: Callable[..., T], *args: Any, **named: Any) -> Future[T]:
    """Call something in a thread of its own; ``result(PATIENCE)`` has what becomes of it."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call(*args, **named))
        except BaseException as error:  # noqa: BLE001 - the one who asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


@contextmanager
def connected(
    scheme: str = "tcp",
    *,
    here: dict[str, Any] | None = None,
    there: dict[str, Any] | None = None,
    **both: Any,
) -> Iterator[Pair]:
    """Connect two ends over loopback.

    Args:
        scheme: of the URL.
        here: what ``connect`` is told.
        there: what ``listen`` is told.
        both: what both are told; a key unless it says otherwise.
    """
    terms: dict[str, Any] = {"key": KEY} | both
    with listen(f"{scheme}://127.0.0.1:0", **(terms | (there or {}))) as listener:
        client = connect(listener.url, **(terms | (here or {})))
        server = listener.accept(PATIENCE)
    try:
        yield client, server
    finally:
        client.abandon()
        server.abandon()
