"""An object on its way: small ones in a single message, large ones as data behind it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

from objxfer.errors import LimitExceeded, PeerError
from objxfer.files.digest import NODE
from objxfer.limits import Limits
from objxfer.protocol.chunks import CONTROL_LIMIT
from objxfer.protocol.hello import Largest
from objxfer.protocol.messages import Data, Done, Object, Taken
from objxfer.protocol.session import data
from objxfer.transfer.buffers import memory
from objxfer.transfer.progress import Tally
from objxfer.transfer.steps import Port, Receive, Steps, Withdrawn, ask, receive, send

Buffer = bytes | bytearray | memoryview
OnObject = Callable[[Any, Withdrawn], None]
"""Handed each object that was received, before its receipt; raises to refuse it. It may take its
time, and is given what tells whether nobody waits for it any more: then it had better return."""

_INLINE: Final = CONTROL_LIMIT - 1024
"""Objects up to this size travel inside the message that opens them."""
_MOST_BUFFERS: Final = (CONTROL_LIMIT - 64) // 8
"""Their sizes, and the name of the serialiser, are in that message."""
_LARGEST_HEAD: Final = 2**32 - 1


def opening(
    serializer: str, head: Buffer, buffers: Sequence[Buffer], *, receipt_wanted: bool = False
) -> Object:
    """Return the message that opens an object, all of it inside where it is small.

    Raises:
        ValueError: a buffer is empty: a mistake of the serialiser.
        LimitExceeded: there is no message for an object of so many buffers, or such a head.
    """
    if not buffers and len(head) <= _INLINE:
        return Object(serializer, len(head), (), receipt_wanted, bytes(head))
    sizes = tuple(map(len, buffers))
    if 0 in sizes:
        raise ValueError(f"serialiser {serializer} made an empty buffer, which cannot be sent")
    if len(sizes) > _MOST_BUFFERS:
        raise LimitExceeded(f"an object has at most {_MOST_BUFFERS} buffers, not {len(sizes)}")
    if len(head) > _LARGEST_HEAD:
        raise LimitExceeded(f"the head of an object has under 4 GiB, not {len(head)} bytes")
    content = None
    if len(head) + sum(sizes) + 8 * len(sizes) <= _INLINE:
        content = b"".join((head, *buffers))
    return Object(serializer, len(head), sizes, receipt_wanted, content)


def check(message: Object, limits: Limits) -> None:
    """Compare what an object is announced as with what this side accepts.

    Raises:
        LimitExceeded: it is too large; nothing was allocated for it.
    """
    count, head, size = len(message.buffer_sizes), message.head_size, message.size
    if head > limits.head:
        raise LimitExceeded(f"an object's head of {head} bytes is over Limits.head, {limits.head}")
    if size > limits.object:
        raise LimitExceeded(f"an object of {size} bytes is over Limits.object, {limits.object}")
    if count > limits.buffers:
        raise LimitExceeded(
            f"{count} buffers of an object are over Limits.buffers, {limits.buffers}"
        )


def check_fits(message: Object, largest: Largest) -> None:
    """Compare an object of ours with what the peer takes, by what its hello said.

    Raises:
        LimitExceeded: it is too large.
    """
    count, head, size = len(message.buffer_sizes), message.head_size, message.size
    if head > largest.head or size > largest.object or count > largest.buffers:
        raise LimitExceeded(
            f"an object of {size} bytes, {head} of them in its head, in {count} buffers is more"
            f" than the receiver takes ({largest.object}, {largest.head}, {largest.buffers})."
            " Nothing was sent; the connection stays usable."
        )


def parts(message: Object, content: bytes) -> tuple[Buffer, list[memoryview]]:
    """Cut the content of a small object into its head and its buffers, which are writable."""
    at = message.head_size
    if not message.buffer_sizes:
        return content, []
    view = memoryview(bytearray(content))
    head, buffers = view[:at], []
    for size in message.buffer_sizes:
        buffers.append(view[at : at + size])
        at += size
    return head, buffers


def send_object(
    message: Object, head: Buffer, buffers: Sequence[Buffer], tally: Tally
) -> Steps[None]:
    """Send one object, and wait for its receipt where it wants one.

    The buffers must stay as they are until all is written.
    """
    tally.bytes_total = message.size
    yield from send(message)
    if message.content is None:
        for part in (head, *buffers):
            view = memoryview(part)
            for at in range(0, len(view), NODE):
                piece = view[at : at + NODE]
                yield from send(data(piece))
                tally.bytes_done += len(piece)
        yield from send(Done())
    else:
        tally.bytes_done = message.size
    if message.receipt_wanted:
        yield from receive(Taken)


def hand_over(port: Port, take: Callable[[Withdrawn], object], *, receipt: bool) -> Steps[None]:
    """Have the program take an object that came whole, and then say so where that is wanted."""
    yield from ask(port, take)
    if receipt:
        yield from send(Taken())


def receive_object(port: Port, *, message: Object, tally: Tally) -> Steps[list[memoryview]]:
    """Receive the head and the buffers of one object that follows as data.

    Each is allocated when its data comes, which lands directly in it. ``check`` the message first.
    """
    tally.bytes_total = message.size
    sizes = (message.head_size, *message.buffer_sizes)
    starts = [0, *accumulate(sizes)]
    whole: list[memoryview] = []

    def part(index: int) -> memoryview:
        while index >= len(whole):
            whole.append(memory(sizes[len(whole)]))
        return whole[index]

    def land(at: int, size: int) -> memoryview:
        index = bisect_right(starts, at) - 1
        begin = at - starts[index]
        if index < len(sizes) and begin + size <= sizes[index]:
            return part(index)[begin : begin + size]
        return memoryview(bytearray(size))  # it is cut wrongly, which is found below

    port.land = land
    for index, at, size in _cut(sizes):
        one = yield from _next_data()
        if len(one.payload) != size:
            raise PeerError("data of an object is not cut as it must be")
        piece = part(index)[at : at + size]
        if not _landed(one.payload, piece):
            piece[:] = one.payload
        tally.bytes_done += size
    yield from receive(Done)
    part(len(sizes) - 1)  # it may be an empty head
    return whole


def _next_data() -> Steps[Data]:
    message = yield Receive()
    if not isinstance(message, Data):
        raise PeerError("an object ended before it was whole")
    return message


def _cut(sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield part, place in it and size of each piece of data: none crosses the end of a part."""
    for index, whole in enumerate(sizes):
        for at in range(0, whole, NODE):
            yield index, at, min(NODE, whole - at)


def _landed(payload: object, piece: memoryview) -> bool:
    """Tell whether a payload landed where it belongs."""
    return isinstance(payload, memoryview) and payload.obj is piece.obj
