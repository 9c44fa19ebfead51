"""A visit to who listens: the handshake step by step, and then nothing but pings.

The handshake is that of every connection. Whoever is visited sees one that delivers nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final

from objxfer.blocking.connecting import begin, finish
from objxfer.blocking.doctor.checks import Check, Status, failed, ok, warning
from objxfer.blocking.doctor.wording import (
    TLS_ALERT,
    Words,
    another_program,
    cut_off,
    on_tcp,
    on_tls,
)
from objxfer.blocking.greeter import Greeter
from objxfer.blocking.pairing import ACCEPTS as PAIRING
from objxfer.blocking.pump import Pump
from objxfer.blocking.terms import Terms
from objxfer.blocking.trust import Lasting
from objxfer.errors import AuthenticationError, ObjxferError, Timeout, WrongKey
from objxfer.files.entries import IfExists
from objxfer.limits import Limits
from objxfer.protocol.chunks import VERSION
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.transfer.exchange import Exchange
from objxfer.transports.dialling import dial
from objxfer.transports.probing import Attempt
from objxfer.transports.urls import DEFAULT_PORT, Url

STEPS: Final = ("tls", "hello", "proof", "round_trip")
"""The checks of a visit, in order."""
_PINGS: Final = 10
_PING_SECONDS: Final = 2.0
_SECOND_LOOK: Final = 2.0
"""Seconds for a look whether it is the other scheme."""
_LONGEST: Final = 80
"""Letters of a peer's own words that are shown."""


@dataclass(slots=True)
class Visit:
    """One connection on its way through the handshake, and what became of it."""

    url: Url
    """With the address that was connected to."""
    greeter: Greeter | None = None
    error: ObjxferError | None = None
    """What it failed with, if it did."""
    words: Words | None = None
    """The same in plain words, where there are better ones."""

    @classmethod
    def make(cls, attempt: Attempt, terms: Terms, deadline: float) -> Visit:
        """Go through the handshake as far as that goes; the visit owns the socket.

        Args:
            attempt: one that connected.
            terms: with what this side proves itself by, or nothing.
            deadline: in seconds of ``time.monotonic()``.
        """
        assert attempt.sock is not None
        url = attempt.url
        visit = cls(url)
        try:
            visit.greeter = begin(attempt.sock, terms, url.address, encrypted=url.encrypted)
            finish(visit.greeter, deadline, max(0.0, deadline - time.monotonic()))
        except ObjxferError as error:
            visit.error = error
            visit.close()
            visit.words = visit._in_plain_words()
        except BaseException:
            visit.close()
            raise
        return visit

    def close(self) -> None:
        """Close the connection of a visit that is not ended by ``round_trip``."""
        if self.greeter is not None:
            self.greeter.close()

    @property
    def established(self) -> bool:
        """Whether each side has proved itself, or nobody asked for that."""
        return self.greeter is not None and self.greeter.established is not None

    @property
    def theirs(self) -> Hello | None:
        """What the other side says of itself."""
        return None if self.greeter is None else self.greeter.theirs

    def checks(self) -> Iterator[Check]:
        """Yield the checks of TLS, the hello and the proof, up to the one that failed."""
        if self.greeter is None or not self.greeter.secured:
            yield self._failed("tls")
            return
        yield ok("tls", "TLS 1.3" if self.url.encrypted else "not asked for: tcp:// is signed only")
        theirs = self.theirs
        if theirs is None or theirs.role is Role.CLIENT or not _in_common(theirs):
            yield self._failed("hello")
            return
        yield ok("hello", _introduced(theirs))
        if self.error is not None:
            yield self._failed("proof")
        elif theirs.mode is Mode.NONE:
            yield ok("proof", "none: whoever comes is let in there")
        else:
            yield ok("proof", f"both hold the key {self.greeter.terms.trust.key_id}")

    def round_trip(self) -> Check:
        """Ping, and end the connection; it has to be ``established``."""
        assert self.greeter is not None
        assert self.greeter.established is not None
        exchange = Exchange(self.greeter.established, self.greeter.terms.limits, time.monotonic())
        pump = Pump(self.greeter.transport, exchange)
        times: list[float] = []
        with pump.lock:
            try:
                for number in range(1, _PINGS + 1):
                    seconds = pump.ping(number, _PING_SECONDS)
                    if seconds is None:
                        break
                    times.append(seconds)
                if times:
                    pump.finish()
            except ObjxferError as error:
                if not times:
                    return failed(
                        "round_trip",
                        f"it let this machine in, and broke the connection off: {error}",
                        "see what the screen there says",
                        error.exit_code,
                    )
            finally:
                pump.abandon()
        if not times:
            return warning(
                "round_trip",
                f"no answer in {_PING_SECONDS:g} s: it is busy with somebody else now",
                '"objxfer receive" takes one delivery, and ends; "objxfer serve" many at once',
            )
        least, middle = (f"{1000 * each:.3g} ms" for each in (min(times), statistics.median(times)))
        return ok("round_trip", f"{least} at best, {middle} in the middle of {len(times)}")

    # --- inside ---

    def _failed(self, name: str) -> Check:
        assert self.error is not None
        words = self.words or Words(str(self.error), self.error.hint)
        return failed(name, words.message, words.advice, self.error.exit_code)

    def _in_plain_words(self) -> Words | None:
        greeter, error, port = self.greeter, self.error, self.url.port
        if greeter is None:
            return cut_off(port)
        if greeter.theirs is not None:
            return _behind_the_hello(greeter.terms, greeter.theirs, error)
        said = greeter.said
        if said.startswith(TLS_ALERT) and not self.url.encrypted:
            return on_tls(self.url)
        program = another_program(said)
        if program is not None:
            return program
        if isinstance(error, Timeout):
            return _silent(port, secured=greeter.secured and self.url.encrypted)
        if said:
            return None
        if isinstance(error and error.__cause__, ConnectionError):
            return cut_off(port)
        if not (self.url.encrypted and greeter.secured) and self._answers_the_other_way():
            return on_tcp(self.url) if self.url.encrypted else on_tls(self.url)
        return Words(
            "accepted, and closed at the first word: another program listens there, or nobody"
            " behind what accepts (a proxy, a port of a container)",
            f'see whether "objxfer receive" runs there at port {port}',
        )

    def _answers_the_other_way(self) -> bool:
        """Look whether an objxfer listens with TLS where it was called without, or without it.

        That says nothing of this machine or its key.
        """
        url = self.url
        encrypted = not url.encrypted
        deadline = time.monotonic() + _SECOND_LOOK
        terms = terms_of(url.address, None, encrypted=encrypted)
        with suppress(ObjxferError):
            greeter = begin(dial(url, deadline), terms, url.address, encrypted=encrypted)
            try:
                with suppress(ObjxferError):
                    finish(greeter, deadline, _SECOND_LOOK)
                return greeter.theirs is not None
            finally:
                greeter.close()
        return False


def connected_of(attempts: Iterable[Attempt], at_end: ExitStack) -> list[Attempt]:
    """Return those that connected; their sockets are closed at the end, if not before."""
    found = []
    for attempt in attempts:
        if attempt.sock is not None:
            at_end.enter_context(attempt.sock)
            found.append(attempt)
    return found


def terms_of(where: str, key: Lasting | None, *, encrypted: bool) -> Terms:
    """Return the terms of a visit: nothing is accepted, and without a key nobody proves anything.

    Raises:
        KeyFileError: the key cannot be used.
    """
    return Terms.check(
        where,
        role=Role.CLIENT,
        encrypted=encrypted,
        key=key,
        peer_id=None,
        serializer="raw",
        accepts=(),
        classes=None,
        timeout=1.0,
        into=None,
        if_exists=IfExists.FAIL,
        keep_partial=0,
        limits=Limits(),
        insecure=key is None,
    )


def not_reached(after: str) -> Iterator[Check]:
    """Yield the checks of a visit that come after one."""
    steps = STEPS[STEPS.index(after) + 1 :] if after in STEPS else STEPS
    for name in steps:
        yield Check(name, Status.NOT_REACHED, "not reached")


def _introduced(theirs: Hello) -> str:
    """Return what somebody says of itself."""
    low, high = theirs.versions
    versions = f"version {high}" if low == high else f"versions {low} to {high}"
    takes = ["files and folders"] if theirs.trees else []
    if theirs.serializers:
        takes.append(f"objects as {_harmless(', '.join(theirs.serializers))}")
    python = f"Python {_harmless(theirs.python)}" if theirs.python else "no word of its Python"
    taken = f"takes {', and '.join(takes)}" if takes else "takes neither files nor objects"
    return f"objxfer of protocol {versions} (here {VERSION}), {python}; {taken}"


def _harmless(text: str) -> str:
    """Return words of a peer, cut, in which everything but printable ASCII is escaped."""
    return ascii(text[:_LONGEST])[1:-1] + ("…" if len(text) > _LONGEST else "")


def _in_common(theirs: Hello) -> bool:
    low, high = theirs.versions
    return low <= VERSION <= high


def _behind_the_hello(terms: Terms, theirs: Hello, error: ObjxferError | None) -> Words | None:
    """Say what it means that it failed although somebody said this hello."""
    if theirs.role is Role.CLIENT:
        return Words(
            "it sends back what it is told: another program",
            f"name the port of objxfer; without one it is {DEFAULT_PORT}",
        )
    if not _in_common(theirs):
        return _no_common_version(theirs)
    if isinstance(error, AuthenticationError):
        return _not_proved(terms, theirs, error)
    if isinstance(error, Timeout):
        return Words("it says hello, and then nothing: it hangs", "start it anew there")
    return None


def _no_common_version(theirs: Hello) -> Words:
    low, high = theirs.versions
    versions = f"version {low}" if low == high else f"versions {low} to {high}"
    older = "the other machine" if high < VERSION else "this machine"
    return Words(
        f"it speaks {versions} of the protocol, and this machine {VERSION}",
        f"update objxfer on {older}",
    )


def _silent(port: int, *, secured: bool) -> Words:
    if secured:
        return Words(
            "it speaks TLS, and then says nothing: another program, or an objxfer that hangs",
            f'see whether "objxfer receive" runs there at port {port}',
        )
    return Words(
        "accepted, and then silent: another program that waits for something else, one that hangs,"
        " or something in between that accepts for a machine that is off",
        f'see whether "objxfer receive" runs there at port {port}; if so, start it anew',
    )


def _not_proved(terms: Terms, theirs: Hello, error: AuthenticationError) -> Words:
    """Say what it means that who answers, with this hello, does not prove itself."""
    trust = terms.trust
    if trust.pairs:
        pair = trust.pairs[0]
        again = (
            "if it removed this machine, or was set up anew, remove it here and pair again; if"
            " not, somebody pretends to be it"
        )
        if theirs.peer_id != pair.peer:
            return Words(
                f"another machine answers there: its id is {theirs.peer_id.hex()}, and that of the"
                f" peer {pair.peer.hex()}",
                'start "objxfer receive" on the machine of the peer; if that is what answers, it'
                " lets in no peers, or was set up anew: then remove it here and pair again; if"
                " neither, somebody pretends to be it",
            )
        if isinstance(error, WrongKey):
            return Words(f"it does not hold the key of the pair ({pair.key.id})", again)
        return Words("it does not let in peers", again)
    match theirs.mode:
        case Mode.CODE:
            return Words("it waits for a code", _with_its_code(theirs))
        case Mode.PAIR:
            return Words(
                "it lets in its peers, and nobody who has another key",
                'if it is a peer, use its name ("objxfer peers" shows it); else run "objxfer pair"'
                " on both machines, or give both the same key file",
            )
        case Mode.NONE if trust.keyring:
            return Words(
                "it has no key: whoever comes is let in there (--insecure)",
                "start it with the key; or use --insecure, if that is meant",
            )
        case Mode.KEY if not trust.keyring:
            return Words("it has a key, and asks for it", "name it with --key FILE")
        case Mode.NONE:
            return Words("it has no key, and its proof does not match", "update objxfer there")
        case _:
            return Words(
                f"it does not hold our key ({trust.key_id})",
                "compare the key ids: the other screen shows its own; then bring the same key file"
                " to both",
            )


def _with_its_code(theirs: Hello) -> str:
    """Say what to do with the code that somebody shows: that goes by what they take."""
    if theirs.trees:
        return "type the code that it shows: objxfer send PATH --code CODE"
    if theirs.serializers == PAIRING:
        return "type the code that it shows: objxfer pair CODE"
    if not theirs.serializers:
        return "type the code that it shows: objxfer receive CODE"
    return "connect with the code that it shows"
