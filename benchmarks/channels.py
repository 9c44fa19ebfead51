"""Whatever carries Python objects to another process: objxfer, and what one would take instead.

Each rival is a context manager that starts the other process and gives the channel to it.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, Final

import objxfer
from benchmarks import cli
from benchmarks.run import Missing

OBJXFER: Final = "objxfer, signed, TCP"
PIPE_TCP: Final = "multiprocessing.connection, TCP"
PIPE_UNIX: Final = "multiprocessing.connection, Unix socket"
ZMQ_BUFFERS: Final = "pyzmq, pickle 5 out of band, TCP"
ZMQ_PYOBJ: Final = "pyzmq, send_pyobj, TCP"

ECHO: Final = "echo"
TAKE: Final = "take"
END: Final = "end"

_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Channel:
    """One end of a duplex channel for objects."""

    send: Callable[[Any], None]
    receive: Callable[[], Any]
    batch: Callable[[], AbstractContextManager[None]] | None = None
    """Lets small objects go together, where a channel can do that."""


Dial = Callable[..., AbstractContextManager[Channel]]


def play_peer(dial: Dial, address: Any, *more: Any) -> None:
    """Be the other process: do what the measuring side says, until it says END."""
    with dial(address, *more) as channel:
        while True:
            what, count = channel.receive()
            if what == END:
                return
            for _ in range(count):
                received = channel.receive()
                if what == ECHO:
                    channel.send(received)
                del received  # so that the next one may use its memory
            if what == TAKE:
                channel.send(count)


@contextmanager
def _peer(dial: Dial, address: Any, *more: Any) -> Iterator[None]:
    """Run ``play_peer`` in a process of its own during the ``with`` block."""
    process = multiprocessing.get_context("spawn").Process(
        target=play_peer, args=(dial, address, *more), daemon=True
    )
    process.start()
    try:
        yield
        process.join(_SECONDS)
    finally:
        process.kill()
        process.join()
        process.close()


@contextmanager
def objxfer_channel(folder: Path) -> Iterator[Channel]:
    """objxfer with a key, and msgpack, which is its default."""
    key = str(cli.new_key(folder / "channel-key"))
    with (
        objxfer.listen("tcp://127.0.0.1:0", key=key) as listener,
        _peer(dial_objxfer, listener.url, key),
        listener.accept(timeout=_SECONDS) as conn,
    ):
        yield Channel(conn.send, conn.recv, conn.batch)
        conn.send((END, 0))


@contextmanager
def dial_objxfer(url: str, key: str) -> Iterator[Channel]:
    with objxfer.connect(url, key=key) as conn:
        yield Channel(conn.send, conn.recv)


@contextmanager
def pipe_channel(family: str) -> Iterator[Channel]:
    """multiprocessing.connection, which pickles; without its authentication."""
    with (
        connection.Listener(("127.0.0.1", 0) if family == "AF_INET" else None, family) as listener,
        _peer(dial_pipe, listener.address),
        listener.accept() as conn,
    ):
        yield Channel(conn.send, conn.recv)
        conn.send((END, 0))


@contextmanager
def dial_pipe(address: Any) -> Iterator[Channel]:
    with connection.Client(address) as conn:
        yield Channel(conn.send, conn.recv)


@contextmanager
def zmq_channel(*, out_of_band: bool) -> Iterator[Channel]:
    """A pair of pyzmq sockets.

    Raises:
        Missing: pyzmq is not installed.
    """
    if importlib.util.find_spec("zmq") is None:
        raise Missing("pyzmq is not installed")
    import zmq

    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        with _peer(dial_zmq, f"tcp://127.0.0.1:{port}", out_of_band):
            channel = _over_zmq(socket, out_of_band=out_of_band)
            yield channel
            channel.send((END, 0))


@contextmanager
def dial_zmq(address: str, out_of_band: bool) -> Iterator[Channel]:
    import zmq

    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.connect(address)
        yield _over_zmq(socket, out_of_band=out_of_band)


def _over_zmq(socket: Any, *, out_of_band: bool) -> Channel:
    if not out_of_band:
        return Channel(socket.send_pyobj, socket.recv_pyobj)

    def send(obj: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        head = pickle.dumps(obj, protocol=5, buffer_callback=buffers.append)
        # copy=False: what is larger than 64 KiB goes out from where it lies.
        socket.send_multipart([head, *buffers], copy=False)

    def receive() -> Any:
        head, *buffers = socket.recv_multipart(copy=False)
        return pickle.loads(head.buffer, buffers=[each.buffer for each in buffers])

    return Channel(send, receive)
