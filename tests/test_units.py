"""Sizes as people write them."""

from __future__ import annotations

import pytest

from objxfer.units import parse_size, size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1B", 1),
        ("50GB", 50 * 10**9),
        ("50 GB", 50 * 10**9),
        ("1.5TB", 1_500 * 10**9),
        ("0.001kB", 1),
        ("9.2 EB", 9_200_000 * 10**12),
    ],
)
def test_what_is_meant(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text",
    ["", "GB", "-1", "+1", "1e9", "1 000", "50gb", "50GiB", "50 G", "1.GB", "٣GB", "1GB\n", "nan"],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="as in 50GB"):
        parse_size(text)


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="whole number of bytes"):
        parse_size("0.5B")
    for text in ("9.3EB", "9" * 20):
        with pytest.raises(ValueError, match="less than"):
            parse_size(text)
    with pytest.raises(ValueError, match="as in 50GB"):
        parse_size("9" * 21)


@pytest.mark.parametrize("text", ["512 B", "2.41 MB", "50.0 GB", "999 TB"])
def test_what_is_shown_can_be_typed(text: str) -> None:
    assert size(parse_size(text)) == text
