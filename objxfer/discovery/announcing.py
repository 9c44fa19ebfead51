"""Announcing a service on the local network, so that others find it by its name.

Whoever is on the network can read what is announced: it holds nothing secret.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Final

from zeroconf import NonUniqueNameException, ServiceInfo

from objxfer.discovery.multicast import FOLLOW, Multicast
from objxfer.discovery.names import PEER_ID, PEER_ID_SIZE, SERVICE, full_name
from objxfer.errors import NameTaken, Timeout
from objxfer.interfaces import Interface

# An empty TXT record is one empty string (RFC 6763, section 6.1).
_NOTHING: Final = b"\0"

log = logging.getLogger("objxfer")


class Announcement:
    """A service that is being announced, until its ``with`` block ends; see ``announce``."""

    def __init__(self, on_failed: Callable[[Exception], None] | None) -> None:
        self._outcome: Future[None] = Future()
        self._on_failed = on_failed
        self._asked = False

    def wait(self, timeout: float | None = None) -> None:
        """Return when the name is known to be free and the service was announced under it.

        That takes about a second (RFC 6762, section 8). Any thread may wait, or nobody.

        Args:
            timeout: in seconds; None waits for as long as it takes, which is bounded.

        Raises:
            NameTaken: somebody else announces this name; this announcement has ended.
            CannotConnect: it cannot be announced any more.
            Timeout: neither has come out in time; it may still.
        """
        self._asked = True
        try:
            self._outcome.result(timeout)
        except TimeoutError as error:
            if not self._outcome.done():
                raise Timeout("it is not known yet whether the name is free") from error
            self._outcome.result()

    def _announced(self) -> None:
        self._outcome.set_result(None)

    def _failed(self, error: Exception) -> None:
        late = self._outcome.done()
        if not late:
            self._outcome.set_exception(error)
        if self._on_failed is not None:
            self._asked = True
            self._on_failed(error)
        elif late:
            log.warning("the announcement has ended: %s", error)

    def _close(self) -> None:
        """Let nobody wait any longer, and no error that nobody asked for go unsaid."""
        if not self._outcome.done():
            self._outcome.set_exception(Timeout("the announcement was ended before it began"))
        elif not self._asked and (error := self._outcome.exception()) is not None:
            log.warning("%s", error)


@contextmanager
def announce(
    instance: str,
    port: int,
    *,
    peer_id: bytes | None = None,
    interfaces: Sequence[str] | None = None,
    on_failed: Callable[[Exception], None] | None = None,
) -> Iterator[Announcement]:
    """Announce a service on the local network until the ``with`` block ends.

    It begins at once and goes on in a thread of its own, which is gone with the block; others
    are told goodbye then. All addresses of the interfaces are announced. A network that comes,
    goes or changes is followed within a few seconds. An announcement that fails without anybody
    having asked by ``Announcement.wait`` is a warning in the log.

    Args:
        instance: the public number of a code, as text, or the name of a service.
        port: the TCP port, the same at all addresses.
        peer_id: the public id of this peer, 16 bytes, for those who look for it; None says
            nothing.
        interfaces: their names; None for all but the loopback, or for that one alone where
            there is no other.
        on_failed: told, in that thread, what it has failed with; then nothing is logged.

    Raises:
        ObjxferError: the name cannot be announced (exit code ``USAGE``).
        CannotConnect: multicast is not possible, and why; nothing is announced.
        ValueError: the port or the peer id is none.
    """
    name = full_name(instance)
    if not 1 <= port <= 65535:
        raise ValueError(f"a port is 1 to 65535, not {port}")
    if peer_id is not None and len(peer_id) != PEER_ID_SIZE:
        raise ValueError(f"a peer id has {PEER_ID_SIZE} bytes, not {len(peer_id)}")
    announcement = Announcement(on_failed)

    async def work(multicast: Multicast) -> None:
        zeroconf = multicast.zeroconf
        info = ServiceInfo(
            SERVICE,
            name,
            port,
            properties=_NOTHING if peer_id is None else {PEER_ID: peer_id.hex().encode()},
            # The machine's own name is nobody's business, and another may have the same.
            server=f"objxfer-{secrets.token_hex(8)}.local.",
            addresses=_addresses(multicast.interfaces),
        )
        try:
            repeated = await zeroconf.async_register_service(info)
        except NonUniqueNameException as error:
            raise NameTaken(
                f"another machine on the network announces {instance!r}",
                hint="choose another name",
            ) from error
        await asyncio.sleep(0)  # in which the first packet leaves
        announcement._announced()
        await repeated
        while True:
            await asyncio.sleep(FOLLOW)
            if await multicast.follow():
                info.addresses = _addresses(multicast.interfaces)
                await (await zeroconf.async_update_service(info))

    multicast = Multicast(f"announce {instance!r}", interfaces, work, announcement._failed)
    try:
        yield announcement
    finally:
        multicast.close()
        announcement._close()


def _addresses(interfaces: list[Interface]) -> list[bytes]:
    """Return all addresses of some interfaces, packed; those of the loopback where no other is."""
    every = [address.ip for interface in interfaces for address in interface.addresses]
    others = [address for address in every if not address.is_loopback]
    return [address.packed for address in dict.fromkeys(others or every)]
