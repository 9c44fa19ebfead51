"""Kill -9 at random moments, and again until it is done: nothing is lost, nothing is wrong."""

from __future__ import annotations

import signal
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

import pytest

from objxfer.errors import ExitCode
from objxfer.limits import MIB
from objxfer.protocol.hello import Role
from support.commands import Finished
from support.deliveries import Laid, Scene, contents, laid
from support.nursery import Child, Nursery
from support.relay import counting, relay, when

SCENE: Final = Scene(
    {
        **{f"t/small/{number}": contents(number, 700 * number) for number in range(12)},
        "t/large": contents(20, 5 * MIB + 7),
        "t/middle": contents(21, MIB),
        "t/deep/er/file": contents(22, 100_000),
        "t/deep/link": "er/file",
        "t/none": None,
    },
    before={"t/middle": contents(23, 2 * MIB), "t/small/3": b"older", "t/deep/link": "elsewhere"},
    rule="replace",
)
BEGUN: Final = {Role.CLIENT: 1000, Role.SERVER: 300}
"""Bytes of either side after which a delivery is on its way."""
SEEDS: Final = [
    pytest.param(0, 10, id="seed 0, short"),
    *(
        pytest.param(
            seed, 500, id=f"seed {seed}", marks=[pytest.mark.long, pytest.mark.timeout(3600)]
        )
        for seed in range(1, 21)
    ),
]


@pytest.mark.parametrize(("seed", "kills"), SEEDS)
def test_killed_until_done(seed: int, kills: int, nursery: Nursery, tmp_path: Path) -> None:
    random = Random(seed)
    turns = map("{}".format, count())
    with laid(SCENE, tmp_path / next(turns)) as scene:
        total = sizes(scene, nursery)
    killed = delivered = extra = 0
    while killed < kills:
        with laid(SCENE, tmp_path / next(turns)) as scene:
            try:
                times, said = kill_until_done(random, total, scene, nursery)
            except BaseException as error:
                error.add_note(f"seed {seed}, delivery {delivered}, after {killed} kills")
                raise
        killed += times
        delivered += 1
        extra += said - total[Role.CLIENT]
    print(f"seed {seed}: {killed} kills, {delivered} deliveries, nothing lost, nothing wrong;")
    print(f"{extra / killed / MIB:.2f} MiB were sent again for each kill")
    assert extra < 4 * MIB * killed


def sizes(scene: Laid, nursery: Nursery) -> dict[Role, int]:
    """Return how much each side says in a delivery that nobody disturbs."""
    serving = scene.serve(nursery)
    (client, count_client), (server, count_server) = counting(), counting()
    with relay(serving.url, count_client, count_server) as url:
        scene.check_delivered(scene.send(nursery, url).finish())
    serving.finish(signal.SIGKILL)
    return {Role.CLIENT: client(), Role.SERVER: server()}


def kill_until_done(
    random: Random, total: dict[Role, int], scene: Laid, nursery: Nursery
) -> tuple[int, int]:
    """Deliver a scene again and again while one side is killed.

    Returns:
        How often it was, and how many bytes the sender said in all.
    """
    serving = scene.serve(nursery)
    kills = said = 0
    while True:
        victim = random.choice(list(Role))
        speaker = random.choices(list(Role), (3, 1))[0]
        # Rather early than late: what is there already is not sent again.
        at = BEGUN[speaker] + int(total[speaker] * random.random() ** 3)
        sent, size = kill(victim, speaker, at, scene, nursery, serving)
        said += size
        scene.check_whole()
        scene.check_receipts(sent)
        if sent.code == ExitCode.OK:
            break
        kills += 1
        if victim is Role.SERVER:
            assert sent.code == ExitCode.CONNECTION_LOST, sent
            assert serving.finish().code == -signal.SIGKILL
            serving = scene.serve(nursery)
        else:
            assert sent.code == -signal.SIGKILL, sent
    serving.finish(signal.SIGTERM)
    scene.check_delivered(sent)
    scene.check_clean()
    return kills, said


def kill(
    victim: Role, speaker: Role, at: int, scene: Laid, nursery: Nursery, serving: Child
) -> tuple[Finished, int]:
    """Deliver, and kill one side once one side has said so much.

    Returns:
        How the sender ended, and how many bytes it said.
    """

    def strike() -> None:
        (serving if victim is Role.SERVER else sending).signal(signal.SIGKILL)

    size, count_client = counting()
    forge = when(at, strike)

    def client_says(data: bytes) -> bytes:
        count_client(data)
        return forge(data) if speaker is Role.CLIENT else data

    server_says = forge if speaker is Role.SERVER else bytes
    with relay(serving.url, client_says, server_says) as url:
        sending = scene.send(nursery, url, held=True)
        sending.go()
        return sending.finish(), size()
