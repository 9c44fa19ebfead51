"""Two sides of a connection in one thread, under a seeded scheduler.

Everything that can differ from run to run is drawn from one seed: who goes on next, how many
bytes move, when a job of the disk is through, when the link is cut, and how time passes. A seed
replays a failure exactly.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from itertools import islice
from typing import Any, BinaryIO, Literal, TypeVar

from objxfer.errors import ConnectionLost, ObjxferError
from objxfer.files.stream import SourceStream
from objxfer.files.tree import OwnTree
from objxfer.limits import Limits
from objxfer.protocol.handshake import Established, Handshake, Held
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.protocol.messages import Object
from objxfer.protocol.trees import Offer
from objxfer.transfer.exchange import Exchange, Job, Task
from objxfer.transfer.objects import opening, parts, receive_object, send_object
from objxfer.transfer.progress import Tally
from objxfer.transfer.receiving import OpenTaker, receive_tree
from objxfer.transfer.report import Report
from objxfer.transfer.sending import Delivery, send_stream, send_tree
from objxfer.transfer.steps import Port, Steps
from objxfer.transports.memory import MemoryTransport, pair

T = TypeVar("T")
Script = Generator[Callable[[], bool], None, None]
"""What a program does: yields what it waits for."""

TIMEOUT = 30.0


def established(seed: int = 0, key: bytes = bytes(32)) -> tuple[Established, Established]:
    """Run a whole handshake in memory and return what both sides agreed on."""
    rng = random.Random(seed)
    client = Handshake(
        Hello(
            Role.CLIENT,
            Mode.KEY,
            rng.randbytes(32),
            rng.randbytes(16),
            key_id=b"abcd",
            trees=True,
        ),
        b"plain",
        Held(key),
    )
    server = Handshake(
        Hello(Role.SERVER, Mode.KEY, rng.randbytes(32), rng.randbytes(16), trees=True),
        b"plain",
        find={Mode.KEY: lambda _: Held(key)},
    )
    server.receive(client.receive(server.receive(client.greeting())))
    assert client.established is not None
    assert server.established is not None
    return client.established, server.established


class Party:
    """One side: an exchange, its end of the link, and the scripts that use it."""

    def __init__(
        self, name: str, agreed: Established, transport: MemoryTransport, limits: Limits
    ) -> None:
        self.name = name
        self.exchange = Exchange(agreed, limits, 0.0)
        self.transport = transport
        self.jobs: list[Job] = []
        self.scripts: list[tuple[Script, Callable[[], bool]]] = []
        self.errors: list[BaseException] = []
        self.received: list[bytes] = []
        self.at_end = False
        self.hold_jobs_after = 0
        """Jobs that are run before all others are held back; 0 holds none."""
        self._jobs_run = 0

    # --- what scripts use ---

    def run(self, script: Script) -> None:
        """Let a script take part."""
        self.scripts.append((script, lambda: True))

    def start(self, make: Callable[[Port], Steps[T]], item: int | None = None) -> Task[T]:
        failure = self.exchange.session.failure
        if failure is not None:
            raise failure
        return self.exchange.start(make, item=item, timeout=TIMEOUT)

    def sends(self, *contents: bytes, receipt_wanted: bool = False) -> Script:
        """Send objects, one after the other; each is one buffer, or a head if it is small."""
        for content in contents:
            yield from self._sends(content, receipt_wanted=receipt_wanted)

    def _sends(self, content: bytes, *, receipt_wanted: bool) -> Script:
        head, buffers = (content, []) if len(content) < 1000 else (b"h", [content])
        message = opening("raw", head, buffers, receipt_wanted=receipt_wanted)
        task = self.start(lambda _: send_object(message, head, buffers, Tally()))
        yield lambda: task.done
        task.result()
        yield from self.flushes()

    def flushes(self) -> Script:
        """Wait until all that is queued now is written."""
        session = self.exchange.session
        mark = session.bytes_queued
        yield lambda: session.bytes_out >= mark or session.failure is not None
        if session.bytes_out < mark:
            assert session.failure is not None
            raise session.failure

    def receives(self, count: int) -> Script:
        """Receive so many objects into ``received``."""
        for _ in range(count):
            yield from self._receives()

    def _receives(self) -> Script:
        yield from self.comes()
        item, message = self.exchange.take()
        assert isinstance(message, Object)
        if message.content is not None:
            head, buffers = parts(message, message.content)
            self.received.append(bytes(buffers[0] if buffers else head))
        else:
            task = self.start(
                lambda port: receive_object(port, message=message, tally=Tally()), item
            )
            yield lambda: task.done
            whole = task.result()
            self.received.append(bytes(whole[1] if len(whole) > 1 else whole[0]))

    def comes(self) -> Script:
        """Wait until something lies in the inbox."""
        exchange = self.exchange
        yield lambda: bool(exchange.inbox) or exchange.session.failure is not None
        if not exchange.inbox:
            assert exchange.session.failure is not None
            raise exchange.session.failure

    def pushes(self, paths: list[str] | BinaryIO, reports: list[Report], **asked: Any) -> Script:
        """Deliver files and folders, or a stream."""
        delivery = Delivery(
            b"",
            asked.get("if_exists"),
            Tally(),
            asked.get("on_entry"),
            time.time_ns,
            asked.get("report") or Report(),
        )
        if isinstance(paths, list):
            tree = OwnTree(paths, time.time_ns)
            task = self.start(lambda port: send_tree(port, delivery, tree))
        else:
            stream = SourceStream(paths, time.time_ns())
            task = self.start(lambda port: send_stream(port, delivery, stream, name=b"stream"))
        yield lambda: task.done
        reports.append(task.result())

    def takes(
        self, open_taker: OpenTaker, reports: list[Report], report: Report | None = None
    ) -> Script:
        """Receive a delivery."""
        yield from self.comes()
        item, offer = self.exchange.take()
        assert isinstance(offer, Offer)
        task = self.start(
            lambda port: receive_tree(
                port,
                offer=offer,
                open_taker=open_taker,
                on_offer=None,
                limits=self.exchange.limits,
                tally=Tally(),
                on_entry=None,
                report=report or Report(),
            ),
            item,
        )
        yield lambda: task.done
        reports.append(task.result())

    def closes(self) -> Script:
        """Say the end, and wait until all is written and the peer has said its own."""
        session = self.exchange.session
        session.end()
        yield lambda: not session.queued and (session.peer_ended or self.at_end)

    # --- what the scheduler uses ---

    def write(self) -> bool:
        session = self.exchange.session
        if not session.outgoing:
            return False
        try:
            taken = self.transport.send(list(islice(session.outgoing, 8)))
        except OSError:
            self.lost()
            return True
        if taken:
            session.sent(taken)
        return bool(taken)

    def read(self) -> bool:
        exchange = self.exchange
        if self.at_end or exchange.full or exchange.session.failure is not None:
            return False
        buffer = exchange.session.get_buffer()
        if buffer is None:
            return False
        try:
            size = self.transport.recv_into(buffer)
            if size:
                exchange.session.received(size)
                exchange.route()
        except OSError:
            self.lost()
            return True
        except ObjxferError as error:
            exchange.route()
            exchange.fail(error)
            return True
        if size == 0:
            self.lost()
        return size is not None

    def lost(self) -> None:
        """The link is at its end; that is an error unless the peer said so."""
        self.at_end = True
        session = self.exchange.session
        self.exchange.session.outgoing.clear()
        session.queued = 0
        if not session.peer_ended:
            self.exchange.fail(session.lost())
        elif session.owed or any(task.item is None for task in self.exchange.tasks):
            self.exchange.fail(ConnectionLost("ended in the middle of an item"))

    def work(self, rng: random.Random) -> bool:
        """Run one of the jobs."""
        if not self.jobs or 0 < self.hold_jobs_after <= self._jobs_run:
            return False
        self._jobs_run += 1
        self.jobs.pop(rng.randrange(len(self.jobs))).run()
        return True

    def go_on(self, now: float) -> bool:
        """Let generators and scripts go on."""
        exchange, moved = self.exchange, False
        exchange.advance(now)
        self.jobs.extend(exchange.jobs)
        exchange.jobs.clear()
        for entry in list(self.scripts):
            script, ready = entry
            try:
                if not ready():
                    continue
                moved = True
                self.scripts.remove(entry)
                self.scripts.append((script, next(script)))
            except StopIteration:
                pass
            except BaseException as error:  # noqa: BLE001 - the scene looks at what went wrong
                self.errors.append(error)
        return moved

    @property
    def done(self) -> bool:
        return not self.scripts and not self.jobs and not self.exchange.tasks


class Simulator:
    """The scheduler of one run."""

    def __init__(
        self, seed: int, *, capacity: int = 4096, limits: Limits | None = None, cut_after: int = 0
    ) -> None:
        """Connect two parties.

        Args:
            seed: decides everything.
            capacity: bytes that either direction of the link holds.
            limits: of both sides.
            cut_after: bytes that the link carries before it breaks; 0 for a link that holds.
        """
        self.rng = random.Random(seed)
        self.now = 0.0
        self._carried = 0
        self._cut_after = cut_after
        ends = pair(capacity, plan=self._plan)
        client, server = established(seed)
        chosen = limits or Limits()
        self.client = Party("client", client, ends[0], chosen)
        self.server = Party("server", server, ends[1], chosen)
        self.greed = self.rng.choice((3, 40, 400, 4096, 1 << 20))

    def run(self) -> None:
        """Go on until both sides are through, or nothing can move any more."""
        parties = (self.client, self.server)
        idle = 0
        while not all(party.done for party in parties):
            if self._cut_after and self._carried >= self._cut_after:
                for party in parties:
                    party.transport.close()
                self._cut_after = 0
            moved = False
            for _ in range(8):
                moved |= self._act(self.rng.choice(parties))
            if moved:
                idle = 0
                continue
            idle += 1
            if idle > 20:
                self._pass_time()
                idle = 0

    def _act(self, party: Party) -> bool:
        act = self.rng.randrange(4)
        if act == 0:
            return party.write()
        if act == 1:
            return party.read()
        if act == 2:
            return party.work(self.rng)
        return party.go_on(self.now)

    def _pass_time(self) -> None:
        """Nothing moves: let so much time pass that something must."""
        self.now += 1.0
        for party in (self.client, self.server):
            party.exchange.tick(self.now)
        if self.now > 10 * TIMEOUT:
            raise AssertionError("a side waits for ever")

    def _plan(self, _call: Literal["recv", "send"], possible: int) -> int:
        if self._cut_after:
            possible = min(possible, max(1, self._cut_after - self._carried))
        size = self.rng.randint(0, min(possible, self.greed))
        self._carried += size
        return size
