"""``docs/protocol.md`` is the norm; where it prints tables of the code, they are these."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from objxfer.discovery.names import PEER_ID, PEER_ID_SIZE, SERVICE
from objxfer.errors import ExitCode
from objxfer.files.digest import NODE, file_digest, written
from objxfer.limits import KIB
from objxfer.protocol.chunks import (
    CONNECTION,
    CREDITED,
    HEADER,
    OPENING,
    OVERHEAD,
    PAYLOAD_LIMIT,
    Type,
)
from objxfer.protocol.hello import ANYBODY, FieldNumber, Hello, Mode, Role
from objxfer.protocol.states import ANSWERS, LEGAL, OPENED

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"


def row(*cells: str) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def table(*head: str) -> list[str]:
    return [row(*head), "|" + "---|" * len(head)]


def messages() -> Iterator[str]:
    yield from table("type", "message", "largest payload", "needs credit", "said on")
    for kind in Type:
        place = "a new item" if kind in OPENING else "an item"
        yield row(
            str(int(kind)),
            f"`{kind.name}`",
            f"{PAYLOAD_LIMIT[kind] // KIB} KiB",
            "yes" if kind in CREDITED else "",
            "item 0" if kind in CONNECTION else place,
        )


def states() -> Iterator[str]:
    yield from table(
        "opening", "all of it inside", "receipt wanted", "opener is in", "target is in"
    )
    words = {True: "yes", False: "no"}
    for (kind, whole, wanted), (opener, target) in OPENED.items():
        states = (f"`{opener.name}`", f"`{target.name}`")
        yield row(f"`{kind.name}`", words[whole], words[wanted], *states)
    yield ""
    yield from table("side", "in", "may say, and is then in")
    for (side, state), legal in LEGAL.items():
        says = " · ".join(
            f"`{kind.name}` → `{after.name}`" if after is not None else f"`{kind.name}`"
            for kind, after in legal.items()
        )
        yield row(side.name.lower(), f"`{state.name}`", says)
    yield ""
    yield from table("what one side says", "moves the other from", "to")
    for (side, kind), moved in ANSWERS.items():
        for before, after in moved.items():
            what = f"{side.name.lower()} says `{kind.name}`"
            yield row(what, f"`{before.name}`", f"`{after.name}`")


def codes() -> Iterator[str]:
    yield from table("code", "name")
    for code in ExitCode:
        yield row(str(int(code)), f"`{code.name}`")


def printed(name: str) -> str:
    """What the document has between the marks of that name."""
    found = re.search(rf"<!-- {name}:.*?-->\n\n(.*?)\n\n<!-- end -->", DOCUMENT.read_text(), re.S)
    assert found is not None, f"no marks of {name}"
    return found[1]


@pytest.mark.parametrize("generate", [messages, states, codes])
def test_tables_are_those_of_the_code(generate: type[Iterator[str]]) -> None:
    assert printed(generate.__name__) == "\n".join(generate())


def layout(heading: str) -> dict[str, tuple[int, int | None]]:
    """Offsets and sizes from the table behind a heading."""
    section = DOCUMENT.read_text().split(heading)[1].split("\n##")[0]
    fields = re.findall(r"^\| (\d+) \| (\d*|size) ?\| ([a-z ]+) \|", section, re.M)
    return {
        name: (int(offset), int(size) if size.isdigit() else None) for offset, size, name in fields
    }


@pytest.mark.parametrize(("heading", "fixed"), [("### 3.1 Hello", 77), ("## 4. Chunks", OVERHEAD)])
def test_offsets_follow_from_sizes(heading: str, fixed: int) -> None:
    at = 0
    for offset, size in layout(heading).values():
        assert offset == at
        if size is not None:
            at += size
    assert at == fixed


def test_a_hello_lies_as_it_is_printed() -> None:
    hello = Hello(Role.SERVER, Mode.KEY, b"n" * 32, b"p" * 16, b"i" * 16, key_id=b"kkkk")
    packed = hello.pack()
    values = {
        "magic": b"objxfer",
        "size": (77 + 8).to_bytes(2, "big"),
        "lowest version": b"\1",
        "highest version": b"\1",
        "role": b"\2",
        "mode": b"\1",
        "nonce": b"n" * 32,
        "peer id": b"p" * 16,
        "intended peer id": b"i" * 16,
        "fields": b"\0\1\0\4kkkk",
    }
    fields = layout("### 3.1 Hello")
    assert list(fields) == list(values)
    for name, (offset, size) in fields.items():
        assert packed[offset : None if size is None else offset + size] == values[name]


def test_the_fields_of_a_hello_are_the_printed_ones() -> None:
    section = DOCUMENT.read_text().split("### 3.1 Hello")[1].split("###")[0]
    numbers = re.findall(r"^\| (\d+) \| [A-Za-z ]+ \| [^|]+ \|$", section, re.M)
    assert [int(number) for number in numbers] == list(FieldNumber)


def test_a_header_lies_as_it_is_printed() -> None:
    packed = HEADER.pack(1, 24, 2, 3, 4, 5, b"d" * 32)
    values = {"version": 1, "type": 24, "flags": 2, "item": 3, "size": 4, "raw size": 5}
    fields = layout("## 4. Chunks")
    for name, value in values.items():
        offset, size = fields[name]
        assert size is not None
        assert int.from_bytes(packed[offset : offset + size], "big") == value
    assert fields["digest"] == (16, 32)
    assert fields["tag"] == (HEADER.size, 32)
    assert fields["payload"] == (OVERHEAD, None)


def test_what_is_announced_is_what_is_printed() -> None:
    section = DOCUMENT.read_text().split("## 13. Discovery")[1]
    service, _, domain = SERVICE.removesuffix(".").rpartition(".")
    assert f"`{service}`, in `{domain}`" in section
    assert f"`{PEER_ID}=` and the public id of the peer, {2 * PEER_ID_SIZE} hex" in section
    assert len(ANYBODY) == PEER_ID_SIZE


def test_the_printed_lines_compute_a_digest() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S)
    names: dict[str, object] = {}
    exec(code, names)
    ox1 = names["ox1"]
    assert callable(ox1)
    for size in (0, 1, 65_537, NODE, 2 * NODE + 65_536):
        contents = bytes(range(251)) * (size // 251 + 1)
        assert ox1(contents[:size]) == written(file_digest(contents[:size]))
    assert sum(1 for line in code.splitlines() if line.strip()) <= 10
