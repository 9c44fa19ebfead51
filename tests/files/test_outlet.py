"""What a stream gets of a file, and how it says that it takes no more."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator

import pytest

from objxfer.errors import FileFailed
from objxfer.files.entries import Action
from objxfer.files.outlet import Outlet
from support.connected import PATIENCE
from support.inbox import file

CONTENTS = bytes(range(256)) * 2048  # more than a pipe holds


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe that does not wait when it is full."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    yield reading, writing
    for fd in (reading, writing):
        os.close(fd)


@pytest.mark.parametrize("buffering", [0, 4096])
def test_a_full_pipe_is_waited_for(pipe: tuple[int, int], buffering: int) -> None:
    reading, writing = pipe
    came = bytearray()

    def read() -> None:
        while len(came) < len(CONTENTS):
            came.extend(os.read(reading, 65536))

    reader = threading.Thread(target=read, daemon=True)
    with open(writing, "wb", buffering=buffering, closefd=False) as stream:
        reader.start()
        outlet = Outlet(stream)
        outlet.pack([file(b"a", CONTENTS)])
        ((_, receipt),) = outlet.publish()
        reader.join(PATIENCE)
    assert receipt.action is Action.RECEIVED
    assert came == CONTENTS


class Stuck(io.RawIOBase):
    """A stream without a descriptor that takes nothing now."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> None:
        return None


def test_what_cannot_be_waited_for_fails() -> None:
    with pytest.raises(FileFailed, match="the output is full"):
        Outlet(Stuck()).write(b"x")  # type: ignore[arg-type]  # a raw stream is one in all but name


def test_a_reader_that_left_is_said() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (
        open(writing, "wb", buffering=0) as stream,
        pytest.raises(FileFailed, match="takes no more: broken pipe"),
    ):
        Outlet(stream).write(b"x")
