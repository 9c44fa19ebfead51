"""The receiving process of ``objxfer demo``: ``python -m objxfer_cli.demo_receiver KEY DIR``.

It listens twice: over TLS it takes trees into DIR and sends objects back, pickles too; over plain
TCP, where somebody in between can change what passes, it takes one object a connection. It tells
its parent both URLs, then what became of each object over TCP, and ends when its standard input
does.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable

import objxfer


def run(key_file: str, into: str) -> None:
    """Listen until standard input ends."""
    accepts = ["msgpack", "pickle"]
    with (
        objxfer.listen("tls://127.0.0.1:0", key=key_file, accepts=accepts, into=into) as tls,
        objxfer.listen("tcp://127.0.0.1:0", key=key_file, accepts=accepts) as tcp,
    ):
        _say(tls.url)
        _say(tcp.url)
        for listener, take in ((tls, _send_back), (tcp, _judge)):
            threading.Thread(target=_accept, args=(listener, take), daemon=True).start()
        sys.stdin.read()


def _accept(listener: objxfer.Listener, take: Callable[[objxfer.Connection], None]) -> None:
    with contextlib.suppress(objxfer.ConnectionClosed):  # the listener is closed
        while True:
            take(listener.accept())


def _send_back(connection: objxfer.Connection) -> None:
    with connection:
        for came in connection:
            if not isinstance(came, objxfer.Report):
                connection.send(came)


def _judge(connection: objxfer.Connection) -> None:
    try:
        with connection:
            connection.recv()
        _say("taken")
    except objxfer.ObjxferError as error:
        _say(type(error).__name__)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - for the parent, not for a person


if __name__ == "__main__":
    run(*sys.argv[1:])
