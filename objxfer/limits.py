"""What one side accepts at the most, checked before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass, fields

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds on what a peer may announce; the peer can only lower them.

    All sizes are in bytes. Zero and negative values are a ``ValueError``.
    """

    chunk: int = 4 * MIB
    """The payload of one chunk."""
    head: int = 16 * MIB
    """The head of an object: what its serialiser parses. It can grow 75-fold in memory."""
    object: int = 1 * GIB
    """Head and buffers of one object together."""
    buffers: int = 4096
    """Buffers of one object."""
    nesting: int = 256
    """Containers inside containers in one object."""
    entries: int = 4096
    """Entries of a tree announced in one batch."""
    name: int = 255
    """One component of a path."""
    path: int = 4096
    """A whole path, and the target of a link."""
    depth: int = 128
    """Components of a path."""
    inbox: int = 16 * MIB
    """Objects that have arrived and wait to be received; beyond it nothing more is read."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
                raise ValueError(f"Limits.{field.name} must be a positive number, not {value!r}")
        if self.chunk < 1 * MIB:
            raise ValueError("Limits.chunk cannot be under 1 MiB, the unit of a file's digest")
