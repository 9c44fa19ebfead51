"""Python objects between two processes: there and back, one way, and one large array."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from benchmarks.channels import (
    ECHO,
    OBJXFER,
    PIPE_TCP,
    PIPE_UNIX,
    TAKE,
    ZMQ_BUFFERS,
    ZMQ_PYOBJ,
    Channel,
    objxfer_channel,
    pipe_channel,
    zmq_channel,
)
from benchmarks.run import Missing, Run
from benchmarks.tables import Comparison, Table

_BATCH: Final = "objxfer, signed, TCP, in conn.batch()"
_MIB: Final = 1024 * 1024
_SMALL: Final = {"step": 3, "loss": 0.25, "name": "worker-7", "tags": ["a", "b"], "done": False}


@dataclass(frozen=True, slots=True)
class _Form:
    rounds: int
    round_trips: int
    small: int
    array: int
    """Bytes."""


_FULL: Final = _Form(rounds=7, round_trips=4000, small=50_000, array=256 * _MIB)
_QUICK: Final = _Form(rounds=2, round_trips=200, small=2000, array=16 * _MIB)


def measure(run: Run) -> Iterator[Table]:
    """Yield the tables of this part."""
    form = _QUICK if run.quick else _FULL
    array = _make_array(run, form.array)
    round_trip = Table(
        "A small dict there and back",
        "µs",
        more_is_better=False,
        comparisons=[Comparison(OBJXFER, PIPE_TCP, 1.7)],
    )
    one_way = Table(
        "Small dicts one way, the last one acknowledged",
        "objects/s",
        more_is_better=True,
        comparisons=[Comparison(OBJXFER, PIPE_TCP), Comparison(_BATCH, PIPE_TCP)],
    )
    large = Table(
        f"An ndarray of {form.array // _MIB} MiB one way, acknowledged",
        "GB/s",
        more_is_better=True,
        comparisons=[Comparison(OBJXFER, PIPE_TCP, 2.0), Comparison(OBJXFER, ZMQ_BUFFERS)],
    )
    with ExitStack() as stack:
        channels = _open(run, stack)
        for number in range(form.rounds):
            run.say(f"objects, round {number + 1} of {form.rounds}")
            for name, channel in channels.items():
                seconds = _echo(channel, form.round_trips)
                round_trip.add(name, seconds / form.round_trips * 1e6)
                one_way.add(name, form.small / _send(channel, _SMALL, form.small))
                if channel.batch is not None:
                    seconds = _send(channel, _SMALL, form.small, batched=True)
                    one_way.add(_BATCH, form.small / seconds)
                if array is not None:
                    large.add(name, form.array / 1e9 / _send(channel, array, 1))
    yield round_trip
    yield one_way
    if array is not None:
        yield large


def _make_array(run: Run, size: int) -> Any:
    if importlib.util.find_spec("numpy") is None:
        run.leave_out("the ndarray: numpy is not installed")
        return None
    import numpy as np

    return np.arange(size // 8, dtype=np.int64)


def _open(run: Run, stack: ExitStack) -> dict[str, Channel]:
    rivals = {
        OBJXFER: partial(objxfer_channel, run.folder),
        PIPE_TCP: partial(pipe_channel, "AF_INET"),
        PIPE_UNIX: partial(pipe_channel, "AF_UNIX"),
        ZMQ_BUFFERS: partial(zmq_channel, out_of_band=True),
        ZMQ_PYOBJ: partial(zmq_channel, out_of_band=False),
    }
    channels = {}
    for name, opened in rivals.items():
        try:
            channels[name] = stack.enter_context(opened())
        except Missing as reason:
            run.leave_out(f"{name}: {reason}")
    for channel in channels.values():
        _echo(channel, 10)  # the other process is there, and both have imported what they need
    return channels


def _echo(channel: Channel, count: int) -> float:
    """Return the seconds of so many round trips, one after the other."""
    channel.send((ECHO, count))
    begin = time.perf_counter()
    for _ in range(count):
        channel.send(_SMALL)
        channel.receive()
    return time.perf_counter() - begin


def _send(channel: Channel, obj: Any, count: int, *, batched: bool = False) -> float:
    """Return the seconds from the first of so many objects to the word that all are there."""
    channel.send((TAKE, count))
    together = channel.batch if batched and channel.batch is not None else nullcontext
    begin = time.perf_counter()
    with together():
        for _ in range(count):
            channel.send(obj)
    taken = channel.receive()
    seconds = time.perf_counter() - begin
    assert taken == count
    return seconds
