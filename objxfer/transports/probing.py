"""What each of several addresses does, for who wants to know why it does not connect."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

from objxfer.transports.addresses import resolve, timed_out
from objxfer.transports.dialling import begin, end
from objxfer.transports.urls import Url


class Attempt(NamedTuple):
    """What came of one address."""

    url: Url
    seconds: float
    """Until it connected, or failed."""
    sock: socket.socket | None
    """Connected and blocking, and the caller's to close; None where it failed."""
    error: OSError | None
    """Why it failed."""


def dial_all(urls: Sequence[Url], deadline: float, patience: float) -> list[Attempt]:
    """Connect to each of several addresses, all at once, and tell what each of them does.

    ``dial`` is for who wants a connection; this is for who wants to know.

    Args:
        urls: their hosts are addresses, not names.
        deadline: when to give up, in seconds of ``time.monotonic()``.
        patience: seconds that the others have left once the first has connected.

    Returns:
        One for each URL, in order.
    """
    attempts: dict[Url, Attempt] = {}
    began = time.monotonic()
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as on_failure:
        on_failure.callback(_close_all, selector)

        def ended(url: Url, outcome: socket.socket | OSError) -> None:
            nonlocal deadline
            seconds = time.monotonic() - began
            if isinstance(outcome, OSError):
                attempts[url] = Attempt(url, seconds, None, outcome)
                return
            attempts[url] = Attempt(url, seconds, on_failure.enter_context(outcome), None)
            deadline = min(deadline, time.monotonic() + patience)

        for url in dict.fromkeys(urls):
            try:
                address = resolve(url.host, url.port, socket.AI_NUMERICHOST)[0]
                sock = begin(address, selector, url)
            except OSError as error:
                ended(url, error)
            else:
                if sock is not None:
                    ended(url, sock)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                ended(key.data, end(selector, key))
        for key in selector.get_map().values():
            ended(key.data, timed_out())
        _close_all(selector)
        on_failure.pop_all()
    return [attempts[url] for url in dict.fromkeys(urls)]


def _close_all(selector: selectors.BaseSelector) -> None:
    """Close the attempts that are on their way."""
    for key in selector.get_map().values():
        assert isinstance(key.fileobj, socket.socket)
        key.fileobj.close()
