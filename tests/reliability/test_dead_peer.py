"""A peer that is gone is noticed in time, in every phase; one that is only slow is left alone."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from objxfer.errors import ExitCode
from objxfer.limits import MIB
from objxfer.protocol.hello import Role
from support.commands import PATIENCE
from support.connected import begin
from support.deliveries import Laid, Scene, contents
from support.nursery import Child, Nursery
from support.relay import Forge, counting, deaf, hole, relay, when
from support.tracing import Call, Tracer, needs_strace

HANDSHAKE: Final = 10.0
"""Seconds that connecting and the handshake may take; no option changes it."""
CLOSE: Final = 5.0
"""Seconds that a side waits for the other's last word."""
GRACE: Final = 2.0
"""Seconds after a deadline within which it is kept."""
MACHINE: Final = 6.0
"""Seconds that a machine with other work to do may take for the rest."""
SMALL: Final = Scene({"t/large": contents(1, 1_500_000), "t/small": contents(2, 500)})
LARGE: Final = Scene({"huge": bytes(24_000_000)})
"""More than all buffers on the way and the credit."""

EARLY: Final = 700
"""Bytes within which a delivery has begun."""
AT_ONCE: Final = 30


class Forges(NamedTuple):
    """What a relay does."""

    client_says: Forge = bytes
    server_says: Forge = bytes


class Side(NamedTuple):
    """How one side ended."""

    seconds: float
    """How long it took until it ended, or said that it goes on without this peer."""
    code: int | None
    """Its exit code; none where it went on waiting for somebody else."""
    early: bool
    """Whether it was not through with the handshake."""


Ended = dict[Role, Side]
"""How the sides ended that were watched."""


@pytest.mark.parametrize(
    ("timeout", "samples"),
    [
        pytest.param(1.5, 4, id="short"),
        pytest.param(5.0, 40, id="full", marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)
def test_a_peer_that_is_gone_is_noticed(
    timeout: float, samples: int, nursery: Nursery, tmp_path: Path
) -> None:
    turns = map("{}".format, count())

    def deliver(scheme: str, scene: Scene, forges: Forges) -> Ended:
        with delivering(scene, scheme, timeout, nursery, tmp_path / next(turns)) as delivery:
            return delivery.run(forges)

    def deliver_and_stop(role: Role, at: int) -> Ended:
        with delivering(SMALL, "tcp", timeout, nursery, tmp_path / next(turns)) as delivery:
            return delivery.run(Forges(when(at, lambda: delivery.stop(role))), but=role)

    cases: dict[str, Callable[[], Ended]] = {}
    for scheme in ("tcp", "tls"):
        for role in Role:
            total = said(role, scheme, nursery, tmp_path / next(turns))
            for at in spread(total, samples):
                name = f"{scheme}: nothing passes after byte {at} of the {role.name}"
                forges = Forges(*hole(at)) if role is Role.CLIENT else Forges(*hole(at)[::-1])
                cases[name] = partial(deliver, scheme, SMALL, forges)
    for role in Role:
        for at in spread(said(Role.CLIENT, "tcp", nursery, tmp_path / next(turns)), samples):
            cases[f"the {role.name} is stopped at byte {at}"] = partial(deliver_and_stop, role, at)
    for at in range(5000, 8 * MIB, 16 * MIB // samples):
        cases[f"nothing is read after byte {at}"] = partial(deliver, "tcp", LARGE, Forges(deaf(at)))
        cases[f"nothing goes on after byte {at}"] = partial(
            deliver, "tls", LARGE, Forges(*hole(at))
        )
    with ThreadPoolExecutor(AT_ONCE) as threads:  # nearly all of it is waiting
        running = {name: threads.submit(run) for name, run in cases.items()}
        for name, future in running.items():
            try:
                ended = future.result()
            except TimeoutError as error:
                raise AssertionError(f"{name}: a side does not end") from error
            check(ended, timeout, name)


def spread(total: int, samples: int) -> list[int]:
    """Return places: one half in what comes first, the handshake and the offer."""
    early, late = samples // 2, samples - samples // 2
    first = [number * EARLY // early for number in range(early)]
    return first + [total - number * (total - EARLY) // late for number in range(late)]


# --- who is only slow ---


@pytest.mark.parametrize(
    ("timeout", "delay"),
    [
        pytest.param(1.0, 3.0, id="short"),
        pytest.param(2.0, 60.0, id="full", marks=[pytest.mark.long, pytest.mark.timeout(300)]),
    ],
)
@pytest.mark.parametrize("kind", ["fsync", "pwrite64"])
@needs_strace
def test_a_slow_disk(
    kind: str, timeout: float, delay: float, nursery: Nursery, tmp_path: Path
) -> None:
    scene = Scene({"t/1": contents(1, 500), "t/2": contents(2, 500)})
    with delivering(scene, "tls", timeout, nursery, tmp_path / "slow") as delivery:
        late = Call(kind, 1).late(delay)
        with Tracer(delivery.receiving, tmp_path / "log", (kind,), late):
            begun = time.monotonic()
            sent = delivery.send(delivery.receiving.url).finish()
            assert time.monotonic() - begun > delay
            received = delivery.receiving.finish()
    assert received.code == ExitCode.OK, received
    delivery.scene.check_delivered(sent)


@pytest.mark.parametrize(
    ("timeout", "delay"),
    [
        pytest.param(1.0, 3.0, id="short"),
        pytest.param(2.0, 60.0, id="full", marks=[pytest.mark.long, pytest.mark.timeout(300)]),
    ],
)
def test_a_reader_of_standard_output_who_takes_a_break(
    timeout: float, delay: float, nursery: Nursery, tmp_path: Path
) -> None:
    scene = LARGE.lay(tmp_path)
    receiving = nursery.listen("receive", "--stdout", "--timeout", str(timeout))
    sending = scene.send(nursery, receiving.url, "--timeout", str(timeout))
    time.sleep(delay)  # so long that either side would have given up the other
    received = receiving.finish()
    assert sending.finish().code == ExitCode.OK
    assert received.code == ExitCode.OK, received.err
    assert received.out.encode() == LARGE.sent["huge"]


# --- how it is done ---


class Delivery:
    """A receiver that waits, and what is to be sent there."""

    def __init__(self, scene: Laid, nursery: Nursery, timeout: float, receiving: Child) -> None:
        self.scene = scene
        self.receiving = receiving
        self._nursery = nursery
        self._timeout = str(timeout)
        self._begun = 0.0
        self._sending: Child | None = None

    def send(self, url: str) -> Child:
        """Start the sender."""
        self._begun = time.monotonic()
        self._sending = self.scene.send(self._nursery, url, "--timeout", self._timeout)
        return self._sending

    def stop(self, role: Role) -> None:
        """Stop one side, as if its machine were."""
        stopped = self.receiving if role is Role.SERVER else self._sending
        assert stopped is not None
        stopped.signal(signal.SIGSTOP)

    def run(self, forges: Forges, *, but: Role | None = None) -> Ended:
        """Deliver through a relay, and see how the sides end; but for one, which is killed."""
        with relay(self.receiving.url, *forges) as url:
            sending = self.send(url)
            watched = {Role.CLIENT: lambda: self._watch(sending), Role.SERVER: self._hear}
            ends = {role: begin(watch) for role, watch in watched.items() if role is not but}
            try:
                return {
                    role: end.result(float(self._timeout) + PATIENCE) for role, end in ends.items()
                }
            finally:
                sending.signal(signal.SIGKILL)
                self.receiving.signal(signal.SIGKILL)

    def _watch(self, sending: Child) -> Side:
        sent = sending.finish()
        early = not any(line["type"] == "connected" for line in sent.lines)
        return Side(time.monotonic() - self._begun, sent.code, early)

    def _hear(self) -> Side:
        """Wait until the receiver has ended, or gone over to waiting for the next."""
        while line := self.receiving.err_line():
            if (early := " refused: " in line) or " delivered nothing: " in line:
                return Side(time.monotonic() - self._begun, None, early)
        code = self.receiving.finish().code
        return Side(time.monotonic() - self._begun, code, early=False)


@contextmanager
def delivering(
    scene: Scene, scheme: str, timeout: float, nursery: Nursery, folder: Path
) -> Iterator[Delivery]:
    """Lay out a scene and start its receiver."""
    laid = scene.lay(folder)
    receiving = nursery.listen(
        "receive",
        "--into",
        str(laid.inbox),
        "--timeout",
        str(timeout),
        "--retry",
        "0",
        scheme=scheme,
    )
    yield Delivery(laid, nursery, timeout, receiving)
    receiving.finish(signal.SIGKILL)


def said(role: Role, scheme: str, nursery: Nursery, folder: Path) -> int:
    """Return how much one side says in a delivery that nobody disturbs."""
    size, forge = counting()
    with delivering(SMALL, scheme, HANDSHAKE, nursery, folder) as delivery:
        forges = Forges(forge) if role is Role.CLIENT else Forges(server_says=forge)
        ended = delivery.run(forges)
    assert [side.code for side in ended.values()] == [ExitCode.OK] * 2
    return size()


def check(ended: Ended, timeout: float, what: str) -> None:
    """Check that a peer that was gone was noticed, and in time."""
    for role, side in ended.items():
        told = f"{what}: the {role.name} took {side.seconds:.1f} s and ended with {side.code}"
        deadline = HANDSHAKE if side.early else timeout
        if side.code == ExitCode.OK:
            deadline = max(deadline, CLOSE)
        assert side.seconds < deadline + GRACE + MACHINE, told
        codes = (ExitCode.OK, ExitCode.CONNECTION_LOST, ExitCode.TIMEOUT)
        assert side.code is None or side.code in codes, told
