"""Reaching a peer by its name: where it may be is a hint, and its key decides whether it is there.

A peer that listens is announced on the local network under its peer id, which is random and says
nothing of the machine or its user. It is looked for there first, then at the addresses where it
proved itself before, then there again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from objxfer.blocking.connecting import connect_to_one
from objxfer.blocking.connection import Connection
from objxfer.blocking.terms import Terms
from objxfer.errors import (
    AuthenticationError,
    CannotConnect,
    ExitCode,
    ObjxferError,
    ProtocolMismatch,
    WrongKey,
)
from objxfer.security.peerfiles import Peer
from objxfer.security.peers import Peers
from objxfer.transports.urls import Url

_FIRST_LOOK: Final = 0.5
"""Seconds to look on the network before the last known addresses are tried. Who is there answers
within a tenth of that."""
_SECOND_LOOK: Final = 2.5
_STRANGER: Final = 2.0
"""Seconds for the handshake with one of several: nobody who is silent keeps us longer from the
next."""
_STRANGERS: Final = 4.0
"""Seconds for all addresses of one service, or all that are known, and for all that are announced:
then the others get their turn."""

log = logging.getLogger("objxfer")


@dataclass(frozen=True, slots=True)
class Hint:
    """Where somebody says that the peer is, or where it was."""

    said: str
    """All of it, in an error."""
    services: Sequence[Sequence[Url]]
    """As ``dial_each`` takes them."""
    announced: bool
    """Whether somebody says that the peer is there now."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the peer was not reached where a hint led."""

    where: str
    """The URL, or what the hint said where none answered."""
    announced: bool
    error: ObjxferError


@dataclass(slots=True)
class Named:
    """A peer and a folder, as a target names them."""

    peers: Peers
    peer: Peer
    folder: bytes
    """Below the receiving folder; not yet checked."""
    encrypted: bool = field(default=True, init=False)
    """A peer is never talked to without TLS."""

    @classmethod
    def read(cls, text: str, peers: Peers | None = None) -> Self:
        """Read ``NAME[:FOLDER]``.

        Raises:
            ObjxferError: there is no such peer, or the folder is no text (exit code ``USAGE``).
            KeyFileError: its file cannot be used.
        """
        peers = peers or Peers()
        name, _, folder = text.partition(":")
        peer = peers.find(name)
        if peer is None:
            raise ObjxferError(
                f"{text!r} is no target: it has no scheme, and there is no peer {name!r}",
                hint=f'write tls://{text} for a host; "objxfer peers" shows the peers',
                exit_code=ExitCode.USAGE,
            )
        try:
            return cls(peers, peer, folder.encode("utf-8", "surrogateescape"))
        except UnicodeEncodeError:
            raise ObjxferError(
                f"{text!r}: the folder is no text", exit_code=ExitCode.USAGE
            ) from None

    def reach(
        self, terms: Terms, timeout: float, *, interfaces: Sequence[str] | None = None
    ) -> Connection:
        """Connect to the peer, wherever it is now, and remember the address.

        Whoever answers in its place, and is another, is passed by and said in the log. If
        nobody but others answers, that is the error.

        Args:
            terms: with the pair.
            timeout: seconds for all of it.
            interfaces: on which to look, as for ``find``.

        Raises:
            AuthenticationError: another one answers where the peer should be, and it does not.
            CannotConnect: it is not found, or does not answer.
            ProtocolMismatch: what is announced as the peer speaks something else.
        """
        deadline = time.monotonic() + timeout
        failures: list[Failure] = []
        for hint in self._hints(deadline, interfaces):
            connection = self._try(hint, terms, deadline, failures)
            if connection is not None:
                for failure in failures:
                    if isinstance(failure.error, AuthenticationError):
                        log.warning("%s", self._another(failure))
                self.peers.reached(self.peer, connection.url)
                return connection
        raise self._unreached(failures)

    def _hints(
        self,
        deadline: float,
        interfaces: Sequence[str] | None,
    ) -> Iterator[Hint]:
        yield from self._announced(_FIRST_LOOK, deadline, interfaces)
        known = []
        for address in self.peer.addresses:
            try:
                known.append([Url.target(address)])
            except ObjxferError:
                log.info("%r is no address of %r", address, self.peer.name)
        if known:
            several = f"the last known addresses of {self.peer.name!r}"
            said = several if len(known) > 1 else known[0][0].address
            yield Hint(said, known, announced=False)
        yield from self._announced(_SECOND_LOOK, deadline, interfaces)

    def _announced(
        self,
        seconds: float,
        deadline: float,
        interfaces: Sequence[str] | None,
    ) -> Iterator[Hint]:
        from objxfer.discovery.finding import find

        now = time.monotonic()
        enough = min(deadline, now + _STRANGERS)
        seconds = min(seconds, deadline - now)
        if seconds <= 0:
            return
        instance = self.peer.pair.peer.hex()
        try:
            with find(instance, seconds, interfaces=interfaces) as services:
                for service in services:
                    urls = [Url("tls", address, service.port) for address in service.addresses]
                    yield Hint(urls[0].address, [urls], announced=True)
                    if time.monotonic() > enough:
                        return
        except CannotConnect as error:
            log.info("%s", error)

    def _try(
        self,
        hint: Hint,
        terms: Terms,
        deadline: float,
        failures: list[Failure],
    ) -> Connection | None:
        """Connect to the peer at one place; None where it is not there, and say who is."""
        until = min(deadline, time.monotonic() + _STRANGERS)
        others = {each.where for each in failures if isinstance(each.error, AuthenticationError)}
        services = [[url for url in urls if url.address not in others] for urls in hint.services]
        if not any(services):
            return None
        return connect_to_one(
            services,
            terms,
            hint.said,
            until=until,
            deadline=deadline,
            seconds=_STRANGER,
            folder=self.folder,
            on_failed=lambda where, error: failures.append(Failure(where, hint.announced, error)),
        )

    def _unreached(self, failures: list[Failure]) -> ObjxferError:
        """Return the error of all attempts: that of another identity before all others."""
        name = self.peer.name
        for failure in failures:
            if isinstance(failure.error, AuthenticationError):
                return AuthenticationError(
                    self._another(failure),
                    hint=f"if {name!r} has removed this machine, or was set up anew, remove it here"
                    " and pair again; if not, somebody pretends to be it",
                )
        for failure in failures:
            if failure.announced and isinstance(failure.error, ProtocolMismatch):
                return ProtocolMismatch(f"{name!r}: {failure.error}", hint=failure.error.hint)
        reasons = dict.fromkeys(f"; {failure.error}" for failure in failures)
        return CannotConnect(
            f"{name!r} is not found on the network{''.join(reasons)}",
            hint='start "objxfer receive" there first',
        )

    def _another(self, failure: Failure) -> str:
        """Say that somebody else answered, and where."""
        where, error = failure.where, failure.error
        if isinstance(error, WrongKey):
            wrong = f"it does not hold the key of the pair ({self.peer.pair.key.id})"
        else:
            wrong = str(error).removeprefix(f"{where}: ")
        how = "announced as" if failure.announced else "the last known address of"
        return f"{where}, {how} {self.peer.name!r}, is another: {wrong}"
