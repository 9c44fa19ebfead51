"""Being found: who listens for peers is announced under its peer id for as long as it does."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from objxfer.errors import NameTaken, ObjxferError
from objxfer.interfaces import interfaces as all_interfaces
from objxfer.transports.addresses import resolve
from objxfer.transports.urls import Url


@contextmanager
def findable(
    hosts: Sequence[str], url: str, peer_id: bytes, on_unannounced: Callable[[str], None]
) -> Iterator[None]:
    """Be found by peers until the ``with`` block ends.

    What that needs is imported, and done, in a thread of its own, which is gone with the block.
    Announced are the peer id, the port and the addresses of the interfaces that are listened on.

    Args:
        hosts: those of the listener.
        url: that of the listener, with its port.
        peer_id: that of this machine.
        on_unannounced: told, in that thread, why peers do not find this side, or not any more.
    """
    over = threading.Event()

    def failed(error: Exception) -> None:
        if isinstance(error, NameTaken):
            on_unannounced(
                "another objxfer of this machine is found already, or somebody pretends to be it"
            )
        else:
            on_unannounced(str(error))

    def be_announced() -> None:
        from objxfer.discovery.announcing import announce

        port = Url.target(url).port
        try:
            names = listened_on(*hosts)
            with announce(peer_id.hex(), port, interfaces=names, on_failed=failed):
                over.wait()
        except (ObjxferError, OSError) as error:
            failed(error)

    thread = threading.Thread(target=be_announced, name="objxfer-presence", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def listened_on(*hosts: str) -> list[str] | None:
    """Return the interfaces that who listens on hosts is reached through; None for all of them.

    Raises:
        OSError: there is no such host.
    """
    if "" in hosts:
        return None
    addresses = {address[0].partition("%")[0] for host in hosts for _, address in resolve(host, 0)}
    if any(ipaddress.ip_address(address).is_unspecified for address in addresses):
        return None
    return [
        interface.name
        for interface in all_interfaces()
        if addresses & {str(address.ip) for address in interface.addresses}
    ]
