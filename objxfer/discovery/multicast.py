"""mDNS on the interfaces of this machine: zeroconf on an event loop, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final

from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncZeroconf

from objxfer.errors import CannotConnect, ObjxferError
from objxfer.interfaces import Interface
from objxfer.interfaces import interfaces as all_interfaces

HINT: Final = "without it, the address is named directly, as in tls://HOST[:PORT]"

FOLLOW: Final = 2.0
"""Seconds between two looks at whether the network came, went or changed."""

# RFC 6762, section 3.
_PORT: Final = 5353
_IPV4: Final = socket.AF_INET, "224.0.0.251", socket.IPPROTO_IP, socket.IP_MULTICAST_IF
_IPV6: Final = socket.AF_INET6, "ff02::fb", socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF
# A DNS message (RFC 1035) that asks nothing and says nothing.
_NOTHING: Final = bytes(12)
_REASONS: Final = {
    errno.EADDRINUSE: "another program holds port 5353 and does not share it",
    errno.EACCES: "multicast is not permitted here",
    errno.EPERM: "multicast is not permitted here",
}

log = logging.getLogger("objxfer")


class Multicast:
    """Takes part in mDNS from the beginning until ``close``, and does one piece of work there.

    Attributes:
        interfaces: those it takes part on, as they are now.
    """

    def __init__(
        self,
        what: str,
        names: Sequence[str] | None,
        work: Callable[[Multicast], Awaitable[None]],
        failed: Callable[[Exception], None],
    ) -> None:
        """Open the sockets and begin the work in another thread.

        Args:
            what: the work in words, for errors: "cannot …".
            names: the interfaces to take part on; None for all but the loopback, or for that one
                where there is no other.
            work: is cancelled when it is closed.
            failed: told, in that thread, with what the work failed.

        Raises:
            CannotConnect: it is not possible; no thread and no socket is left.
        """
        self.interfaces: list[Interface] = []
        self._what = what
        self._names = names
        self._able: set[tuple[int, str]] = set()
        self._work = work
        self._failed = failed
        self._zeroconf: AsyncZeroconf | None = None
        self._started: Future[None] = Future()
        self._stopped = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="objxfer-discovery", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._loop.close()
            raise
        try:
            self._started.result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Say goodbye for what is announced; return when the thread has ended."""
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    # --- the thread's own ---

    @property
    def zeroconf(self) -> AsyncZeroconf:
        """What the work is done with."""
        assert self._zeroconf is not None
        return self._zeroconf

    @property
    def loopback(self) -> bool:
        """Whether it reaches nobody but this machine."""
        return all(interface.loopback for interface in self.interfaces)

    async def follow(self) -> bool:
        """Take part where the machine is now; whether anything has changed."""
        try:
            chosen = _choose(self._names)
        except (OSError, CannotConnect):
            return False  # it may come back
        engine = self.zeroconf.zeroconf.engine
        before = self.interfaces, len(engine.senders)
        try:
            await self.zeroconf.async_update_interfaces(*self._senders(chosen))
        except (OSError, RuntimeError) as error:
            log.debug("the network is changing: %s", error)
        self.interfaces = chosen
        return before != (chosen, len(engine.senders))

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except Exception as error:  # noqa: BLE001  # whoever began it is told
            told = self._told(error)
            if not self._started.done():
                self._started.set_exception(told)
            else:
                self._failed(told)

    async def _main(self) -> None:
        asyncio.get_running_loop().set_exception_handler(_log)
        self.interfaces = _choose(self._names)
        addresses, version = self._senders(self.interfaces)
        self._zeroconf = AsyncZeroconf(interfaces=addresses, ip_version=version)
        try:
            await self._zeroconf.zeroconf.async_wait_for_start()
            if not self._zeroconf.zeroconf.engine.senders:
                raise CannotConnect("no network interface takes part in multicast")
            self._started.set_result(None)
            work = asyncio.ensure_future(self._work(self))
            stopped = asyncio.ensure_future(self._stopped.wait())
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            work.cancel()  # which one that has ended does not notice
            with contextlib.suppress(asyncio.CancelledError):
                await work
        finally:
            await self._zeroconf.async_close()

    def _senders(self, chosen: list[Interface]) -> tuple[list[str], IPVersion]:
        """Return the addresses to send from: of each interface one a family, where that works.

        It is tried once, by sending nothing to everybody: zeroconf keeps it for itself where
        it does not. A new IPv6 address may not do for a second or two (RFC 4862, section 5.4).

        Raises:
            OSError: there is no interface through which anything can be sent.
        """
        failure: OSError | None = None
        able = set()
        for interface in chosen:
            for address in _first(interface):
                if (interface.index, address) not in self._able:
                    try:
                        _send_nothing(interface, address)
                    except OSError as error:
                        failure = error
                        continue
                able.add((interface.index, address))
        self._able = able
        if not able:
            assert failure is not None
            raise failure
        addresses = [address for _, address in sorted(able)]
        versions = {":" in address for address in addresses}
        if len(versions) == 2:
            return addresses, IPVersion.All
        return addresses, IPVersion.V6Only if True in versions else IPVersion.V4Only

    def _told(self, error: Exception) -> Exception:
        if isinstance(error, CannotConnect):
            reason = str(error)
        elif isinstance(error, ObjxferError):
            return error
        elif isinstance(error, OSError):
            reason = _REASONS.get(error.errno or 0, "") or (error.strerror or str(error)).lower()
        elif isinstance(error, ZeroconfError | RuntimeError):
            reason = str(error) or type(error).__name__
        else:
            return error
        told = CannotConnect(f"cannot {self._what}: {reason}", hint=HINT)
        told.__cause__ = error
        return told


def _log(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what went wrong besides the work: a packet that zeroconf stumbles over, most likely."""
    # Anybody on the network can send such a packet, as often as they like.
    log.info("discovery: %s", context["message"], exc_info=context.get("exception"))


def _choose(names: Sequence[str] | None) -> list[Interface]:
    present = all_interfaces()
    if names is None:
        chosen = [each for each in present if not each.loopback] or present
    else:
        chosen = [each for each in present if each.name in names]
        for name in names:
            if name not in {each.name for each in chosen}:
                raise CannotConnect(f"there is no network interface {name!r} with an address")
    if not chosen:
        raise CannotConnect("no network interface has an address")
    return chosen


def _first(interface: Interface) -> list[str]:
    """Return an address of each family, of IPv6 a link-local one if there is any."""
    ordered = sorted(interface.addresses, key=lambda one: not one.is_link_local)
    ipv4 = [str(one.ip) for one in interface.addresses if one.version == 4]
    ipv6 = [str(one.ip) for one in ordered if one.version == 6]
    return ipv4[:1] + ipv6[:1]


def _send_nothing(interface: Interface, address: str) -> None:
    family, group, level, option, value = (
        (*_IPV6, interface.index) if ":" in address else (*_IPV4, socket.inet_aton(address))
    )
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(level, option, value)
        sock.sendto(_NOTHING, (group, _PORT))
