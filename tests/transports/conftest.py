"""Sockets to connect to."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """A listener whose backlog is full: on Linux it lets further connections hang."""
    with socket.socket() as deaf, socket.socket() as one, socket.socket() as two:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for sock in (one, two):
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())
        yield deaf
