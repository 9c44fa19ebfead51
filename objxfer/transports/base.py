"""What every transport can do; ``tests/transports/test_contract.py`` holds each to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

Buffer = bytes | bytearray | memoryview


class Transport(Protocol):
    """One end of a byte stream, non-blocking.

    All methods but ``wait`` and ``wake`` are called under one lock of the owner. ``wait`` is
    called without it, by one thread at a time; ``wake`` may be called by any thread, and
    ``close`` while another thread is in ``wait``.

    Every method that touches the stream raises ``OSError`` when it broke, or an
    ``ObjxferError`` (``ConnectionLost``, ``IntegrityError``) where the layer knows why. What
    arrived before is read first. When reading has failed the transport is dead, but for
    ``close``; when only sending has, reading may still tell why.

    Buffers are contiguous and of single bytes; memoryviews have format ``B``.
    """

    peer: str
    """The other side as a person would write it: an address, never attacker-made text."""

    def recv_into(self, buffer: memoryview) -> int | None:
        """Read what is there into ``buffer``: how much, 0 at the end, None if nothing yet.

        The buffer is not empty. Once 0, always 0.
        """
        ...

    def send(self, buffers: Sequence[Buffer]) -> int | None:
        """Take a prefix of the buffers' bytes: how much, None if nothing can be taken now.

        Empty buffers count for nothing; where there are only such, that is 0. The buffers are
        not kept. Bytes taken may still be inside a layer of this transport: see ``flush``.
        """
        ...

    def flush(self) -> bool:
        """Push out what a layer holds back; True when nothing is left inside."""
        ...

    def wait(self, *, read: bool, write: bool, timeout: float | None) -> None:
        """Return when reading or writing may get on, after ``wake``, or after ``timeout`` seconds.

        It may return early for no reason. A layer also waits for what it needs itself, so call
        ``recv_into``, ``send`` or ``flush`` afterwards: each gets the layer on.
        """
        ...

    def wake(self) -> None:
        """Make the running ``wait``, or the next one, return at once."""
        ...

    def fileno(self) -> int:
        """Return the descriptor that is readable when ``recv_into`` may get on.

        A layer may have bytes inside that its descriptor does not show; ``wait`` knows.

        Raises:
            OSError: this transport has none.
        """
        ...

    def finish(self) -> None:
        """Say that nothing more will be sent; what was taken is still delivered.

        Where a layer holds something back, that takes ``flush`` until it is True.
        """
        ...

    def close(self) -> None:
        """Release everything, at once; a running ``wait`` returns. Again does nothing."""
        ...
