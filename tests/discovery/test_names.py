from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objxfer.discovery.names import full_name, instance_of, peer_id_in
from objxfer.errors import ExitCode, ObjxferError

PEER_ID = bytes(range(16))


@pytest.mark.parametrize("instance", ["4", "nas", "Annas Tisch", "größe", "x" * 63, "ж" * 31])
def test_an_instance(instance: str) -> None:
    assert full_name(instance) == f"{instance}._objxfer._tcp.local."
    assert instance_of(full_name(instance)) == instance


@pytest.mark.parametrize(
    "instance", ["", "a.b", "x" * 64, "ж" * 32, "a\x1b[31m", "a\n", "\u202e", "\udcff", "\x9b"]
)
def test_what_is_no_instance(instance: str) -> None:
    with pytest.raises(ObjxferError) as caught:
        full_name(instance)
    assert caught.value.exit_code == ExitCode.USAGE
    assert str(caught.value).isprintable()
    assert instance_of(f"{instance}._objxfer._tcp.local.") is None


@pytest.mark.parametrize(
    "name", ["4._other._tcp.local.", "_objxfer._tcp.local.", "4._objxfer._tcp.local", "", "4"]
)
def test_a_name_of_another_service(name: str) -> None:
    assert instance_of(name) is None


def test_large_and_small_letters_are_the_same() -> None:
    assert instance_of("Nas._OBJXFER._TCP.LOCAL.") == "Nas"


@given(st.text())
def test_any_name_is_printable_or_none(name: str) -> None:
    instance = instance_of(f"{name}._objxfer._tcp.local.")
    assert instance is None or (instance.isprintable() and len(instance.encode()) <= 63)


def strings(*texts: bytes) -> bytes:
    return b"".join(bytes([len(text)]) + text for text in texts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (strings(b"id=" + PEER_ID.hex().encode()), PEER_ID),
        (strings(b"", b"v=1", b"ID=" + PEER_ID.hex().encode()), PEER_ID),
        (strings(b"v=1"), None),
        (b"\0", None),
        (b"", None),
        (strings(b"id"), None),
        (strings(b"id="), None),
        (strings(b"id=" + PEER_ID.hex().encode()[:-2]), None),
        (strings(b"id=" + PEER_ID.hex().encode() + b"00"), None),
        (strings(b"id=" + b" ".join([b"00"] * 16)), None),
        (strings(b"id=" + b"\xff" * 32), None),
        (strings(b"id=" + b"x" * 32, b"id=" + PEER_ID.hex().encode()), None),
        (b"\xff" + b"id=" + PEER_ID.hex().encode()[:9], None),
    ],
)
def test_the_peer_id_in_a_text(text: bytes, expected: bytes | None) -> None:
    assert peer_id_in(text) == expected


@given(st.binary(max_size=400))
def test_any_text_is_a_peer_id_or_none(text: bytes) -> None:
    peer_id = peer_id_in(text)
    assert peer_id is None or len(peer_id) == 16
