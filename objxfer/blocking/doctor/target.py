"""Checks of the way to another machine, each step of it, to the first that fails."""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Iterator
from typing import Final

from objxfer.blocking.doctor.checks import Check, Status, failed, ok, warning
from objxfer.blocking.doctor.identity import check_key
from objxfer.blocking.doctor.visiting import Visit, connected_of, not_reached, terms_of
from objxfer.blocking.doctor.wording import no_such_name, not_connected
from objxfer.blocking.reaching import Named
from objxfer.errors import CannotConnect, ExitCode, KeyFileError, ObjxferError
from objxfer.security.keyfiles import StrPath, is_code
from objxfer.security.peers import Peers
from objxfer.transports.addresses import look_up
from objxfer.transports.probing import Attempt, dial_all
from objxfer.transports.urls import Url

SECONDS: Final = 10.0
"""For finding, connecting and the handshake together, as a delivery has them."""
_PATIENCE: Final = 2.0
"""For the other addresses, once one has connected."""
_LOOK: Final = 1.5
"""For looking on the network; who is there answers within a tenth of that."""
_STRANGER: Final = 3.0
"""For the handshake with one of several that may be the peer."""
_MOST: Final = 16
"""Addresses that are tried."""
_MORE_TELLING: Final = (errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EACCES)


def examine(
    target: str, *, key_file: StrPath | None = None, insecure: bool = False
) -> Iterator[Check]:
    """Go the way that a delivery to a target would go, and say how each step came out.

    Nothing is delivered: who is there sees a connection that ends. Steps behind one that failed
    are said to be not reached. It takes 10 s at the most, and a second or two for the pings.

    Args:
        target: ``tls://HOST[:PORT]``, ``tcp://…``, or the name of a peer; a folder is passed over.
        key_file: where the key lies, as for ``Key.find``; a peer has its own.
        insecure: use no key.

    Raises:
        ObjxferError: the target is none, or is a peer and there is a key, too (exit code
            ``USAGE``).
        KeyFileError: the file of the peer cannot be used.
    """
    if is_code(target):
        raise ObjxferError(
            "a code is no target: it can be tried once, and not for the sake of trying",
            hint="name the address that is shown with it: objxfer doctor tls://HOST:PORT",
            exit_code=ExitCode.USAGE,
        )
    if "://" in target:
        return _examine_url(Url.target(target), key_file, insecure=insecure)
    named = Named.read(target)
    if key_file is not None or insecure:
        raise ObjxferError(
            f"{named.peer.name} has a key of its own: --key and --insecure are for URLs",
            exit_code=ExitCode.USAGE,
        )
    return _examine_peer(named)


def _examine_url(url: Url, key_file: StrPath | None, *, insecure: bool) -> Iterator[Check]:
    deadline = time.monotonic() + SECONDS
    key, check = check_key(key_file, insecure=insecure, needed=True)
    yield check
    try:
        urls = look_up(url, deadline)[:_MOST]
    except OSError as error:
        words = no_such_name(error, url.host)
        advice = words.advice
        with contextlib.suppress(KeyFileError):
            if Peers().find(url.host) is not None:
                advice = f'{url.host} is a peer: "objxfer doctor {url.host}"'
        yield failed("name", words.message, advice, ExitCode.CANNOT_CONNECT)
        yield Check("connect", Status.NOT_REACHED, "not reached")
        yield from not_reached("connect")
        return
    if urls[0].host != url.host:
        yield ok("name", f"{url.host} is {', '.join(each.host for each in urls)}")
    with contextlib.ExitStack() as at_end:
        attempts = dial_all(urls, deadline, _PATIENCE)
        connected = connected_of(attempts, at_end)
        yield from _connecting(attempts)
        if not connected:
            yield from not_reached("connect")
            return
        for attempt in connected[1:]:
            assert attempt.sock is not None
            attempt.sock.close()
        terms = terms_of(url.address, key, encrypted=url.encrypted)
        visit = Visit.make(connected[0], terms, deadline)
        at_end.callback(visit.close)
        checks = list(visit.checks())
        if visit.established and key is None and not insecure:
            # It let us in without a key, but a delivery would not go there without one.
            checks[-1] = Check("proof", Status.NOT_REACHED, "not reached: there is no key here")
        yield from checks
        if visit.established:
            yield visit.round_trip()
        else:
            yield from not_reached(checks[-1].name)


def _examine_peer(named: Named) -> Iterator[Check]:
    deadline = time.monotonic() + SECONDS
    peer = named.peer
    yield ok("key", f"{peer.pair.key.id}, of the pair with {peer.name}")
    announced: list[Url] = []
    yield _announced(named, announced)
    known = [url for url in map(_known, peer.addresses) if url is not None]
    urls = list(dict.fromkeys([*announced[: _MOST // 2], *known]))
    if not urls:
        yield failed(
            "connect",
            f"nobody knows where {peer.name} is",
            'start "objxfer receive" there, in the same network; without multicast, name its'
            " address: objxfer doctor tls://HOST",
            ExitCode.CANNOT_CONNECT,
        )
        yield from not_reached("connect")
        return
    with contextlib.ExitStack() as at_end:
        attempts = dial_all(urls, deadline, _PATIENCE)
        connected = connected_of(attempts, at_end)
        yield from _connecting(attempts)
        if not connected:
            yield from not_reached("connect")
            return
        terms = terms_of(peer.name, peer.pair, encrypted=True)
        visits: list[Visit] = []
        for attempt in connected:
            until = min(deadline, time.monotonic() + _STRANGER)
            visit = Visit.make(attempt, terms, until if len(connected) > 1 else deadline)
            at_end.callback(visit.close)
            visits.append(visit)
            if visit.established:
                break
        met = visits[-1].established
        for visit in visits[:-1] if met else visits[1:]:
            *_, last = visit.checks()
            yield warning(last.name, f"{visit.url.address}: {last.message}", last.advice)
        visit = visits[-1] if met else visits[0]
        checks = list(visit.checks())
        yield from checks
        if met:
            yield visit.round_trip()
        else:
            yield from not_reached(checks[-1].name)


def _announced(named: Named, urls: list[Url]) -> Check:
    """Look for a peer on the network, and fill in where it is announced."""
    from objxfer.discovery.finding import find

    name = named.peer.name
    try:
        with find(named.peer.pair.peer.hex(), _LOOK) as services:
            for service in services:
                urls += [Url("tls", address, service.port) for address in service.addresses]
    except CannotConnect as error:
        return warning("mdns", str(error), error.hint)
    if urls:
        where = ", ".join(url.address for url in urls[:_MOST])
        return ok("mdns", f"{name} is announced at {where}")
    return warning(
        "mdns",
        f"{name} is not announced on the network",
        f'start "objxfer receive" on {name}; guest networks, VPNs and containers often carry no'
        " multicast: then it is looked for where it was last",
    )


def _known(address: str) -> Url | None:
    try:
        url = Url.target(address)
    except ObjxferError:
        return None
    return url if url.encrypted else None


def _telling(attempt: Attempt) -> int:
    """Sort before others what says more about the other machine."""
    number = attempt.error.errno if attempt.error else None
    return _MORE_TELLING.index(number) if number in _MORE_TELLING else len(_MORE_TELLING)


def _connecting(attempts: list[Attempt]) -> Iterator[Check]:
    """Yield a check for each address; where one connected, the others are warnings."""
    connects = any(attempt.sock is not None for attempt in attempts)
    if not connects:
        attempts = sorted(attempts, key=_telling)
    for attempt in attempts:
        where = attempt.url.address
        if attempt.error is None:
            yield ok("connect", f"{where} in {1000 * attempt.seconds:.3g} ms")
            continue
        words = not_connected(attempt.error, attempt.url.port, attempt.seconds)
        message = f"{where}: {words.message}"
        if connects:
            yield warning("connect", message)
        else:
            yield failed("connect", message, words.advice, ExitCode.CANNOT_CONNECT)
