"""From bytes to chunks: tags before memory, memory before payload, digests before use."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Final

from objxfer.limits import KIB, Limits
from objxfer.protocol.chunks import (
    HEADER_SIZE,
    OVERHEAD,
    Header,
    Type,
    check_payload,
    unpack_header,
)
from objxfer.security.sealing import Opener

DIRECT: Final = 64 * KIB
"""Payload of data from this size on lands in its own buffer, not in the shared one."""
_BUFFER: Final = 256 * KIB


class Incoming:
    """The chunks of one direction, as they arrive in pieces of any size.

    Args:
        opener: checks the tags, in order.
        limits: what this side accepts.
        judge: called with each header once its tag is verified; raises where the chunk is not
            legal now, so that nothing is read of it.
        land: called for data of at least ``DIRECT`` bytes; returns writable memory of exactly
            the payload's size, or None where there is none now.
    """

    def __init__(
        self,
        opener: Opener,
        limits: Limits,
        judge: Callable[[Header], None],
        land: Callable[[Header], memoryview | None],
    ) -> None:
        self._opener = opener
        self._limit = limits.chunk
        self._judge = judge
        self._land = land
        # Pages come when they are first written: of a thousand who say little, each has a few.
        self._buffer = memoryview(mmap.mmap(-1, _BUFFER))
        self._begin = self._end = 0
        self._header: Header | None = None
        self._direct: memoryview | None = None
        self._direct_filled = 0
        self.stalled = False
        """Whether ``next_chunk`` needs memory that ``land`` did not have."""

    def get_buffer(self) -> memoryview:
        """Return where the next bytes of the peer go; never empty."""
        if self._direct is not None:
            return self._direct[self._direct_filled :]
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._begin and (self._end == _BUFFER or self._end - self._begin < KIB):
            self._to_front()
        return self._buffer[self._end :]

    def received(self, size: int) -> None:
        """Say that ``size`` bytes were written to the start of ``get_buffer``."""
        if self._direct is not None:
            self._direct_filled += size
        else:
            self._end += size

    def next_chunk(self) -> tuple[Header, bytes | memoryview] | None:
        """Return the next whole and verified chunk; None where bytes, or memory, are missing.

        Raises:
            IntegrityError: a tag or digest does not match.
            PeerError: a header that is not as it must be, or not legal now.
        """
        header = self._header
        if header is None:
            begin = self._begin
            if self._end - begin < OVERHEAD:
                return None
            middle, self._begin = begin + HEADER_SIZE, begin + OVERHEAD
            packed = self._buffer[begin:middle]
            self._opener.check(packed, self._buffer[middle : self._begin])
            header = unpack_header(packed, self._limit)
            self._judge(header)
            self._header = header
        size = header.size
        payload: bytes | memoryview
        if size >= DIRECT and self._goes_direct(header):
            if self._direct is None and not self._start_direct(header):
                return None
            assert self._direct is not None
            if self._direct_filled < size:
                return None
            payload, self._direct = self._direct, None
        else:
            begin = self._begin
            end = begin + size
            if self._end < end:
                if end > _BUFFER:
                    self._to_front()
                return None
            payload = bytes(self._buffer[begin:end])
            self._begin = end
        check_payload(header, payload)
        self._header = None
        return header, payload

    def _goes_direct(self, header: Header) -> bool:
        return header.type is Type.DATA or header.size > _BUFFER // 2

    def _start_direct(self, header: Header) -> bool:
        place = self._land(header)
        self.stalled = place is None
        if place is None:
            return False
        here = min(self._end - self._begin, header.size)
        place[:here] = self._buffer[self._begin : self._begin + here]
        self._begin += here
        self._direct, self._direct_filled = place, here
        return True

    def _to_front(self) -> None:
        left = self._end - self._begin
        self._buffer[:left] = bytes(self._buffer[self._begin : self._end])
        self._begin, self._end = 0, left
