"""Listening: one thread that takes connections and lets in those that prove themselves."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import selectors
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from objxfer.blocking.connection import Connection
from objxfer.blocking.greeter import Greeter
from objxfer.blocking.places import Place
from objxfer.blocking.rules import Rules
from objxfer.blocking.terms import SAFE, Terms
from objxfer.blocking.trust import Trust, Trusted
from objxfer.errors import AuthenticationError, ConnectionClosed, ExitCode, ObjxferError, Timeout
from objxfer.files.entries import KEEP, IfExists
from objxfer.interfaces import local_addresses
from objxfer.limits import Limits
from objxfer.protocol.hello import Role
from objxfer.security.pairing import Invitation, Pair
from objxfer.transports.addresses import bind, listened_at, why_not_listening
from objxfer.transports.urls import DEFAULT_PORT, Url

PENDING: Final = 512
"""Connections that are not authenticated yet, at the most."""
ACCEPTABLE: Final = 2048
"""Connections that are authenticated, but not accepted yet, at the most: a server whose threads
are all busy is slow to accept."""
HANDSHAKE_SECONDS: Final = 10.0
"""From the connection to its proof; the peer cannot change it."""
_ACCEPTS_AT_ONCE: Final = 64
_OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE: Final = 0.1
"""Seconds until the next try where not even a descriptor to turn somebody away is left."""

OnRefused = Callable[[str, ObjxferError], None]
"""Told the address and the reason, in the listener's thread, for each that was not let in."""

log = logging.getLogger("objxfer")


class Listener:
    """Takes authenticated connections. Any thread may ``accept``.

    A thread of its own does all handshakes, so a peer that is silent or slow keeps nobody
    else waiting. Leaving its ``with`` block closes it; accepted connections stay.

    Attributes:
        url: where others can connect to.
        urls: the same for each address of this machine.
        hosts: what is listened on at the port of ``url``, as in URLs; "" is all interfaces.
    """

    def __init__(
        self,
        at: Sequence[Url],
        terms: Terms,
        sockets: Sequence[socket.socket],
        on_refused: OnRefused | None,
    ) -> None:
        """Take over sockets that listen at some URLs; ``listen`` does this."""
        self._terms = terms
        self._encrypted = at[0].encrypted
        self._sockets = list(sockets)
        self._on_refused = on_refused
        self.hosts = [url.host for url in at if url.port == at[0].port]
        self.urls = [
            replace(url, host=host).address
            for url in at
            for host in ([url.host] if url.host else local_addresses())
        ]
        self.url = self.urls[0]
        self.key_id = terms.trust.key_id
        self._accepted: queue.SimpleQueue[Connection | ObjxferError] = queue.SimpleQueue()
        self._pending: OrderedDict[int, tuple[Greeter, float]] = OrderedDict()
        self._selector = selectors.DefaultSelector()
        for sock in self._sockets:
            sock.settimeout(0)
            self._selector.register(sock, selectors.EVENT_READ)
        self._waker, self._woken = socket.socketpair()
        self._woken.settimeout(_PAUSE)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._spare = os.open(os.devnull, os.O_RDONLY)
        self._short = False  # of descriptors; said once, until somebody is taken again
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="objxfer-listener", daemon=True)
        self._thread.start()

    def accept(self, timeout: float | None = None) -> Connection:
        """Take the next authenticated connection.

        Raises:
            Timeout: none came in so many seconds.
            AuthenticationError: all codes of the invitation are burnt; nobody can come any more.
            ConnectionClosed: the listener is closed.
        """
        try:
            taken = self._accepted.get(timeout=timeout)
        except queue.Empty:
            raise Timeout("nobody connected in time") from None
        if isinstance(taken, ObjxferError):
            self._accepted.put(taken)  # for the next who waits
            raise type(taken)(str(taken), hint=taken.hint)
        return taken

    def expect(self, pair: Pair) -> None:
        """Let in nobody from now on but who holds the other half of this pair.

        So the guest of an invitation, which is used up then, comes back without a code.

        Raises:
            ValueError: the pair is not of the peer id that this side goes by here.
        """
        if pair.own != self._terms.peer_id:
            raise ValueError("the pair belongs to another peer id than that of this listener")
        self._terms = replace(self._terms, trust=Trust(pairs=(pair,)))

    def close(self) -> None:
        """Stop listening; whoever waits in ``accept`` gets ConnectionClosed.

        Connections that nobody has accepted are cut.
        """
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- the listener's own thread ---

    def _run(self) -> None:
        try:
            while not self._closed:
                for key, _ in self._selector.select(self._until_deadline()):
                    if key.fileobj is self._woken:
                        continue
                    if key.data is None:
                        self._take(key.fileobj)  # type: ignore[arg-type]  # we registered sockets
                    elif id(key.data) in self._pending:  # it may have been dropped meanwhile
                        self._go_on(key.data)
                self._drop_late()
        finally:
            self._release()

    def _until_deadline(self) -> float | None:
        for _, deadline in self._pending.values():
            return max(0.0, deadline - time.monotonic())
        return None

    def _take(self, listening: socket.socket) -> None:
        for taken in range(_ACCEPTS_AT_ONCE):
            try:
                sock, _ = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Out of descriptors it says so also where nobody waits any more.
                if error.errno in _OUT_OF_DESCRIPTORS and not taken:
                    self._make_room(listening)
                return
            self._short = False
            if len(self._pending) >= PENDING:
                self._drop_oldest()
            try:
                greeter = Greeter(sock, self._terms, Role.SERVER, encrypted=self._encrypted)
                self._selector.register(sock, selectors.EVENT_READ, greeter)
            except OSError as error:  # most often it was reset before it was looked at
                log.info("a connection broke off at once: %s", error)
                sock.close()
            except Exception:  # nothing that one peer brings about may shut all others out
                log.exception("a connection could not be taken")
                sock.close()
            else:
                self._pending[id(greeter)] = greeter, time.monotonic() + HANDSHAKE_SECONDS
                self._go_on(greeter)

    def _make_room(self, listening: socket.socket) -> None:
        """Out of descriptors: drop who waits longest without a word, or turn the newcomer away."""
        if self._pending:
            self._drop_oldest()
            return
        if not self._short:
            self._short = True
            log.warning("out of descriptors: connections are turned away")
        try:
            self._turn_away(listening)
        except OSError:
            with contextlib.suppress(TimeoutError):
                self._woken.recv(1)  # a pause that ``close`` ends

    def _turn_away(self, listening: socket.socket) -> None:
        """Take somebody in the place of the spare descriptor, which others may snatch."""
        spare, self._spare = self._spare, -1
        if spare >= 0:
            os.close(spare)
        try:
            listening.accept()[0].close()
        finally:
            self._spare = os.open(os.devnull, os.O_RDONLY)

    def _drop_oldest(self) -> None:
        """Drop the oldest that has not said a valid hello; never the newcomer.

        But hellos are cheap: where those who said one hold more than half of the places, it is
        the oldest of them, or nobody else would have the time to say one.
        """
        greeters = [greeter for greeter, _ in self._pending.values()]
        heard = [greeter for greeter in greeters if greeter.heard]
        many = 2 * len(heard) > len(greeters)
        greeter = heard[0] if many else next(each for each in greeters if not each.heard)
        self._refuse(greeter, Timeout("too many connections wait to be authenticated"))

    def _drop_late(self) -> None:
        now = time.monotonic()
        while self._pending:
            greeter, deadline = next(iter(self._pending.values()))
            if deadline > now:
                return
            self._refuse(greeter, Timeout(f"no handshake in {HANDSHAKE_SECONDS:g} s"))

    def _go_on(self, greeter: Greeter) -> None:
        try:
            if not greeter.step():
                events = selectors.EVENT_READ
                if greeter.wants_write:
                    events |= selectors.EVENT_WRITE
                self._selector.modify(greeter.transport.fileno(), events, greeter)
                return
            if self._accepted.qsize() >= ACCEPTABLE:
                raise ObjxferError("too many connections wait to be accepted")
            scheme = "tls" if self._encrypted else "tcp"
            connection = Connection(greeter, url=f"{scheme}://{greeter.transport.peer}")
        except ObjxferError as error:
            self._refuse(greeter, error)
        except Exception:  # nothing that one peer brings about may shut all others out
            log.exception("the handshake with %s failed", greeter.transport.peer)
            self._refuse(greeter, ObjxferError("the handshake failed; the log says why"))
        else:
            self._forget(greeter)
            log.info("%s is authenticated", connection.peer)
            self._accepted.put(connection)

    def _refuse(self, greeter: Greeter, error: ObjxferError) -> None:
        self._forget(greeter)
        peer = greeter.transport.peer
        greeter.close()
        log.info("%s was not let in: %s", peer, error)
        if self._on_refused is not None:
            try:
                self._on_refused(peer, error)
            except Exception:  # the listener outlives what its user's code does
                log.exception("on_refused failed")
        if greeter.guessed and self._terms.trust.invitation is not None:
            self._burn(self._terms.trust.invitation)

    def _burn(self, invitation: Invitation) -> None:
        log.info("%r was tried, and is burnt", invitation.code)
        try:
            invitation.burn()
        except Exception:  # as above
            log.exception("on_burnt failed")
        if invitation.code is None:
            self._accepted.put(
                AuthenticationError(
                    "every code was guessed wrong, and nobody can come any more",
                    hint="begin again for new ones; if nobody mistyped, somebody is guessing",
                )
            )

    def _forget(self, greeter: Greeter) -> None:
        del self._pending[id(greeter)]
        self._selector.unregister(greeter.transport.fileno())

    def _release(self) -> None:
        for greeter, _ in self._pending.values():
            greeter.close()
        self._pending.clear()
        self._selector.close()
        for sock in (*self._sockets, self._waker, self._woken):
            sock.close()
        if self._spare >= 0:
            os.close(self._spare)
        with contextlib.suppress(queue.Empty):
            while True:
                taken = self._accepted.get_nowait()
                if isinstance(taken, Connection):
                    taken.abandon()
        self._accepted.put(ConnectionClosed("the listener is closed"))


def listen(
    url: str,
    *,
    key: Trusted | None = None,
    peer_id: bytes | None = None,
    serializer: str = "msgpack",
    accepts: Sequence[str] = SAFE,
    classes: Sequence[str] | None = None,
    timeout: float = 10.0,
    into: Place | Rules | None = None,
    if_exists: IfExists | str = IfExists.RENAME,
    keep_partial: float = KEEP,
    limits: Limits | None = None,
    insecure: bool = False,
    on_refused: OnRefused | None = None,
    sockets: Sequence[socket.socket] = (),
) -> Listener:
    """Listen for connections and authenticate them.

    Args:
        url: ``tls://`` or ``tcp://``, with a host and port to listen on, or without for all
            interfaces and port 6259; port 0 takes any.
        on_refused: told of each that was not let in.
        key: as for ``connect``, like all others. Any key of a ``Keyring`` lets in, and of a list
            of keys and pairs; ``objxfer.peers()`` let in each that is there when it comes. An
            ``Invitation`` lets one guest in, with its code, over TLS only.
        peer_id: as for ``connect``.
        serializer: what ``send`` uses unless told otherwise.
        accepts: the serialisers that received objects may come from.
        classes: with pickle, the only classes taken.
        timeout: of no use to a listener, whose handshakes always have 10 s.
        into: the folder that received files land in, or a binary stream for a single one; or
            ``Rules``, that are the ``key``, too.
        if_exists: what happens where a different file lies under a name.
        keep_partial: days that a file which was cut off is kept, to go on with; 0 keeps none.
        limits: what this side accepts at the most.
        insecure: let in whoever comes; never with pickle.
        sockets: listen on these, which listen already for TCP, as those do that a service manager
            passes; of the URL only the scheme counts then. They are taken over.

    Raises:
        CannotConnect: the address is taken or not this machine's.
        ObjxferError: the URL is none, or there is no key.
        ValueError: the arguments contradict each other.
    """
    where = Url.listening(url)
    terms = Terms.check(
        url,
        role=Role.SERVER,
        encrypted=where.encrypted,
        key=key,
        peer_id=peer_id,
        serializer=serializer,
        accepts=accepts,
        classes=classes,
        timeout=timeout,
        into=into,
        if_exists=if_exists,
        keep_partial=keep_partial,
        limits=limits or Limits(),
        insecure=insecure,
    )
    if not sockets:
        sockets = bind(where)
        at = [replace(where, port=listened_at(sockets[0])[1])]
    else:
        at = _passed(where, sockets)
    return Listener(at, terms, sockets, on_refused)


def _passed(url: Url, sockets: Sequence[socket.socket]) -> list[Url]:
    """Return where sockets listen that somebody else has made."""
    if url.host or url.port != DEFAULT_PORT:
        raise ObjxferError(
            f"the sockets that were passed say where to listen, not {url.address}",
            hint=f"leave it at {url.scheme}://",
            exit_code=ExitCode.USAGE,
        )
    for sock in sockets:
        if wrong := why_not_listening(sock):
            raise ValueError(f"{sock} cannot be listened on: {wrong}")
    found = dict.fromkeys(map(listened_at, sockets))
    return [replace(url, host=host, port=port) for host, port in found]
