"""A connection that is cut behind any one byte: each file is there or not, and again is enough."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest

from objxfer.errors import ExitCode
from objxfer.protocol.hello import Role
from support.deliveries import EARLY, Laid, Scene, contents
from support.nursery import Nursery
from support.relay import Forge, counting, cutting, relay

SCENE: Final = Scene(
    {
        "t/first": contents(1, 3000),
        "t/folder/second": contents(2, 12000),
        "t/folder/third": contents(3, 5000),
        "t/folder/empty": b"",
        "t/link": "first",
        "t/none": None,
    }
)
AT_ONCE: Final = 30
ALL: Final = pytest.param(None, id="all", marks=[pytest.mark.long, pytest.mark.timeout(7200)])


@pytest.fixture
def scene(tmp_path: Path) -> Laid:
    return SCENE.lay(tmp_path)


@pytest.fixture(params=["tcp", "tls"])
def url(scene: Laid, nursery: Nursery, request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a receiver that stays, whatever happens to its peers."""
    serving = scene.serve(nursery, request.param)
    yield serving.url
    serving.finish(signal.SIGKILL)


@pytest.mark.parametrize("samples", [pytest.param(20, id="some"), ALL])
@pytest.mark.parametrize("role", Role)
def test_cut_behind_any_byte(
    role: Role, samples: int | None, scene: Laid, url: str, nursery: Nursery
) -> None:
    size = said(role, scene, url, nursery)
    assert size > (20_000 if role is Role.CLIENT else 1_000)
    step = 1 if samples is None else size // samples
    codes = []
    for at in range(step // 2, size, step):
        try:
            codes.append(cut(role, at, scene, url, nursery))
        except BaseException as error:
            error.add_note(f"what the {role.name.lower()} says was cut behind byte {at}")
            raise
    assert codes.count(ExitCode.CONNECTION_LOST) > len(codes) / 2
    print(f"{len(codes)} cuts: { ({ExitCode(code).name: codes.count(code) for code in codes}) }")


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param(4, id="some"),
        pytest.param(500, id="many", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_cut_and_gone_on_with(samples: int, scene: Laid, url: str, nursery: Nursery) -> None:
    def go_on(role: Role, *ats: int) -> None:
        place = "-".join(map(str, (role.name, *ats)))
        there = scene._replace(inbox=scene.inbox / place)
        with disturbed(role, cutting(*ats), url) as through:
            sent = there.send(nursery, f"{through}/{place}", "--retry", "5").finish()
        there.check_receipts(sent)
        there.check_delivered(sent)

    cases: list[tuple[Role, *tuple[int, ...]]] = []
    for role in Role:
        size = said(role, scene, url, nursery)
        half = size // 2  # by then there is something to go on with
        cases += [(role, at) for at in range(half, size, half // samples)]
        cases += [(role, half, *within) for within in ((0,), (60,), (200,))]
    with ThreadPoolExecutor(AT_ONCE) as threads:  # each waits a second before it goes on
        running = [threads.submit(go_on, *case) for case in cases]
        for case, future in zip(cases, running, strict=True):
            try:
                future.result()
            except BaseException as error:
                error.add_note(f"{case[0].name}, cut behind {case[1:]}")
                raise


def said(role: Role, scene: Laid, url: str, nursery: Nursery) -> int:
    """Return how much one side says in a delivery that nobody disturbs."""
    count, forge = counting()
    with disturbed(role, forge, url) as through:
        scene = scene._replace(inbox=scene.inbox / "whole")
        scene.check_delivered(scene.send(nursery, f"{through}/whole").finish())
    return count()


def cut(role: Role, at: int, scene: Laid, url: str, nursery: Nursery) -> int:
    """Cut a delivery behind a byte of what one side says; then deliver once more.

    Returns:
        What the one that was cut ended with.
    """
    place = f"{role.name}-{at}"
    scene = scene._replace(inbox=scene.inbox / place)
    with disturbed(role, cutting(at), url) as through:
        sent = scene.send(nursery, f"{through}/{place}").finish()
    scene.check_whole()
    scene.check_receipts(sent)
    if sent.code == ExitCode.OK:
        scene.check_delivered(sent)
    elif any(line["type"] == "connected" for line in sent.lines):
        assert sent.code == ExitCode.CONNECTION_LOST, sent
    else:
        assert sent.code in EARLY, sent
    scene.check_delivered(scene.send(nursery, f"{url}/{place}").finish())
    shutil.rmtree(scene.inbox)
    return sent.code


def disturbed(role: Role, forge: Forge, url: str) -> AbstractContextManager[str]:
    """Stand before a receiver and change what one side says."""
    return relay(url, forge) if role is Role.CLIENT else relay(url, server_says=forge)
