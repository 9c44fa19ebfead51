"""Somebody between two peers, who passes on what they say, changes it, or falls silent."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def between(
    url: str,
    *,
    forge: Callable[[bytes], bytes] = bytes,
    at_most: int | None = None,
    pause: float = 0.0,
) -> Iterator[str]:
    """Stand between whoever connects, once, and a ``tcp://`` URL; give the URL to connect to.

    Args:
        url: where all is passed on to.
        forge: changes what the one who connected says.
        pause: seconds that each 64 KiB take.
        at_most: bytes of it that are passed on; what comes then is left unread.
    """
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    stop, stopped = socket.socketpair()

    def stand() -> None:
        left = at_most
        with (
            contextlib.suppress(OSError),
            server.accept()[0] as client,
            socket.create_connection((host, int(port))) as beyond,
            selectors.DefaultSelector() as ready,
        ):
            ready.register(stopped, selectors.EVENT_READ)
            ready.register(client, selectors.EVENT_READ, beyond)
            ready.register(beyond, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    source, sink = key.fileobj, key.data
                    if sink is None:
                        return
                    assert isinstance(source, socket.socket)
                    data = source.recv(1 << 16)
                    if not data:
                        return
                    if source is client:
                        data = forge(data)[:left]
                        time.sleep(pause)
                        if left is not None:
                            left -= len(data)
                    sink.sendall(data)
                    if left == 0:
                        ready.unregister(client)
                        left = None

    with socket.create_server(("127.0.0.1", 0)) as server, stop, stopped:
        thread = threading.Thread(target=stand, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        stop.send(b"\0")
        server.close()
        thread.join()
