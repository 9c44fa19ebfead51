"""All items of one connection: routes messages to generators and performs their steps.

Still without I/O. A driver owns an exchange and, under one lock, passes bytes between it and a
transport, lets it ``advance`` with the time, and runs its ``jobs`` wherever it likes. That is
all there is to a driver: the blocking one, and the simulator that the tests run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from objxfer.errors import (
    ExitCode,
    NoSpace,
    ObjxferError,
    PeerError,
    RefusedByPeer,
    Timeout,
)
from objxfer.limits import MIB, Limits
from objxfer.protocol.chunks import CREDITED, OVERHEAD
from objxfer.protocol.handshake import Established
from objxfer.protocol.messages import Abort, Credit, Object, Objects, Opening
from objxfer.protocol.session import INITIAL_CREDIT, Event, Session
from objxfer.protocol.trees import Offer
from objxfer.transfer.steps import Port, Receive, Run, Send, Steps

T = TypeVar("T")

HIGH_WATER: Final = 2 * MIB
"""While this much is queued, nothing more is: the rest waits in its generators."""
SILENCE: Final = 30.0
"""Seconds without a sign of life of the peer, unless a delivery says otherwise."""
_GRANT: Final = INITIAL_CREDIT // 4
"""Credit is renewed in steps of this."""


class Job:
    """A ``Run`` on its way through the driver's worker."""

    __slots__ = ("_call", "_error", "_result", "finished")

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self.finished = False

    def run(self) -> None:
        """Do it: in any thread, without the driver's lock; ``finished`` is set last."""
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - thrown into the generator that asked
            self._error = error
        self.finished = True

    def result(self) -> Any:
        """Return what it returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._result


class Task(Generic[T]):
    """One item's generator on its way."""

    def __init__(self, steps: Steps[T], port: Port, item: int | None, timeout: float) -> None:
        self.item = item
        self.port = port
        self.timeout = timeout
        """Seconds of silence of the peer after which the connection is given up."""
        self.done = False
        self._steps = steps
        self._step: Send | Receive | Run | None = None
        self._started = False
        self._job: Job | None = None
        self._thrown: BaseException | None = None
        self._result: T | None = None
        self._error: BaseException | None = None
        self.mailbox: deque[Event] = deque()
        self.consumed = 0
        self.uncredited = 0
        """Bytes in the mailbox that needed no credit."""

    def throw(self, error: BaseException) -> None:
        """Have ``error`` raised in the generator, once a job of its is through."""
        if not self.done and self._thrown is None:
            self._thrown = error
            self.port.cancelled = True

    def result(self) -> T:
        """Return what the generator returned, or raise what it raised; only once ``done``."""
        assert self.done
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # set wherever there is no error


class Exchange:
    """The items of one connection. Not for use by two threads at once.

    Args:
        established: what the handshake agreed on.
        limits: what this side accepts.
        now: the driver's clock, in seconds.
    """

    def __init__(self, established: Established, limits: Limits, now: float) -> None:
        self.established = established
        self.limits = limits
        self.inbox: deque[Event] = deque()
        """The openings of items that nobody took, oldest first."""
        self.jobs: deque[Job] = deque()
        """What the driver's worker shall run; take them from the left."""
        self.tasks: list[Task[Any]] = []
        """Items on their way, to be looked at only."""
        self._by_item: dict[int, Task[Any]] = {}
        self._waiting: dict[int, deque[Event]] = {}
        self.inbox_bytes = 0
        """What waits in the inbox, as it was on the wire; over ``Limits.inbox``, do not read."""
        self.held = False
        """Whether bytes that were taken off the session lie in the driver's transport."""
        self._heard_at = self._ticked_at = now
        self._chunks_heard = 0
        self._pings = 0
        # Last: what came behind the proof may want to land at once.
        self.session = Session(established, limits, self._land)
        self.route()

    # --- items ---

    def start(
        self, make: Callable[[Port], Steps[T]], *, item: int | None = None, timeout: float
    ) -> Task[T]:
        """Start a generator: for a new item of ours, or for one taken from the inbox."""
        task = Task(make(port := Port()), port, item, timeout)
        self.tasks.append(task)
        if item is not None:
            self._by_item[item] = task
            task.mailbox = self._waiting.pop(item, deque())
            self.inbox_bytes -= sum(event.size for event in task.mailbox)
        return task

    def take(self) -> tuple[int, Object | Offer]:
        """Take the oldest item off the inbox; all of a small object is in it."""
        item, opening, size = self.inbox.popleft()
        self.inbox_bytes -= size
        assert isinstance(opening, (Object, Offer))
        return item, opening

    def refuse(self, item: int, error: Exception) -> None:
        """Refuse an item that was taken from the inbox, for its opening or for what came of it."""
        for event in self._waiting.pop(item, ()):
            self.inbox_bytes -= event.size
        self.session.abort(item, _abort(error))

    @property
    def awaiting(self) -> bool:
        """Whether the peer is waited for: an item is on its way, or bytes are not taken."""
        return bool(self.tasks or self.session.queued or self.held)

    @property
    def full(self) -> bool:
        """Whether so much waits in the inbox that nothing more should be read."""
        return self.inbox_bytes > self.limits.inbox

    # --- what the driver does ---

    def route(self) -> None:
        """Hand what the session was told to the items it is for."""
        session = self.session
        while session.events:
            event = session.events.popleft()
            item, message, size = event
            if isinstance(message, (Object, Offer)):
                self.inbox.append(event)
                self.inbox_bytes += size
                if not message.whole:
                    self._waiting[item] = deque()
                continue
            if isinstance(message, Objects):
                for one in message.objects:
                    size = OVERHEAD + len(one.content or b"")
                    self.inbox.append(Event(item, one, size))
                    self.inbox_bytes += size
                continue
            task = self._by_item.get(item)
            if task is None:
                self._keep(event)
            elif isinstance(message, Abort):
                task.throw(_aborted(message))
            elif not isinstance(message, Credit):
                task.mailbox.append(event)
                if message.type not in CREDITED:
                    self._count(task, event)

    def _count(self, task: Task[Any], event: Event) -> None:
        """Hold what needs no credit to a bound: an honest peer only answers what it was sent."""
        task.uncredited += event.size
        if task.uncredited > self.limits.inbox and self.session.failure is None:
            self.session.give_up()
            self.fail(PeerError("more answers than there were questions"))

    def _keep(self, event: Event) -> None:
        """Keep a message of an item that nobody has taken from the inbox yet."""
        waiting = self._waiting.get(event.item)
        if waiting is None:
            return
        if isinstance(event.message, Abort):
            del self._waiting[event.item]
            self.inbox_bytes -= sum(kept.size for kept in waiting)
            for at, opening in enumerate(self.inbox):
                if opening.item == event.item:
                    self.inbox_bytes -= opening.size
                    del self.inbox[at]
                    break
            return
        waiting.append(event)
        self.inbox_bytes += event.size

    def advance(self, now: float) -> None:
        """Resume every generator that can go on.

        Raises:
            BaseException: an interrupt of the thread that called; the connection must not be
                used any more.
        """
        for task in tuple(self.tasks):
            task.port.now = now
            task.port.written = self.session.bytes_out
            self._resume(task)

    def fail(self, error: ObjxferError) -> None:
        """The connection is dead: every item ends with this error."""
        if self.session.failure is None:
            self.session.failure = error
        for task in self.tasks:
            task.throw(error)

    def tick(self, now: float) -> float | None:
        """Look at the time: ask for a sign of life, or give the connection up.

        Returns:
            When to look again, in seconds from now; None if nothing is awaited.
        """
        session = self.session
        if not self.awaiting or session.failure is not None:
            return None
        timeout = min((task.timeout for task in self.tasks), default=SILENCE)
        # Silence counts only while somebody waits, and then ticks come far more often than this.
        unwatched = now - self._ticked_at > timeout / 2
        self._ticked_at = now
        if unwatched or session.chunks_in != self._chunks_heard:
            self._chunks_heard, self._heard_at, self._pings = session.chunks_in, now, 0
        silence, third = now - self._heard_at, timeout / 3
        if session.stalled:
            # Without memory nothing is read: the peer is not silent, and hears that we are there.
            if silence >= third:
                self._heard_at = now
                session.ping(0)
            return third
        if silence >= timeout:
            reason = f"nothing was heard of the peer for {timeout:g} s"
            if self.full:
                reason += ": both sides send and neither receives"
            self.fail(Timeout(reason))
            return 0.0
        if silence >= third * (self._pings + 1):
            self._pings += 1  # two at the most in one silence, so they may queue up
            session.ping(self._pings)
        return third * (self._pings + 1) - silence if self._pings < 2 else timeout - silence

    # --- inside ---

    def _land(self, item: int, at: int, size: int) -> memoryview | None:
        task = self._by_item.get(item)
        return task.port.land(at, size) if task else memoryview(bytearray(size))

    def _resume(self, task: Task[Any]) -> None:
        while not task.done:
            answer: Any = None
            error: BaseException | None = None
            step = task._step
            if task._thrown is not None and task._job is None:
                # A job's result comes first: it may be something that must be closed.
                error, task._thrown = task._thrown, None
            elif step is not None:
                try:
                    ready, answer = self._perform(task, step)
                except Exception as raised:  # noqa: BLE001 - the generator sees it where it asked
                    ready, error = True, raised
                if not ready:
                    return
            try:
                if error is not None:
                    task._step = task._steps.throw(error)
                else:
                    task._step = task._steps.send(answer)
            except StopIteration as stop:
                self._finish(task, stop.value, None)
            except BaseException as raised:
                self._finish(task, None, raised)
                if raised is not error and not isinstance(raised, Exception):
                    raise  # an interrupt struck here: it is for the thread, not for the item

    def _perform(self, task: Task[Any], step: Send | Receive | Run) -> tuple[bool, Any]:
        """Try a step: whether it is through, and its answer."""
        session = self.session
        if isinstance(step, Send):
            message = step.message
            if session.failure is not None:
                raise session.failure
            if session.queued >= HIGH_WATER:
                return False, None
            if task.item is None:
                assert isinstance(message, Opening), "an item begins with its opening"
                if isinstance(message, Offer) and not self.established.theirs.trees:
                    raise RefusedByPeer("this receiver takes no files")
                task.item = session.open(message)
                if session.live(task.item):
                    self._by_item[task.item] = task
                return True, session.bytes_queued
            return session.send(task.item, message), session.bytes_queued
        if isinstance(step, Receive):
            if task.mailbox:
                event = task.mailbox.popleft()
                self._grant(task, event)
                return True, event.message
            if step.wait and session.failure is not None:
                raise session.failure
            return not step.wait, None
        if step.brief:
            return True, step.call()
        if task._job is None:
            task._job = Job(step.call)
            self.jobs.append(task._job)
        if not task._job.finished:
            return False, None
        job, task._job = task._job, None
        return True, job.result()

    def _grant(self, task: Task[Any], event: Event) -> None:
        if event.message.type not in CREDITED:
            task.uncredited -= event.size
            return
        task.consumed += event.size
        assert task.item is not None
        if task.consumed >= _GRANT and self.session.live(task.item):
            self.session.send(task.item, Credit(task.consumed))
            task.consumed = 0

    def _finish(self, task: Task[Any], result: object, error: BaseException | None) -> None:
        task.done = True
        task._result, task._error = result, error
        task.mailbox.clear()
        self.tasks.remove(task)
        item = task.item
        if item is None:
            return
        self._by_item.pop(item, None)
        if isinstance(error, PeerError):
            self.session.give_up()
            self.fail(error)
        elif error is not None and self.session.failure is None:
            self.session.abort(item, _abort(error))


def _abort(error: BaseException) -> Abort:
    """Return how an error is told to the peer: ours in its words, others by their kind alone."""
    if isinstance(error, ObjxferError):
        code = ExitCode.PEER_NO_SPACE if isinstance(error, NoSpace) else error.exit_code
        return Abort(code, b"", str(error))
    if not isinstance(error, Exception):
        # Interrupted: not for anything about the item, and it may be tried again.
        return Abort(ExitCode.CONNECTION_LOST, b"", "it was interrupted there")
    return Abort(ExitCode.FAILED, b"", f"{type(error).__name__} at the other side")


def _aborted(message: Abort) -> ObjxferError:
    """Return what the peer's abort means to this side; its words are escaped."""
    text = ascii(message.text)[1:-1] or "no reason given"
    if message.code == ExitCode.PEER_NO_SPACE:
        return NoSpace(text, exit_code=ExitCode.PEER_NO_SPACE)
    return RefusedByPeer(text, exit_code=message.code if message.code else ExitCode.FAILED)
