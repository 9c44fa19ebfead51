"""Meeting by a code: one side waits with it and is announced, the other finds it and connects.

The room of the code is all that is announced, and whoever announces it is only a hint. The code
itself is proved in the handshake, to one peer.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from objxfer.blocking.connecting import OnFailed, connect_to_one
from objxfer.blocking.connection import Connection
from objxfer.blocking.listener import OnRefused, listen
from objxfer.blocking.presence import listened_on
from objxfer.blocking.terms import SAFE, Terms
from objxfer.errors import CannotConnect, NameTaken, ObjxferError
from objxfer.files.entries import KEEP, IfExists
from objxfer.limits import Limits
from objxfer.protocol.hello import Role
from objxfer.security.pairing import Code, Invitation, OnBurnt
from objxfer.transports.urls import Url

if TYPE_CHECKING:
    from objxfer.blocking.places import Place

_STRANGER: Final = 5.0
"""Seconds for connecting to whoever answers for a room, and as many for the handshake: nobody who
is silent keeps us longer from the next."""
_ROUND: Final = 10.0
"""Seconds after which the search begins anew: who could not be reached may be by then."""

_MOVES: Final = 3
"""Rooms that are given up because they are taken: who takes them all cannot keep us busy."""

log = logging.getLogger("objxfer")

OnMoved = Callable[[Code], None]
"""Told, in a thread of its own, the code that is waited with from now on."""
OnUnannounced = Callable[[Exception], None]
"""Told, in a thread of its own, why a room is not announced: others need the address then."""


class Host:
    """Waits for one guest with a code, and from then on for that guest alone.

    Listens over TLS from the beginning, and announces the room of its code from the first
    ``accept`` until the guest is in; the room of the next code where one is burnt, or taken. What
    that needs is imported, and done, in a thread of its own. Leaving its ``with`` block closes it.

    Attributes:
        urls: where others can connect to, the likeliest first.
    """

    def __init__(
        self,
        url: str = "tls://",
        *,
        on_burnt: OnBurnt | None = None,
        on_moved: OnMoved | None = None,
        on_refused: OnRefused | None = None,
        on_unannounced: OnUnannounced | None = None,
        interfaces: Sequence[str] | None = None,
        peer_id: bytes | None = None,
        accepts: Sequence[str] = SAFE,
        into: Place | None = None,
        if_exists: IfExists | str = IfExists.RENAME,
        keep_partial: float = KEEP,
        limits: Limits | None = None,
    ) -> None:
        """Make a code and listen.

        Args:
            url: where, as for ``listen``.
            on_burnt: told the next code, or None after the last, as for ``Invitation``.
            on_moved: told the next code where somebody else on the network waits in the room of the
                last one, so that nobody would be led here; without it, there is no other.
            on_refused: told of each that was not let in, as for ``listen``.
            on_unannounced: told why a room is not announced; without it, that is a warning in
                the log.
            interfaces: on which to announce, as for ``announce``; None is those that ``url``
                means.
            peer_id: as for ``connect``.
            accepts: the serialisers that received objects may come from.
            into: where received files land.
            if_exists: what happens where a different file lies under a name.
            keep_partial: days that a file which was cut off is kept.
            limits: what is accepted at the most.

        Raises:
            CannotConnect: the address is taken or not this machine's.
            ObjxferError: the URL is none, or without TLS (exit code ``USAGE``).
        """
        self._on_burnt = on_burnt
        self._on_moved = on_moved
        self._moves = _MOVES
        self._on_unannounced = on_unannounced
        self._invitation = Invitation(on_burnt=self._burnt)
        self._codes: queue.SimpleQueue[Code | None] = queue.SimpleQueue()
        self._herald: threading.Thread | None = None
        self._host, self._interfaces = Url.listening(url).host, interfaces
        self._listener = listen(
            url,
            key=self._invitation,
            peer_id=peer_id,
            accepts=accepts,
            into=into,
            if_exists=if_exists,
            keep_partial=keep_partial,
            limits=limits,
            on_refused=on_refused,
        )
        self.urls = self._listener.urls

    @property
    def code(self) -> Code | None:
        """The code to tell the guest; None where all are burnt. Any thread may ask."""
        return self._invitation.code

    def accept(self, timeout: float | None = None) -> Connection:
        """Wait for the guest; once it was here, for the same one to come back, without a code.

        Args:
            timeout: in seconds; None waits for as long as it takes.

        Raises:
            Timeout: nobody came in time.
            AuthenticationError: all codes are burnt; nobody can come any more.
            ConnectionClosed: it is closed.
        """
        if self._herald is None:
            self._codes.put(self.code)
            herald = threading.Thread(target=self._announce, name="objxfer-herald", daemon=True)
            herald.start()
            self._herald = herald  # only now: an interrupt may come first, and then ``close``
        connection = self._listener.accept(timeout)
        if connection.pair is not None:
            self._listener.expect(connection.pair)
        self._codes.put(None)
        return connection

    def close(self) -> None:
        """Stop waiting, and say goodbye on the network; connections stay."""
        self._listener.close()
        self._codes.put(None)
        if self._herald is not None:
            self._herald.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _burnt(self, code: Code | None) -> None:
        self._codes.put(code)
        if self._on_burnt is not None:
            self._on_burnt(code)

    # --- the herald's own thread ---

    def _announce(self) -> None:
        """Announce one room after the other, until there is no other."""
        from objxfer.discovery.announcing import announce

        port = Url.target(self.urls[0]).port
        code = self._codes.get()
        while code is not None:
            with ExitStack() as announced:
                try:
                    names = self._interfaces or listened_on(self._host)
                    failed = partial(self._unannounced, code)
                    announced.enter_context(
                        announce(str(code.room), port, interfaces=names, on_failed=failed)
                    )
                except (ObjxferError, OSError) as error:
                    self._unannounced(code, error)
                code = self._codes.get()

    def _unannounced(self, code: Code, error: Exception) -> None:
        """Take another room where this one is taken; else say why it is not announced."""
        if isinstance(error, NameTaken) and self._on_moved is not None and self._moves:
            self._moves -= 1
            moved = self._invitation.move(code)
            if moved is not None:
                self._codes.put(moved)
                self._on_moved(moved)
        elif self._on_unannounced is not None:
            self._on_unannounced(error)
        else:
            log.warning("%s", error)


def meet(
    code: Code,
    *,
    timeout: float | None = None,
    interfaces: Sequence[str] | None = None,
    on_failed: OnFailed | None = None,
    peer_id: bytes | None = None,
    accepts: Sequence[str] = SAFE,
    into: Place | None = None,
    if_exists: IfExists | str = IfExists.RENAME,
    keep_partial: float = KEEP,
    limits: Limits | None = None,
) -> Connection:
    """Find who waits with a code on the local network, and connect.

    All that answer for its room are tried, one after the other, until one has been given the proof
    of this side: with it, a rogue can try one guess at the code, so nobody else gets one,
    whatever comes of it. Who cannot be reached, is silent or has nothing to do with codes
    gets none, and is tried again later. Where the address is known, ``connect`` does it.

    Args:
        code: as it was heard.
        timeout: seconds in which to find somebody; None looks for as long as it takes.
        interfaces: as for ``find``.
        on_failed: told the URL of each who was not the one, and why.
        peer_id: as for ``connect``.
        accepts: the serialisers that received objects may come from.
        into: where received files land.
        if_exists: what happens where a different file lies under a name.
        keep_partial: days that a file which was cut off is kept.
        limits: what is accepted at the most.

    Raises:
        WrongCode: the code is wrong, or was tried before, and is of no more use.
        Timeout: who was given the proof did not answer it; the code is of no more use.
        CannotConnect: nobody was found in time, or the network cannot be searched.
    """
    from objxfer.discovery.finding import find

    terms = Terms.check(
        "tls://",
        role=Role.CLIENT,
        encrypted=True,
        key=code,
        peer_id=peer_id,
        serializer="msgpack",
        accepts=accepts,
        classes=None,
        timeout=_STRANGER,
        into=into,
        if_exists=if_exists,
        keep_partial=keep_partial,
        limits=limits or Limits(),
        insecure=False,
    )
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = _ROUND if deadline is None else min(_ROUND, deadline - time.monotonic())
        if left <= 0:
            raise CannotConnect(
                f"nobody was found who waits in room {code.room}",
                hint="name the address where the network does not say it, as in tls://HOST",
            )
        with find(str(code.room), left, interfaces=interfaces) as services:
            for service in services:
                urls = [Url("tls", address, service.port) for address in service.addresses]
                connection = connect_to_one(
                    [urls],
                    terms,
                    urls[0].address,
                    until=time.monotonic() + _STRANGER,
                    seconds=_STRANGER,
                    on_failed=on_failed or (lambda *_: None),
                )
                if connection is not None:
                    return connection
