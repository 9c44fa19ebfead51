"""Pairs of connections over each scheme."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.connected import Pair, connected


@pytest.fixture(params=["tcp", "tls"])
def scheme(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def ends(scheme: str) -> Iterator[Pair]:
    """A connection's two ends: the side that connected, the side that listened."""
    with connected(scheme) as pair:
        yield pair
