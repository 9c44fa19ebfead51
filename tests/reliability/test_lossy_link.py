"""A link that loses, delays, doubles and reorders packets, and carries nothing for a while."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Final

import pytest

from support.deliveries import Scene, contents
from support.links import FAR, Link, Weather, needs_networks
from support.nursery import Nursery

pytestmark = needs_networks

BAD: Final = Weather(loss=0.02, delay=0.01, jitter=0.004, twice=0.01, hole=2.0, hole_after=60)
WORSE: Final = Weather(loss=0.05, delay=0.05, jitter=0.02, twice=0.01, hole=30.0, hole_after=400)


@pytest.mark.parametrize(
    ("weather", "size", "timeout", "seed"),
    [
        pytest.param(BAD, 300_000, 5, 1, id="bad"),
        *(
            pytest.param(
                WORSE,
                3_000_000,
                timeout,
                seed,
                id=f"worse, {timeout} s, seed {seed}",
                marks=[pytest.mark.long, pytest.mark.timeout(900)],
            )
            for timeout in (5, 60)
            for seed in (2, 3)
        ),
    ],
)
def test_a_delivery_over_a_bad_link(
    weather: Weather, size: int, timeout: int, seed: int, key_file: Path, tmp_path: Path
) -> None:
    files = {"t/large": contents(seed, size)}
    files |= {f"t/{number}": contents(number, 2000 * number) for number in range(10)}
    scene = Scene(files).lay(tmp_path)
    patience = ("--timeout", str(timeout))
    with (
        Link(weather, seed) as link,
        Nursery(tmp_path, key_file, link.far) as there,
        Nursery(tmp_path, key_file, link.near) as here,
    ):
        serving = there.start("serve", str(scene.inbox), "--listen", f"tls://{FAR}:6259")
        while not serving.err_line().startswith("listening on "):
            pass
        begun = time.monotonic()
        sent = scene.send(here, f"tls://{FAR}:6259", *patience, "--retry", "forever").finish()
        seconds = time.monotonic() - begun
        serving.finish(signal.SIGKILL)
        assert link.lost > weather.loss * link.carried / 2
    scene.check_receipts(sent)
    scene.check_delivered(sent)
    lost = sum(line["type"] == "lost" for line in sent.lines)
    print(
        f"seed {seed}: the connection was lost {lost} times, {size / seconds / 1e3:.0f} kB/s,"
        f" {link.lost} of {link.lost + link.carried} packets lost"
    )
