"""One line each: connect, deliver, close."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import BinaryIO

from objxfer.blocking.connecting import connect
from objxfer.blocking.connection import Connection
from objxfer.blocking.retrying import RETRIES, persist
from objxfer.blocking.trust import Trusted
from objxfer.files.entries import IfExists
from objxfer.security.keyfiles import StrPath
from objxfer.security.pairing import Code
from objxfer.transfer.progress import Progress
from objxfer.transfer.report import OnEntry, Report


def push(
    paths: StrPath | Sequence[StrPath] | BinaryIO,
    *,
    to: str,
    key: Trusted | None = None,
    name: str | None = None,
    if_exists: IfExists | str | None = None,
    copy_links: bool = False,
    checksum: bool = False,
    progress: Progress | None = None,
    on_entry: OnEntry | None = None,
    retries: int | None = RETRIES,
    insecure: bool = False,
) -> Report:
    """Deliver files and folders over a connection of their own; see ``Connection.push``.

    A connection that is lost is made again, and the delivery goes on where it stopped; a
    stream cannot, for what was read of it cannot be read again, nor does a ``Code`` connect twice.

    Args:
        paths: what to send.
        to: ``tls://HOST[:PORT][/FOLDER]`` or ``tcp://…``, or a peer and folder: ``NAME[:FOLDER]``.
        key: as for ``connect``.
        name: what a stream is called at the receiver.
        if_exists: a milder rule than the receiver's.
        copy_links: send what links point to.
        checksum: have files there compared by their contents.
        progress: shows it on its way.
        on_entry: called with what became of each entry.
        retries: attempts in a row that bring nothing before it is given up, after about five
            minutes; None for no end. The first connection is attempted once.
        insecure: send to whoever answers.

    Raises:
        ObjxferError: as ``connect`` and ``Connection.push``.
    """
    report = Report(resumable=True)

    def dial() -> Connection:
        return connect(to, key=key, insecure=insecure)

    def deliver(connection: Connection) -> Report:
        return connection.push(
            paths,
            name=name,
            if_exists=if_exists,
            copy_links=copy_links,
            checksum=checksum,
            progress=progress,
            on_entry=on_entry,
            report=report,
        )

    if isinstance(key, Code) or not isinstance(paths, str | os.PathLike | Sequence):
        retries = 0
    return persist(dial(), dial, deliver, report=report, retries=retries)


def send(
    obj: object,
    *,
    to: str,
    key: Trusted | None = None,
    serializer: str = "msgpack",
    progress: Progress | None = None,
    insecure: bool = False,
) -> None:
    """Send one object over a connection of its own, and wait until it is loaded there.

    Args:
        obj: what to send.
        to: ``tls://HOST[:PORT]`` or ``tcp://…``, or the NAME of a peer.
        key: as for ``connect``.
        serializer: by name.
        progress: shows it on its way.
        insecure: send to whoever answers.

    Raises:
        ObjxferError: as ``connect`` and ``Connection.send``.
    """
    with connect(to, key=key, serializer=serializer, insecure=insecure) as connection:
        connection.send(obj, wait=True, progress=progress)
