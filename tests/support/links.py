"""Two networks joined by a link that loses, delays, doubles and reorders what it carries."""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import selectors
import shutil
import struct
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, Self

import pytest

NEAR, FAR = "10.213.77.1", "10.213.77.2"
"""The addresses of the two ends."""
_DEVICE: Final = "/dev/net/tun"
_TUNSETIFF: Final = 0x400454CA
_TUN_WITHOUT_HEADER: Final = 0x1001
HOLD: Final = ("unshare", "--net", "sh", "-c", "echo there; exec cat")
"""A command that makes a network, says so, and keeps it until its input ends."""


class Weather(NamedTuple):
    """What a link does to packets."""

    loss: float
    """The share of packets that vanish."""
    delay: float
    """Seconds that one takes, each way."""
    jitter: float
    """How much longer or shorter it may take: so they overtake each other."""
    twice: float
    """The share that arrives twice."""
    hole: float
    """For how many seconds nothing passes, once."""
    hole_after: int
    """How many packets come before that."""


class Link:
    """Two networks and a link between them. Leaving its ``with`` block removes all of it.

    Attributes:
        near, far: what goes before a command that is to run there.
        carried, lost: how many packets.
    """

    def __init__(self, weather: Weather, seed: int) -> None:
        self.carried = self.lost = 0
        self._weather = weather
        self._random = Random(seed)
        self._hole_ends = 0.0
        stopped, stop = os.pipe()
        with ExitStack() as exit_stack:
            exit_stack.callback(os.close, stopped)
            self.near, near = self._network(exit_stack, NEAR, FAR)
            self.far, far = self._network(exit_stack, FAR, NEAR)
            pump = threading.Thread(target=self._pump, args=(near, far, stopped))
            pump.start()
            # In this order: the pump ends before what it reads is closed.
            exit_stack.callback(pump.join)
            exit_stack.callback(os.close, stop)
            self._exit_stack = exit_stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exit_stack.close()

    def _network(self, exit_stack: ExitStack, own: str, peer: str) -> tuple[list[str], int]:
        """Make a network of one address; return how to run something there, and its wire."""
        holder = subprocess.Popen(HOLD, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        exit_stack.callback(holder.communicate)
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"there\n"
        wire = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        exit_stack.callback(os.close, wire)
        name = f"oxf{holder.pid}"
        fcntl.ioctl(wire, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TUN_WITHOUT_HEADER))
        inside = ["nsenter", f"--target={holder.pid}", "--net", "--"]
        for command in (
            ["ip", "link", "set", name, "netns", str(holder.pid)],
            [*inside, "ip", "address", "add", own, "peer", peer, "dev", name],
            [*inside, "ip", "link", "set", name, "up"],
            [*inside, "ip", "link", "set", "lo", "up"],
        ):
            subprocess.run(command, check=True)
        return inside, wire

    def _pump(self, near: int, far: int, stopped: int) -> None:
        """Carry packets until there is nobody to stop it any more."""
        underway: list[tuple[float, int, int, bytes]] = []
        with selectors.DefaultSelector() as ready:
            ready.register(stopped, selectors.EVENT_READ)
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            while True:
                timeout = max(0.0, underway[0][0] - time.monotonic()) if underway else None
                for key, _ in ready.select(timeout):
                    if key.fd == stopped:
                        return
                    with contextlib.suppress(BlockingIOError):
                        packet = os.read(key.fd, 1 << 16)
                        for when in self._arrivals(time.monotonic()):
                            self.carried += 1
                            heapq.heappush(underway, (when, self.carried, key.data, packet))
                while underway and underway[0][0] <= time.monotonic():
                    _, _, wire, packet = heapq.heappop(underway)
                    with contextlib.suppress(OSError):  # the network behind it is being removed
                        os.write(wire, packet)

    def _arrivals(self, now: float) -> list[float]:
        """Return when a packet arrives: never, once or twice."""
        weather, random = self._weather, self._random
        if not self._hole_ends and self.carried >= weather.hole_after:
            self._hole_ends = now + weather.hole
        if now < self._hole_ends or random.random() < weather.loss:
            self.lost += 1
            return []
        times = 2 if random.random() < weather.twice else 1
        spread = weather.jitter
        return [now + weather.delay + random.uniform(-spread, spread) for _ in range(times)]


def why_no_networks(*, device: bool) -> str:
    """Return why no network can be made here, and if need be no device in it; or ""."""
    if os.name != "posix" or os.geteuid() != 0:
        return "networks are made by root"
    missing = [tool for tool in ("ip", "unshare", "nsenter") if shutil.which(tool) is None]
    if missing or (device and not Path(_DEVICE).exists()):
        return f"there is no {(missing or [_DEVICE])[0]}"
    tried = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "no network can be made here"


_WHY_NOT: Final = why_no_networks(device=True)
needs_networks = pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)
