from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from objxfer.files.digest import (
    LEAF,
    NODE,
    FileDigest,
    NodeList,
    file_digest,
    leaf_digest,
    node_digest,
    node_digests,
    written,
)


def by_the_book(contents: bytes) -> bytes:
    """The definition, in the ten lines that anybody can write down."""

    def h(level: str, data: bytes) -> bytes:
        return blake3(data, derive_key_context="objxfer/1 " + level).digest()

    nodes = []
    for start in range(0, len(contents), 1048576):
        node = contents[start : start + 1048576]
        leaves = [h("leaf", node[at : at + 65536]) for at in range(0, len(node), 65536)]
        nodes.append(h("node", b"".join(leaves)))
    return h("file", b"".join(nodes) + len(contents).to_bytes(8, "big"))


SIZES = (0, 1, LEAF - 1, LEAF, LEAF + 1, NODE - 1, NODE, NODE + 1, 2 * NODE + LEAF + 1)


@pytest.mark.parametrize("size", SIZES)
def test_a_files_digest_is_as_defined(size: int) -> None:
    contents = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert file_digest(contents) == by_the_book(contents)


@pytest.mark.parametrize(
    ("size", "digest"),
    [
        (0, "ox1:48446b7c3b298758cc801569566fbd835437fdeda5a3a15d099fd166471df137"),
        (1, "ox1:0a0d699011bd339119f1a4391734aab4b00c8666dcaab7324d73d569ec426e50"),
        (NODE + 1, "ox1:5fe1e456385e20ee8a0f9d1642358e5a76043f8b30a29fe530f0763d53da16fd"),
    ],
)
def test_digests_stay_what_they_are_for_ever(size: int, digest: str) -> None:
    assert written(file_digest(b"o" * size)) == digest


@given(st.binary(max_size=100))
def test_any_view_of_the_contents_will_do(contents: bytes) -> None:
    assert file_digest(contents) == file_digest(memoryview(bytearray(contents)))


def test_a_file_may_come_node_by_node() -> None:
    contents = b"x" * (3 * NODE + 5)
    digest = FileDigest()
    for node in node_digests(contents):
        digest.add(node)
    assert digest.value(len(contents)) == file_digest(contents)


def test_levels_do_not_collide() -> None:
    assert len({leaf_digest(b"a"), node_digest(b"a"), file_digest(b"a")}) == 3


def test_a_shorter_file_with_the_same_nodes_is_another_file() -> None:
    assert FileDigest().value(0) != FileDigest().value(1)


class TestNodeList:
    def test_in_any_order(self) -> None:
        contents = bytes(5 * NODE) + b"end"
        digests = list(enumerate(node_digests(contents)))
        nodes = NodeList()
        for index, digest in reversed(digests):
            nodes.put(index, digest)
        assert nodes.value(len(contents)) == file_digest(contents)
        nodes.close()
        nodes.close()

    def test_the_later_digest_of_a_node_counts(self) -> None:
        nodes = NodeList()
        nodes.put(0, bytes(32))
        nodes.put(0, node_digest(b"later"))
        assert nodes.value(5) == file_digest(b"later")
        nodes.close()

    def test_those_behind_the_end_do_not(self) -> None:
        nodes = NodeList()
        for index in (2, 0, 1):
            nodes.put(index, node_digest(b"x" * (index + 1)))
        assert nodes.value(1) == file_digest(b"x")
        nodes.close()

    def test_an_empty_file(self) -> None:
        nodes = NodeList()
        assert nodes.value(0) == file_digest(b"")
        nodes.close()

    def test_more_than_are_kept_in_memory(self) -> None:
        count = 40_000
        nodes, digest = NodeList(), FileDigest()
        for index in range(count):
            digest.add(index.to_bytes(32, "big"))
        for index in [*range(count // 2, count), *range(count // 2)]:
            nodes.put(index, index.to_bytes(32, "big"))
        assert nodes.value(count * NODE) == digest.value(count * NODE)
        nodes.close()
