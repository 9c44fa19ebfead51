"""What names and texts look like on the wire."""

from __future__ import annotations

from typing import Final

from objxfer.errors import ExitCode, ObjxferError

SERVICE: Final = "_objxfer._tcp.local."
"""The service type (RFC 6763, section 7) in the domain of mDNS."""
PEER_ID: Final = "id"
"""The key in the TXT record; its value is the peer id in hexadecimal digits."""
PEER_ID_SIZE: Final = 16

_LABEL: Final = 63


def full_name(instance: str) -> str:
    """Return the name of an instance as DNS knows it.

    Raises:
        ObjxferError: it cannot be one (exit code ``USAGE``).
    """
    if not is_instance(instance):
        raise ObjxferError(
            f"{instance!r} cannot be announced on the network",
            hint=f"such a name is printable, without dots, and takes 1 to {_LABEL} bytes",
            exit_code=ExitCode.USAGE,
        )
    return f"{instance}.{SERVICE}"


def instance_of(name: str) -> str | None:
    """Return the instance of a name that came from the network; None where it is not one of ours.

    Such a name can hold anything. One that could act on a terminal is not one of ours.
    """
    instance, dot, service = name.partition(".")
    if not dot or service.lower() != SERVICE or not is_instance(instance):
        return None
    return instance


def is_instance(text: str) -> bool:
    """Whether a text can be the name of an instance."""
    if not text or not text.isprintable() or "." in text:
        return False
    return len(text.encode("utf-8", "replace")) <= _LABEL


def peer_id_in(text: bytes) -> bytes | None:
    """Return the peer id that a TXT record holds; None where it holds none, or nonsense."""
    while text:
        size, text = text[0], text[1:]
        one, text = text[:size], text[size:]
        key, _, value = one.partition(b"=")
        if key.lower() == PEER_ID.encode():
            try:
                peer_id = bytes.fromhex(value.decode("ascii"))
            except ValueError:
                return None
            return peer_id if len(value) == 2 * PEER_ID_SIZE == 2 * len(peer_id) else None
    return None
