"""One authenticated connection, as programs use it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from objxfer.blocking.greeter import Greeter
from objxfer.blocking.inbox import Course, Inbox
from objxfer.blocking.pump import Pump
from objxfer.blocking.pushing import prepared
from objxfer.errors import (
    ConnectionClosed,
    ConnectionLost,
    NotAllowed,
    ObjxferError,
    RefusedByPeer,
)
from objxfer.files.entries import IfExists
from objxfer.protocol.hello import Mode
from objxfer.protocol.messages import Object, Objects
from objxfer.security.keyfiles import StrPath
from objxfer.serializers.base import AnySerializer
from objxfer.transfer.exchange import SILENCE, Exchange
from objxfer.transfer.objects import OnObject, check_fits, opening, send_object
from objxfer.transfer.progress import Progress, Tally, shown, so_far
from objxfer.transfer.report import OnEntry, Report
from objxfer.transfer.sending import Delivery
from objxfer.transfer.steps import Port, Steps

if TYPE_CHECKING:
    from objxfer.blocking.pushing import Pushed
    from objxfer.transfer.receiving import OnOffer

T = TypeVar("T")

_BATCH: Final = 32 * 1024
"""Bytes of small objects that share a chunk, and what each counts beside its content."""
_BATCH_OVERHEAD: Final = 64


class Connection:
    """An authenticated duplex stream to one peer.

    Several threads may use it at once: each ``send`` is whole, each ``recv`` gets an object of
    its own. It may not be used across ``fork``. Leaving its ``with`` block closes it; leaving by
    an exception tells the peer that the rest is missing.

    Attributes:
        peer, name: the other side's address; what ``Peers`` or ``Rules`` that let it in call it.
        url: where it is, as one would connect to it.
        key_id: what the key is called that both sides hold by now; empty if nobody proved any.
        pair: what this side needs to meet the peer again without a code; None where no code was
            used, or where both sides are the same peer.
        takes_files: whether the peer takes files and folders.
    """

    def __init__(self, greeter: Greeter, *, url: str, folder: bytes = b"") -> None:
        """Take over an authenticated transport; ``connect`` and ``accept`` do this."""
        established = greeter.established
        assert established is not None
        self.url = url
        self.peer = greeter.transport.peer
        self.encrypted = url.startswith("tls:")
        self._folder = folder
        self.key_id = established.key_id.hex()
        self.pair = established.pair
        self._terms = greeter.terms
        self.takes_files = established.theirs.trees
        self.name = greeter.terms.trust.name_of(established)
        self._exchange = Exchange(established, greeter.terms.limits, time.monotonic())
        self._pump = Pump(greeter.transport, self._exchange)
        self._inbox = Inbox(self._pump, greeter.terms)
        self._largest = established.theirs.limits
        self._serializers: dict[str, AnySerializer] = {}
        self._batch: list[Object] | None = None
        self._batch_size = 0

    # --- objects ---

    def send(
        self,
        obj: object,
        *,
        serializer: str | None = None,
        progress: Progress | None = None,
        wait: bool = False,
        silence: float = SILENCE,
    ) -> None:
        """Send one object; returns when all of it is handed over to the system.

        Args:
            obj: what to send; it may be changed again afterwards.
            serializer: by name; None is the one the connection was made with.
            progress: shows a large one on its way.
            wait: return only when the peer has loaded it and confirmed that.
            silence: seconds without a sign of life of the peer that end a large object, or the
                wait; a small one that is not waited for has 30.

        Raises:
            NotSerializable: the serialiser cannot hold it exactly. Nothing was sent.
            LimitExceeded: it is nested too deeply, or larger than the receiver takes. Nothing
                was sent.
            RefusedByPeer: the peer does not accept the serialiser, and nothing was sent; or
                it refused the object. The connection stays usable.
            Timeout: the peer was silent for too long; the connection is dead.
            ConnectionClosed: it is dead or closed; its subclass ``ConnectionLost`` says that
                the peer did not end it, and how much of a large object had gone.
        """
        name = serializer or self._terms.serializer
        head, buffers = self._accepted(name).dump(obj)
        message = opening(name, head, buffers, receipt_wanted=wait)
        if self._largest is not None:
            check_fits(message, self._largest)
        if message.content is None or wait:
            tally = Tally(name="object")
            with shown(progress, tally), so_far(tally), self._pump.lock:
                self._perform(lambda _: send_object(message, head, buffers, tally), silence)
        else:
            with self._pump.lock:
                if self._batch is not None:
                    self._add(message)
                else:
                    self._pump.say(message)

    def recv(
        self,
        timeout: float | None = None,
        *,
        silence: float = SILENCE,
        progress: Progress | None = None,
        on_entry: OnEntry | None = None,
        on_offer: OnOffer | None = None,
        on_object: OnObject | None = None,
        report: Report | None = None,
    ) -> Any:
        """Receive the next object, or the ``Report`` of a tree that was delivered here.

        Args:
            timeout: seconds to wait for it, or None to wait for as long as it takes. A tree
                that has begun is taken to its end.
            silence: seconds without a sign of life of the peer that end what has begun, and
                the connection.
            progress: shows a tree, or a large object, on its way.
            on_entry: called with what became of each entry of a tree, with the connection
                busy: it must not use it.
            on_offer: called in another thread with the ``Offer`` of a tree, and with what tells
                whether nobody waits any more; takes its time, and raises to refuse it. It must
                neither push nor receive over this connection.
            on_object: called likewise with an object, before its sender is told that it is there.
            report: filled with a tree; one that is ``resumable`` and that a lost attempt has
                begun is gone on with if the same is offered again.

        Raises:
            ConnectionClosed: the peer ended the connection; nothing is missing.
            ConnectionLost: it ended without saying so.
            Timeout: nothing came in time; the connection stays usable.
            NotAllowed: it is of a serialiser, class, or peer, that is not accepted here;
                LimitExceeded: it is too large. Nothing of it ran; the connection stays usable.
            IntegrityError: bytes came that were not sent; the connection is dead.
        """
        course = Course(silence, progress, on_entry, on_offer, on_object, report)
        return self._inbox.take(timeout, course)

    def send_bytes(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes as they are: ``send`` with the serialiser ``raw``."""
        self.send(data, serializer="raw")

    def recv_bytes(self, timeout: float | None = None) -> bytes | bytearray | memoryview:
        """Receive the next object, which must be bytes of the kind that was sent.

        Raises:
            TypeError: it is something else, which is lost then.
            ObjxferError: as ``recv``.
        """
        data = self.recv(timeout)
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"bytes were expected, and a {type(data).__name__} came")
        return data

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Tell whether ``recv`` can begin: an object has begun to come, or the end has.

        Args:
            timeout: seconds to wait until it can; None waits for as long as it takes.
        """
        with self._pump.lock:
            try:
                return self._pump.wait(self._inbox.can_begin, timeout)
            except ObjxferError:
                return True

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Let small objects share chunks until the ``with`` block ends.

        They are sent whenever a chunk is full, and at the end; with an exception, what was not
        sent by then is dropped.
        """
        with self._pump.lock:
            if self._batch is not None:
                raise RuntimeError("a batch is open already")
            self._batch = []
        try:
            yield
        except BaseException:
            with self._pump.lock:
                self._batch = None
            raise
        with self._pump.lock:
            self._send_batch(None)

    # --- files ---

    def push(
        self,
        paths: Pushed,
        *,
        into: StrPath | None = None,
        name: str | None = None,
        if_exists: IfExists | str | None = None,
        copy_links: bool = False,
        checksum: bool = False,
        count: float = 0.0,
        progress: Progress | None = None,
        on_entry: OnEntry | None = None,
        silence: float = SILENCE,
        report: Report | None = None,
    ) -> Report:
        """Deliver files and folders and wait for their receipts.

        Args:
            paths: each lands under its last name; or a stream with a descriptor, which is read
                to its end; or a share of what several deliver, see ``blocking.several``, that
                was made with all that says what is read.
            into: a folder below the receiving folder, made if missing; None is the one of the
                URL that was connected to.
            name: what a stream is called at the receiver.
            if_exists: a milder rule than the receiver's for names that are taken.
            copy_links: send what links point to.
            checksum: have files there compared by their contents, not by size and time; all
                here are read first.
            count: seconds to take for counting, for who is asked there.
            progress: shows the delivery on its way.
            on_entry: called with what became of each entry, with the connection busy: it must
                not use it.
            silence: seconds without a sign of life of the peer that end it.
            report: filled along the way; one that is ``resumable`` and that a lost attempt has
                begun is gone on with: what it tells of already is not told again.

        Returns:
            What became of it all; ``Report.exit_code`` is 0 only if every file is durable.

        Raises:
            RefusedByPeer: the receiver takes no files, or not these. The connection stays usable.
            Timeout, ConnectionLost: what was receipted until then is there.
            ObjxferError: a path does not exist, or two have the same name.
        """
        tally, report = Tally(), Report() if report is None else report
        delivery = Delivery(
            self._folder if into is None else os.fsencode(into),
            IfExists[if_exists.upper()] if isinstance(if_exists, str) else if_exists,
            tally,
            on_entry,
            time.time_ns,
            report,
        )
        steps, counting = prepared(
            paths,
            delivery,
            name=name,
            copy_links=copy_links,
            checksum=checksum,
            count=count,
            shown=progress is not None,
        )
        session = self._exchange.session
        with shown(progress, tally), counting, self._pump.lock:
            before = session.bytes_in + session.bytes_out
            try:
                return self._perform(steps, silence)
            finally:
                report.bytes_on_wire += session.bytes_in + session.bytes_out - before
                report.furthest = max(report.furthest, tally.bytes_done + tally.files_done)

    # --- the connection itself ---

    def close(self) -> None:
        """End the connection, so that the peer knows that nothing is missing.

        Waits up to 5 s for the peer to take all and end its side. Again, it does nothing.

        Raises:
            ConnectionLost: the connection broke before all was taken.
            Timeout: the peer did not take all that was sent.
        """
        with self._pump.lock:
            self._pump.finish()

    def abandon(self) -> None:
        """Close at once, saying nothing: the peer sees a lost connection.

        Whatever another thread is doing with it ends with ConnectionLost.
        """
        with self._pump.lock:
            self._pump.abandon()

    @property
    def accepted(self) -> tuple[str, ...]:
        """The serialisers that the peer accepts, by name."""
        return self._exchange.established.theirs.serializers

    @property
    def closed(self) -> bool:
        """Whether this side has closed it."""
        return self._pump.closed

    def fileno(self) -> int:
        """Return the socket's descriptor; use ``objxfer.wait`` rather than ``select`` on it."""
        return self._pump.transport.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            with self._pump.lock:
                self._pump.give_up(at_once=not issubclass(kind, Exception))

    def __iter__(self) -> Iterator[Any]:
        """Receive objects until the peer ends the connection; a cut raises ConnectionLost."""
        while True:
            try:
                yield self.recv()
            except ConnectionLost:
                raise
            except ConnectionClosed:
                return

    def __repr__(self) -> str:
        return f"<Connection to {self.url}, {'closed' if self.closed else 'open'}>"

    # --- inside ---

    def _accepted(self, name: str) -> AnySerializer:
        """Return the serialiser of a name, if the peer accepts it."""
        serializer = self._serializers.get(name)
        if serializer is None:
            serializer = self._terms.serializer_of(name)
            if name not in self.accepted:
                accepted = ascii(", ".join(self.accepted))[1:-1] or "no objects"
                raise RefusedByPeer(
                    f"the receiver accepts {accepted}, not {name}. Nothing was sent; the connection"
                    " stays usable."
                )
            if serializer.executes and self._exchange.established.mode is Mode.NONE:
                raise NotAllowed(f"{name} is never sent without a key")
            self._serializers[name] = serializer
        return serializer

    def _add(self, message: Object) -> None:
        """Put a small object into the open batch; without one, send it."""
        size = message.size + 8 * len(message.buffer_sizes) + _BATCH_OVERHEAD
        # Each sending lets other threads in, which may fill the batch again or end it.
        while self._batch and self._batch_size + size > _BATCH:
            self._send_batch([])
        if self._batch is None:
            self._pump.say(message)
        else:
            self._batch.append(message)
            self._batch_size += size

    def _send_batch(self, following: list[Object] | None) -> None:
        """Send what the open batch holds; ``following`` is open, or not, from now on."""
        batch, self._batch, self._batch_size = self._batch, following, 0
        if batch:
            self._pump.say(Objects(tuple(batch)))

    def _perform(self, make: Callable[[Port], Steps[T]], silence: float) -> T:
        """Run an item of ours to its end; called with the lock held."""
        self._pump.check_open()
        while self._batch:
            self._send_batch([])  # what was sent first arrives first
        return self._pump.perform(self._exchange.start(make, timeout=silence))
