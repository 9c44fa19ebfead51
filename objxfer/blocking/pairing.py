"""Two that met by a code become peers: each keeps the pair, and knows that the other does.

Each says one JSON object, ``{"name": …}``, and when it has kept the pair another one, ``{"kept":
true}``; false, where it could not. A name is a proposal of what the side that says it may be
called.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any, Final

from objxfer.blocking.connection import Connection
from objxfer.errors import (
    ConnectionLost,
    ExitCode,
    ObjxferError,
    ProtocolMismatch,
    RefusedByPeer,
    Timeout,
)
from objxfer.security.peerfiles import Peer, fitting
from objxfer.security.peers import Peers
from objxfer.transports.urls import Url

ACCEPTS: Final = ("json",)
"""What a connection has to accept for this."""
NAMELESS: Final = "peer"
"""What a peer is called that proposes nothing that could be its name."""
_SECONDS: Final = 10.0
_SERIALIZER: Final = "json"


def become_peers(
    connection: Connection, peers: Peers, *, own_name: str, name: str | None = None
) -> Peer:
    """Keep the pair of a connection that was made by a code; the other side does the same.

    A name that is taken gets a number: no peer is ever replaced.

    Args:
        connection: accepts ``ACCEPTS``; this side goes by the ``own_id`` of ``peers`` on it. It
            stays open.
        peers: where to keep it.
        own_name: what this side would like to be called there.
        name: what the peer is called here; None is what it proposes.

    Returns:
        The peer as it is kept.

    Raises:
        ProtocolMismatch: the other side does not want to pair. Nothing is kept here, as with all
            errors but one.
        RefusedByPeer: the other side could not keep it.
        ObjxferError: both are the same peer.
        ConnectionLost, Timeout: as ``Connection.recv``. If this side had kept it by then, it is
            kept, and the message says so: nobody here knows whether the other side has heard that.
        KeyFileError: it cannot be written here.
    """
    pair = connection.pair
    if pair is None:
        raise ObjxferError(
            "the other side goes by the same peer id as this one",
            hint=f"a config folder was copied: remove {str(peers.folder)!r} on one of the two",
            exit_code=ExitCode.USAGE,
        )
    try:
        connection.send({"name": own_name}, serializer=_SERIALIZER)
    except RefusedByPeer as error:
        raise _no_pairing() from error
    proposed = _said(connection, "name", str)
    peer = Peer(
        name or fitting(proposed, NAMELESS),
        pair,
        datetime.now(UTC).replace(microsecond=0),
        connection.peer,
        # Where it listens, nobody knows yet; most do it at the usual port.
        (Url("tls", connection.peer).address,),
    )
    try:
        kept = peers.add(peer, numbered=True)
    except BaseException:
        with contextlib.suppress(ObjxferError):
            connection.send({"kept": False}, serializer=_SERIALIZER)
        raise
    try:
        with contextlib.suppress(ConnectionLost):  # what the other side said by then is there
            connection.send({"kept": True}, serializer=_SERIALIZER)
        if not _said(connection, "kept", bool):
            raise RefusedByPeer(
                "the other side could not keep the pair, and nothing is kept here",
                hint="its screen says why",
            )
    except (ConnectionLost, Timeout) as error:
        raise type(error)(
            f"{error}, before {kept.name!r} said that it keeps the pair; this side does",
            hint=f'if {kept.name!r} does not know this machine: "objxfer peers remove'
            f' {kept.name}", and pair again',
        ) from error
    except BaseException:
        with contextlib.suppress(ObjxferError):
            peers.remove(kept.name)
        raise
    return kept


def _said(connection: Connection, key: str, kind: type) -> Any:
    """Return what the other side says next."""
    try:
        said = connection.recv(_SECONDS)
    except ObjxferError as error:
        if error.exit_code in (ExitCode.REFUSED, ExitCode.FAILED):
            raise _no_pairing() from error
        raise
    value = said.get(key) if isinstance(said, dict) else None
    if not isinstance(value, kind):
        raise _no_pairing()
    return value


def _no_pairing() -> ProtocolMismatch:
    return ProtocolMismatch(
        "the other side does not want to pair", hint='start "objxfer pair" there, too'
    )
