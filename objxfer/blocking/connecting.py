"""Connecting: one socket, one handshake, one deadline for both."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import TYPE_CHECKING

from objxfer.blocking.connection import Connection
from objxfer.blocking.greeter import Greeter
from objxfer.blocking.terms import SAFE, Terms
from objxfer.blocking.trust import Trusted
from objxfer.errors import CannotConnect, ObjxferError, Timeout
from objxfer.files.entries import KEEP, IfExists
from objxfer.limits import Limits
from objxfer.protocol.hello import Role
from objxfer.transports.addresses import host_of
from objxfer.transports.dialling import dial, dial_each
from objxfer.transports.urls import Url

if TYPE_CHECKING:
    from objxfer.blocking.places import Place
    from objxfer.blocking.reaching import Named

OnFailed = Callable[[str, ObjxferError], None]
"""Told who was not the one that is meant, and why."""


def connect(
    url: str,
    *,
    key: Trusted | None = None,
    peer_id: bytes | None = None,
    serializer: str = "msgpack",
    accepts: Sequence[str] = SAFE,
    classes: Sequence[str] | None = None,
    timeout: float = 10.0,
    into: Place | None = None,
    if_exists: IfExists | str = IfExists.RENAME,
    keep_partial: float = KEEP,
    limits: Limits | None = None,
    insecure: bool = False,
) -> Connection:
    """Connect to a listener and authenticate each other.

    Args:
        url: ``tls://HOST[:PORT][/FOLDER]`` or ``tcp://…``; the scheme alone decides about
            encryption. Files are pushed into FOLDER unless told otherwise. Or ``NAME[:FOLDER]``,
            a peer of ``objxfer.peers()``: it is looked for on the network, then where it was last,
            and talks TLS.
        key: what both sides hold; a path is that of a key file. A ``Pair`` reaches that peer and
            no other. With a ``Code``, over TLS only, this is the one try at it. None reads no file
            and no environment, and needs ``insecure``; a NAME has its own key, and takes no other.
        peer_id: 16 bytes that this side goes by where a code makes a pair of it and its peer; None
            is other ones in each process. A ``Pair`` says them itself.
        serializer: what ``send`` uses unless told otherwise.
        accepts: the serialisers that received objects may come from. Naming ``pickle`` or
            ``cloudpickle`` lets whoever holds the key run code here.
        classes: with pickle, the only classes taken, as ``module:qualname``; None is any.
        timeout: seconds for connecting and authenticating together.
        into: the folder that received files land in; without one they are refused.
        if_exists: what happens where a different file lies under a name.
        keep_partial: days that a file which was cut off is kept, to go on with; 0 keeps none.
        limits: what this side accepts at the most.
        insecure: talk to whoever answers; never with pickle.

    Raises:
        CannotConnect: nobody answers there.
        AuthenticationError: who answers does not hold the key, or is not the peer of that name;
            its subclass ``WrongCode`` says that the code is wrong, or was tried before, and is
            of no more use.
        ProtocolMismatch: who answers speaks something else.
        Timeout: the time is up.
        ObjxferError: the URL is none, there is no key, or no peer of that name.
        KeyFileError: the file of the key or of the peer cannot be used.
        ValueError: the arguments contradict each other.
    """
    target: Url | Named
    if "://" in url:
        target = Url.target(url)
    else:
        from objxfer.blocking.reaching import Named

        target = Named.read(url)
        if key is not None or insecure:
            raise ValueError(
                f"{target.peer.name!r} has a key of its own: key= and insecure= are out"
            )
        key = target.peer.pair
    terms = Terms.check(
        url,
        role=Role.CLIENT,
        encrypted=target.encrypted,
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
    if not isinstance(target, Url):
        return target.reach(terms, timeout)
    deadline = time.monotonic() + timeout
    sock = dial(target, deadline)
    greeter = begin(sock, terms, target.address, encrypted=target.encrypted)
    try:
        finish(greeter, deadline, timeout)
        return Connection(greeter, url=target.address, folder=target.folder)
    except BaseException:
        greeter.close()
        raise


def connect_to_one(
    services: Sequence[Sequence[Url]],
    terms: Terms,
    name: str,
    *,
    until: float,
    deadline: float = inf,
    seconds: float,
    folder: bytes = b"",
    on_failed: OnFailed,
) -> Connection | None:
    """Connect to the first of several services that proves to be the one; None where none does.

    Args:
        services: as ``dial_each`` takes them.
        terms: what this side wants; each of them is tried until one was given the proof of a code.
        name: what they are called together, where none of them answers.
        until: when to give up connecting, in seconds of ``time.monotonic()``.
        deadline: when all has to be over.
        seconds: how many each of them has for the handshake.
        folder: of the connection.
        on_failed: told of each who was not the one, by its URL, and why; by ``name`` where
            nobody answered.

    Raises:
        ObjxferError: who was given the proof of a code did not answer with its own; the code is of
            no more use.
    """
    sockets = dial_each(services, until, most=sum(map(len, services)), name=name)
    while True:
        try:
            sock = next(sockets, None)
        except CannotConnect as error:
            on_failed(name, error)
            return None
        if sock is None:
            return None
        try:
            greeter = begin(sock, terms, name, found=True)
        except CannotConnect as error:
            on_failed(name, error)
            continue
        try:
            finish(greeter, min(deadline, time.monotonic() + seconds), seconds)
            return Connection(greeter, url=greeter.name, folder=folder)
        except BaseException as error:
            greeter.close()
            spent = greeter.proved and terms.trust.code is not None
            if spent or not isinstance(error, ObjxferError):
                raise
            on_failed(greeter.name, error)


def begin(
    sock: socket.socket, terms: Terms, name: str, *, encrypted: bool = True, found: bool = False
) -> Greeter:
    """Begin a handshake on a socket that was connected, and is the greeter's from now on.

    Args:
        sock: closed where this fails.
        terms: what this side wants.
        name: what the peer is called in errors.
        encrypted: TLS goes over it.
        found: the peer is one of several that were found, and is called by its own URL.

    Raises:
        CannotConnect: the connection was reset.
    """
    try:
        if found:
            at = sock.getpeername()
            name = Url("tls", host_of(at), at[1]).address
        return Greeter(sock, terms, Role.CLIENT, encrypted=encrypted, name=name)
    except OSError as error:
        sock.close()
        raise CannotConnect(f"{name} broke the connection off at once") from error


def finish(greeter: Greeter, deadline: float, timeout: float) -> None:
    """Go through a handshake that is this thread's alone, to its end.

    Args:
        greeter: it stays the caller's, to close where this fails.
        deadline: when it has to be over, in seconds of ``time.monotonic()``.
        timeout: how many seconds that were, for the message.

    Raises:
        ObjxferError: as ``Greeter.step``.
        Timeout: the time is up.
    """
    while not greeter.step():
        left = deadline - time.monotonic()
        if left <= 0:
            raise Timeout(f"{greeter.name} did not finish the handshake in {timeout:g} s")
        greeter.transport.wait(read=True, write=greeter.wants_write, timeout=left)
