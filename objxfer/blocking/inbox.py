"""What the peer sends: objects and trees, taken one after the other, by any thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from objxfer.blocking.pump import Pump
from objxfer.blocking.rules import Rules
from objxfer.blocking.terms import Terms
from objxfer.errors import ConnectionClosed, NotAllowed, ObjxferError, RefusedByPeer, Timeout
from objxfer.protocol.messages import Object, Taken
from objxfer.protocol.trees import Offer
from objxfer.security.sealing import Verified
from objxfer.serializers.base import AnySerializer, Buffer
from objxfer.transfer.exchange import Task
from objxfer.transfer.objects import OnObject, check, hand_over, parts, receive_object
from objxfer.transfer.progress import Progress, Tally, shown, so_far
from objxfer.transfer.report import OnEntry, Report
from objxfer.transfer.steps import Withdrawn

if TYPE_CHECKING:
    from objxfer.transfer.receiving import OnOffer


class Course(NamedTuple):
    """How what is taken is followed on its way."""

    silence: float
    """Seconds without a sign of life of the peer that end it."""
    progress: Progress | None
    on_entry: OnEntry | None
    on_offer: OnOffer | None
    on_object: OnObject | None
    report: Report | None
    """That of a tree, if an attempt before has begun one."""


_Came: TypeAlias = tuple[int, Object, Buffer, list[memoryview]]
"""An object that came whole and is not loaded yet: its item, opening, head and buffers."""


class _Coming(NamedTuple):
    """A large object on its way."""

    item: int
    message: Object
    task: Task[list[memoryview]]
    tally: Tally


class Inbox:
    """The receiving half of a connection."""

    def __init__(self, pump: Pump, terms: Terms) -> None:
        self._pump = pump
        self._exchange = pump.exchange
        self._terms = terms
        self._unfinished: deque[_Coming] = deque()
        self._serializers: dict[str, AnySerializer] = {}

    def take(self, timeout: float | None, course: Course) -> Any:
        """Take the next object, or tree; ``Connection.recv`` is the contract."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._pump.lock:
            came = self._next(deadline, course)
        return came if isinstance(came, Report) else self._load(came, course)

    def can_begin(self) -> bool:
        """Tell whether there is something to take, or the end; called with the lock held."""
        session = self._exchange.session
        return bool(self._exchange.inbox or self._unfinished or session.peer_ended)

    def _next(self, deadline: float | None, course: Course) -> Report | _Came:
        """Take what comes next, whole; called with the lock held."""
        while True:
            left = None if deadline is None else _left(deadline)
            if not self._pump.wait(self.can_begin, left):
                raise Timeout("nothing came in time")
            if self._unfinished:
                return self._rest(self._unfinished.popleft(), deadline, course.progress)
            if not self._exchange.inbox:
                raise ConnectionClosed("the peer has ended the connection")
            item, message = self._exchange.take()
            if isinstance(message, Object):
                self._check_wanted(item, message)
                content = message.content
                if content is not None:
                    return item, message, *parts(message, content)
                coming = self._start(item, message, course.silence)
                return self._rest(coming, deadline, course.progress)
            if self._terms.into is not None:
                return self._take_tree(item, message, course)
            self._refuse(item, RefusedByPeer("this receiver takes no files"))

    def _start(self, item: int, message: Object, silence: float) -> _Coming:
        tally = Tally(name="object")
        task = self._exchange.start(
            partial(receive_object, message=message, tally=tally),
            item=item,
            timeout=silence,
        )
        return _Coming(item, message, task, tally)

    def _rest(self, coming: _Coming, deadline: float | None, progress: Progress | None) -> _Came:
        """Receive the data of a large object; what is not through in time goes on next time."""
        task = coming.task
        try:
            with shown(progress, coming.tally), so_far(coming.tally):
                if not self._pump.wait(lambda: task.done, _left(deadline)):
                    raise Timeout("the object did not come whole in time; recv goes on with it")
        finally:
            if not task.done:
                self._unfinished.append(coming)
        with so_far(coming.tally):
            head, *buffers = task.result()
        return coming.item, coming.message, head, buffers

    def _take_tree(self, item: int, offer: Offer, course: Course) -> Report:
        # Who only sends does without all that writes to the disk.
        from objxfer.blocking.places import asking, place
        from objxfer.transfer.receiving import receive_tree

        terms, tally, session = self._terms, Tally(), self._exchange.session
        proved = self._exchange.established
        assert terms.into is not None
        try:
            into = terms.into.allotment(proved) if isinstance(terms.into, Rules) else terms.into
        except NotAllowed as error:
            self._refuse(item, error)
            raise
        report = course.report
        if report is None or report.tops not in ((), offer.tops):
            report = Report()
        steps = partial(
            receive_tree,
            offer=offer,
            open_taker=place(
                into,
                terms.if_exists,
                terms.limits,
                owner=proved.key_id,
                keep_partial=terms.keep_partial,
            ),
            on_offer=asking(into, course.on_offer),
            limits=terms.limits,
            tally=tally,
            on_entry=course.on_entry,
            report=report,
        )
        before = session.bytes_in + session.bytes_out
        with shown(course.progress, tally):
            task = self._exchange.start(steps, item=item, timeout=course.silence)
            try:
                return self._pump.perform(task)
            finally:
                report.bytes_on_wire += session.bytes_in + session.bytes_out - before
                report.furthest = max(report.furthest, tally.bytes_done + tally.files_done)

    def _check_wanted(self, item: int, message: Object) -> None:
        try:
            check(message, self._terms.limits)
            if message.serializer not in self._terms.accepts:
                raise NotAllowed(f"the peer sent {message.serializer!a}, which is not accepted")
        except ObjxferError as error:
            self._refuse(item, error)
            raise

    def _refuse(self, item: int, error: ObjxferError) -> None:
        self._exchange.refuse(item, error)
        self._pump.write()

    def _load(self, came: _Came, course: Course) -> object:
        """Load what came whole; without the lock, for loading may run any code."""
        item, message, head, buffers = came
        serializer = self._serializers.get(message.serializer)
        if serializer is None:
            serializer = self._terms.serializer_of(message.serializer)
            self._serializers[message.serializer] = serializer
        try:
            if serializer.executes:
                proof = self._exchange.session.proof
                if proof is None:
                    raise NotAllowed(f"{serializer.name} is never loaded without a key")
                verified = Verified(proof, head, buffers)
                loaded = serializer.load(verified, classes=self._terms.classes)
            else:
                loaded = serializer.load(head, buffers)
        except Exception as error:
            refusal = error  # the name of an except clause does not outlive it
            self._answer(item, lambda: self._exchange.refuse(item, refusal))
            raise
        if course.on_object is not None:
            self._hand_over(item, message, partial(course.on_object, loaded), course.silence)
        elif message.receipt_wanted:
            self._answer(item, lambda: self._exchange.session.send(item, Taken()))
        return loaded

    def _hand_over(
        self, item: int, message: Object, take: Callable[[Withdrawn], None], silence: float
    ) -> None:
        """Hand an object over in a worker, while the connection goes on."""
        with self._pump.lock:
            session = self._exchange.session
            if message.receipt_wanted and session.failure is not None:
                raise session.failure
            live = session.live(item)  # where it wants no receipt, it is over
            steps = partial(hand_over, take=take, receipt=live)
            task = self._exchange.start(steps, item=item if live else None, timeout=silence)
            self._pump.perform(task)

    def _answer(self, item: int, say: Callable[[], object]) -> None:
        """Say something on an item that may be over, or its connection dead, by now."""
        with self._pump.lock:
            session = self._exchange.session
            if session.live(item) and session.failure is None:
                say()
                self._pump.write()


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
