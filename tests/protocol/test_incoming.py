from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objxfer.errors import IntegrityError, PeerError
from objxfer.limits import KIB, MIB, Limits
from objxfer.protocol.chunks import OVERHEAD, Header, Type
from objxfer.protocol.incoming import DIRECT, Incoming
from objxfer.security.sealing import Opener, Sealer
from support.pair import chunk

DIRECTION: Final = bytes(32)


class Ear:
    """Takes chunks as they arrive, and notes what it was asked on the way."""

    def __init__(self) -> None:
        self.sealer = Sealer(DIRECTION)
        self.judged: list[Header] = []
        self.landed: list[int] = []
        self.refusal: PeerError | None = None
        opener = Opener(DIRECTION, authenticated=True)
        self.incoming = Incoming(opener, Limits(), self._judge, self._land)
        self.payloads: list[bytes] = []

    def _judge(self, header: Header) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.judged.append(header)

    def _land(self, header: Header) -> memoryview:
        self.landed.append(header.size)
        return memoryview(bytearray(header.size))

    def hear(self, stream: bytes, most: int = 1 << 30) -> None:
        """Let a stream arrive, at most so many bytes at once."""
        at = 0
        while at < len(stream):
            buffer = self.incoming.get_buffer()
            size = min(len(buffer), most, len(stream) - at)
            assert size
            buffer[:size] = stream[at : at + size]
            self.incoming.received(size)
            at += size
            self.take()

    def take(self) -> None:
        while (one := self.incoming.next_chunk()) is not None:
            header, payload = one
            assert header is self.judged[len(self.payloads)]
            self.payloads.append(bytes(payload))


@given(
    st.lists(
        st.tuples(
            st.sampled_from((Type.DATA, Type.OFFER)),
            st.sampled_from((1, 100, DIRECT - 1, DIRECT, 128 * KIB, 128 * KIB + 1, 300_000, MIB)),
        ),
        max_size=6,
    ),
    st.sampled_from((1000, 4096, 65_537, 262_144, 1 << 30)),
)
@settings(max_examples=40, deadline=None)
def test_chunks_of_any_size_come_out_of_pieces_of_any_size(
    chunks: list[tuple[Type, int]], most: int
) -> None:
    ear = Ear()
    payloads = [bytes((at,)) * size for at, (_, size) in enumerate(chunks)]
    stream = b"".join(
        chunk(ear.sealer, kind, 1, payload)
        for (kind, _), payload in zip(chunks, payloads, strict=True)
    )
    ear.hear(stream, most)
    assert ear.payloads == payloads
    direct = [
        size for kind, size in chunks if size >= (DIRECT if kind is Type.DATA else 128 * KIB + 1)
    ]
    assert ear.landed == direct


def test_many_small_chunks_arrive_at_once() -> None:
    ear = Ear()
    payloads = [b"%d" % number for number in range(20_000)]
    stream = b"".join(chunk(ear.sealer, Type.DATA, 1, payload) for payload in payloads)
    assert len(stream) > 4 * 256 * KIB
    ear.hear(stream)
    assert ear.payloads == payloads


def test_a_tag_is_checked_before_anything_is_believed() -> None:
    ear = Ear()
    said = bytearray(chunk(ear.sealer, Type.DATA, 1, b"x" * DIRECT))
    said[OVERHEAD - 1] ^= 1
    with pytest.raises(IntegrityError):
        ear.hear(bytes(said[:OVERHEAD]))
    assert not ear.judged
    assert not ear.landed


def test_a_header_is_judged_before_anything_is_allocated() -> None:
    ear = Ear()
    ear.refusal = PeerError("not now")
    with pytest.raises(PeerError, match="not now"):
        ear.hear(chunk(ear.sealer, Type.DATA, 1, b"x" * DIRECT)[:OVERHEAD])
    assert not ear.landed


def test_nothing_comes_out_before_all_of_it_is_there() -> None:
    ear = Ear()
    said = chunk(ear.sealer, Type.DATA, 1, b"hello")
    for at in range(len(said)):
        assert not ear.payloads
        ear.hear(said[at : at + 1])
    assert ear.payloads == [b"hello"]


def test_a_large_payload_is_read_into_its_own_memory_and_not_beyond() -> None:
    ear = Ear()
    said = chunk(ear.sealer, Type.DATA, 1, b"x" * MIB)
    ear.hear(said[: OVERHEAD + 10])
    assert len(ear.incoming.get_buffer()) == MIB - 10
    ear.hear(said[OVERHEAD + 10 :])
    assert ear.payloads == [b"x" * MIB]


def test_a_payload_that_does_not_match_is_not_handed_out() -> None:
    ear = Ear()
    with pytest.raises(IntegrityError):
        ear.hear(chunk(ear.sealer, Type.DATA, 1, b"x" * DIRECT)[:-1] + b"y")
    assert not ear.payloads
