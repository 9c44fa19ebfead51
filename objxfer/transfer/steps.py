"""What the generator of an item may ask for. Three requests, no more without an argument.

A generator does nothing itself but think: it yields a step and is resumed with its answer, or
with an error thrown in. What it must release it releases in ``finally``, without yielding.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from objxfer.errors import ExitCode, ObjxferError, PeerError
from objxfer.protocol.messages import Message

T = TypeVar("T")
M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Send:
    """Say a message of this item. Answer: its mark, once it is queued in its turn.

    It waits for credit, and while much is queued. The payload of data must not change before
    it is written: when ``Port.written`` has come up to the mark.
    """

    message: Message


@dataclass(frozen=True, slots=True)
class Receive:
    """Take the next message of this item. Answer: the message, or None if not to ``wait``.

    An abort by the peer is thrown in as ``RefusedByPeer`` at whatever step comes next.
    """

    wait: bool = True


@dataclass(frozen=True, slots=True)
class Run:
    """Do work on the disk or the processor. Answer: what ``call`` returns.

    It is never abandoned: cancelling waits for it. What is not ``brief`` (a flush, a scan) runs
    in a worker thread of the driver while the connection goes on.
    """

    call: Callable[[], Any]
    brief: bool = False


Steps: TypeAlias = Generator[Send | Receive | Run, Any, T]


@dataclass(slots=True)
class Port:
    """What an item's generator and the exchange that runs it share."""

    now: float = 0.0
    """The driver's clock, in seconds, as of this resumption."""
    written: int = 0
    """Bytes of the connection that were written, as of this resumption."""
    cancelled: bool = False
    """Whether an error waits to be thrown in: long work had better end."""
    land: Callable[[int, int], memoryview | None] = lambda _at, size: memoryview(bytearray(size))
    """From the place of a large data payload in all data of the item, and its size, to memory of
    exactly that size; None where there is none now."""


Withdrawn: TypeAlias = Callable[[], bool]
"""Tells whether nobody waits for an answer any more."""


def send(message: Message) -> Steps[int]:
    """Say a message and return its mark."""
    mark: int = yield Send(message)
    return mark


def receive(kind: type[M]) -> Steps[M]:
    """Wait for the next message, which must be of one kind.

    Raises:
        PeerError: it is of another kind.
    """
    message = yield Receive()
    if not isinstance(message, kind):
        raise PeerError(f"{message.type.name} where {kind.__name__} should come")
    return message


def run(call: Callable[[], T], *, brief: bool = False) -> Steps[T]:
    """Do work and return what it returns."""
    result: T = yield Run(call, brief)
    return result


def ask(port: Port, question: Callable[[Withdrawn], object]) -> Steps[None]:
    """Have the program look at what comes, for as long as it likes; it raises to refuse it.

    Raises:
        ObjxferError: it was declined, by an interrupt (exit code ``REFUSED``); or nobody waits for
            it any more, and why.
    """
    try:
        yield Run(lambda: question(lambda: port.cancelled))
        if port.cancelled:
            yield Receive()  # where the reason is thrown in
    except (Exception, GeneratorExit):
        raise
    except BaseException as error:
        raise ObjxferError("it was declined", exit_code=ExitCode.REFUSED) from error
