"""What a file's contents are called: a tree of BLAKE3 digests of three levels, fixed for ever.

A leaf is 64 KiB, a node is 16 leaves or 1 MiB, and a file is its nodes and its size::

    leaf = H("objxfer/1 leaf", up to 64 KiB of contents)
    node = H("objxfer/1 node", its leaves' digests, joined)
    file = H("objxfer/1 file", its nodes' digests, joined, then its size as u64, big-endian)

``H(context, data)`` is BLAKE3 in its ``derive_key`` mode, 32 bytes. The last leaf and the last
node may be shorter; an empty file has none of either. The size comes last, because that of a
stream, or of a file that shrinks while it is read, is known only at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Final

from blake3 import blake3

from objxfer.limits import KIB, MIB

Buffer = bytes | bytearray | memoryview
"""Contents: contiguous bytes."""

LEAF: Final = 64 * KIB
NODE: Final = 16 * LEAF
SIZE: Final = 32
"""Bytes of a digest."""

# Copying a prepared hasher is far cheaper than deriving the context's key again.
_LEAF_LEVEL: Final = blake3(derive_key_context="objxfer/1 leaf")
_NODE_LEVEL: Final = blake3(derive_key_context="objxfer/1 node")
_FILE_LEVEL: Final = blake3(derive_key_context="objxfer/1 file")


def leaf_digest(data: Buffer) -> bytes:
    """Return the 32 bytes that name one leaf: 1 to ``LEAF`` bytes of contents."""
    assert 0 < len(data) <= LEAF
    level = _LEAF_LEVEL.copy()
    level.update(data)
    return level.digest()


def node_digest(data: Buffer) -> bytes:
    """Return the 32 bytes that name one node: 1 to ``NODE`` bytes of contents."""
    assert 0 < len(data) <= NODE
    level = _NODE_LEVEL.copy()
    if len(data) <= LEAF:
        level.update(leaf_digest(data))
    else:
        with memoryview(data) as view:
            for start in range(0, len(view), LEAF):
                level.update(leaf_digest(view[start : start + LEAF]))
    return level.digest()


class FileDigest:
    """The digest of one file, built node by node in order; holds no list of them."""

    __slots__ = ("_level",)

    def __init__(self) -> None:
        self._level = _FILE_LEVEL.copy()

    def add(self, node: bytes) -> None:
        """Take the digest of the next node."""
        self._level.update(node)

    def value(self, size: int) -> bytes:
        """Return the 32 bytes that name the file, all of whose nodes were added.

        It may be called once; the object is of no use after it.
        """
        self._level.update(size.to_bytes(8, "big"))
        return self._level.digest()


class NodeList:
    """The digests of one file's nodes, put in any order; in a temporary file once they are many.

    For a file that goes on where it stopped: its new nodes come before the old ones are compared.
    """

    def __init__(self) -> None:
        self._nodes = tempfile.SpooledTemporaryFile(max_size=MIB)  # noqa: SIM115 - held till close

    def put(self, index: int, node: bytes) -> None:
        """Take the digest of a node, in place of an earlier one.

        Raises:
            OSError: the temporary file cannot be written.
        """
        self._nodes.seek(index * SIZE)
        self._nodes.write(node)

    def value(self, size: int) -> bytes:
        """Return the 32 bytes that name the file of ``size`` bytes, all of whose nodes were put.

        Raises:
            OSError: the temporary file cannot be read.
        """
        digest = FileDigest()
        self._nodes.seek(0)
        left = -(-size // NODE) * SIZE
        while left and (part := self._nodes.read(min(left, MIB))):
            digest.add(part)
            left -= len(part)
        assert not left, "a node is missing"
        return digest.value(size)

    def close(self) -> None:
        """Release the temporary file. Calling it again does nothing."""
        self._nodes.close()


def node_digests(contents: Buffer) -> Iterator[bytes]:
    """Return the digests of the nodes of a file whose whole contents are in memory."""
    with memoryview(contents) as view:
        for start in range(0, len(view), NODE):
            yield node_digest(view[start : start + NODE])


def file_digest(contents: Buffer) -> bytes:
    """Return the 32 bytes that name a file whose whole contents are in memory."""
    small = 0 < len(contents) <= NODE
    nodes = node_digest(contents) if small else b"".join(node_digests(contents))
    level = _FILE_LEVEL.copy()
    level.update(nodes + len(contents).to_bytes(8, "big"))
    return level.digest()


def written(digest: bytes) -> str:
    """Return a file's digest as people and JSON see it: ``ox1:`` and 64 hex digits."""
    return "ox1:" + digest.hex()
