from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objxfer.errors import ExitCode, PeerError
from objxfer.files.entries import Action, Answer, Receipt, Verdict
from objxfer.protocol.answers import Accept, Compared, Receipts, Wanted
from objxfer.protocol.chunks import CONTROL_LIMIT, PAYLOAD_LIMIT, Type
from objxfer.protocol.messages import READERS, Abort, Data, Object, Objects, Spoken
from objxfer.protocol.trees import Entries, File, FileEnd, Nodes, Offer, Pack
from support import messages as said

SPOKEN = {kind: example for kind, example in said.EXAMPLES.items() if not isinstance(example, Data)}
OTHER_FIELDS: dict[str, tuple[type[Spoken], bytes]] = {
    **{f"object flags {flags:#x}": (Object, b"%c\x01\0\0\0\0\0\0r" % flags) for flags in (4, 0x80)},
    "object without a serialiser": (Object, bytes(8)),
    "object with a serialiser of 33 bytes": (Object, b"\0\x21" + bytes(6) + b"r" * 33),
    "object with a serialiser not ascii": (Object, b"\0\x01" + bytes(6) + b"\xff"),
    "object with more content than announced": (Object, b"\2\1\0\0\0\1\0\0rab"),
    "object with less content than announced": (Object, b"\2\1\0\0\0\2\0\0ra"),
    "object with content where none is announced": (Object, b"\0\1\0\0\0\1\0\0ra"),
    "object with fewer sizes than it has buffers": (Object, b"\0\1\0\0\0\1\0\2r" + bytes(15)),
    "object with an empty buffer": (Object, b"\0\1\0\0\0\1\0\1r" + bytes(8)),
    "no objects": (Objects, b""),
    "objects of which one is not whole": (Objects, b"\0\x09\0\1\0\0\0\0\0\0r"),
    "objects of which one wants a receipt": (Objects, b"\0\x09\3\1\0\0\0\0\0\0r"),
    "offer of nothing": (Offer, bytes(19) + b"\0\0"),
    "offer with an empty top": (Offer, bytes(18) + b"\1\0\0\0\0"),
    "offer with a top of 256 bytes": (Offer, bytes(18) + b"\1\0\0\1\0" + b"x" * 256),
    "offer into a folder of 4097 bytes": (
        Offer,
        bytes(18) + b"\1\x10\1" + b"x" * 4097 + b"\0\1x",
    ),
    "offer under an unknown rule": (Offer, b"\5" + bytes(17) + b"\1\0\0\0\1x"),
    "accept of no entries": (Accept, bytes(4)),
    "no entries": (Entries, b""),
    "entry of kind 0": (Entries, struct.pack(">BHQqHH", 0, 0, 0, 0, 1, 0) + b"x"),
    "entry of kind 4": (Entries, struct.pack(">BHQqHH", 4, 0, 0, 0, 1, 0) + b"x"),
    "entry with mode 0o1000": (Entries, struct.pack(">BHQqHH", 1, 0o1000, 0, 0, 1, 0) + b"x"),
    "file with a target": (Entries, struct.pack(">BHQqHH", 1, 0, 0, 0, 1, 1) + b"xt"),
    "folder with a target": (Entries, struct.pack(">BHQqHH", 3, 0, 0, 0, 1, 1) + b"xt"),
    "link without a target": (Entries, struct.pack(">BHQqHH", 2, 0, 0, 0, 1, 0) + b"x"),
    "link with a size": (Entries, struct.pack(">BHQqHH", 2, 0, 1, 0, 1, 1) + b"xt"),
    "folder with a size": (Entries, struct.pack(">BHQqHH", 3, 0, 1, 0, 1, 0) + b"x"),
    "path of 4097 bytes": (Entries, struct.pack(">BHQqHH", 1, 0, 0, 0, 4097, 0) + b"x" * 4097),
    "target of 4097 bytes": (Entries, struct.pack(">BHQqHH", 2, 0, 0, 0, 0, 4097) + b"x" * 4097),
    "no packed files": (Pack, b""),
    "packed file of fate 0": (Pack, struct.pack(">BIqH", 0, 0, 0, 0)),
    "packed file of fate 3": (Pack, struct.pack(">BIqH", 3, 0, 0, 0)),
    "packed file with mode 0o4755": (Pack, struct.pack(">BIqH", 1, 1, 0, 0o4755)),
    "lost file with contents": (Pack, struct.pack(">BIqH", 2, 1, 0, 0)),
    "file with mode 0o2000": (File, struct.pack(">QqH", 1, 0, 0o2000)),
    "file end of fate 0": (FileEnd, struct.pack(">BQ", 0, 0)),
    "file end of fate 3": (FileEnd, struct.pack(">BQ", 3, 0)),
    "lost file's end with a size": (FileEnd, struct.pack(">BQ", 2, 1)),
    "no verdicts": (Wanted, b""),
    "verdict 0": (Wanted, b"\0"),
    "verdict 6": (Wanted, b"\1\6"),
    "partial of nothing": (Wanted, b"\5\0\0\0\0"),
    "no nodes": (Nodes, b""),
    "no answers about nodes": (Compared, b""),
    "answer 2 about a node": (Compared, b"\1\2"),
    "verdict with a reason not utf-8": (Wanted, b"\3\0\0\1\xff"),
    "verdict with a reason of 1025 bytes": (Wanted, b"\4\0\4\1" + b"x" * 1025),
    "verdict with a path of 4097 bytes": (Wanted, b"\2\x10\1" + b"x" * 4097),
    "no receipts": (Receipts, b""),
    "receipt of action 0": (Receipts, bytes(47)),
    "receipt of action 6": (Receipts, b"\6" + bytes(46)),
    "receipt twice durable": (Receipts, b"\1\2" + bytes(45)),
    "receipt with a reason not utf-8": (Receipts, b"\1" + bytes(45) + b"\1\xff"),
    "receipt with a reason of 1025 bytes": (Receipts, b"\1" + bytes(44) + b"\4\1" + b"x" * 1025),
    "receipt with a path of 4097 bytes": (
        Receipts,
        b"\1" + bytes(42) + b"\x10\1\0\0" + b"x" * 4097,
    ),
    "abort with a text not utf-8": (Abort, b"\1\0\0\0\1\xff"),
    "abort with a text of 1025 bytes": (Abort, b"\1\0\0\4\1" + b"x" * 1025),
    "abort with a path of 4097 bytes": (Abort, b"\1\x10\1" + b"x" * 4097 + b"\0\0"),
}


def test_there_is_an_example_and_a_reader_of_each_type() -> None:
    assert set(said.EXAMPLES) == set(Type)
    assert set(READERS) == set(Type) - {Type.DATA}


@given(said.messages)
def test_what_is_said_is_heard(message: Spoken) -> None:
    heard = READERS[message.type].unpack(message.pack())
    assert heard == message
    assert heard.pack() == message.pack()


@pytest.mark.parametrize("kind", SPOKEN)
def test_a_message_cut_off_or_extended_is_another_or_none(kind: Type) -> None:
    payload = SPOKEN[kind].pack()
    others = [payload[:size] for size in range(len(payload))]
    others += [payload + bytes((byte,)) for byte in range(256)]
    for other in others:
        try:
            heard = READERS[kind].unpack(other)
        except PeerError:
            continue
        assert heard != SPOKEN[kind]
        assert heard.pack() == other


@given(st.sampled_from(sorted(SPOKEN)), st.binary(max_size=120))
def test_garbage_is_a_message_or_an_error_of_the_peer(kind: Type, garbage: bytes) -> None:
    try:
        heard = READERS[kind].unpack(garbage)
    except PeerError:
        return
    READERS[kind].unpack(heard.pack())


@given(said.messages, st.data())
def test_a_damaged_message_is_another_or_none(message: Spoken, data: st.DataObject) -> None:
    payload = bytearray(message.pack())
    if not payload:
        return
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        heard = READERS[message.type].unpack(bytes(payload))
    except PeerError:
        return
    READERS[message.type].unpack(heard.pack())


@pytest.mark.parametrize("name", OTHER_FIELDS)
def test_fields_are_checked(name: str) -> None:
    message, payload = OTHER_FIELDS[name]
    with pytest.raises(PeerError):
        message.unpack(payload)


def test_unknown_codes_are_plain_failures() -> None:
    assert Abort.unpack(b"\xfe\0\0\0\0").code is ExitCode.FAILED
    assert Wanted.unpack(b"\4\xfe\0\0").verdicts[0].code is ExitCode.FAILED
    assert Receipts.unpack(b"\5\0\xfe" + bytes(44)).receipts[0].code is ExitCode.FAILED


def test_an_abort_says_as_much_as_there_is_room_for() -> None:
    heard = Abort.unpack(Abort(ExitCode.FAILED, b"p" * 5000, "é" * 5000).pack())
    assert heard == Abort(ExitCode.FAILED, b"p" * 4096, "é" * 512)


@given(st.lists(said.verdicts, max_size=2000), st.integers(1, 60))
def test_verdicts_are_split_into_messages_that_fit(some: list[Verdict], times: int) -> None:
    many = some * times
    parts = Wanted.split(many)
    assert [one for part in parts for one in part.verdicts] == many
    assert all(len(part.pack()) <= PAYLOAD_LIMIT[Type.WANTED] for part in parts)


@given(st.lists(said.receipts, max_size=100), st.integers(1, 60))
def test_receipts_are_split_into_messages_that_fit(some: list[Receipt], times: int) -> None:
    many = some * times
    parts = Receipts.split(many)
    assert [one for part in parts for one in part.receipts] == many
    assert all(len(part.pack()) <= PAYLOAD_LIMIT[Type.RECEIPTS] for part in parts)


def test_the_longest_verdicts_and_receipts_fit() -> None:
    verdict = Verdict(Answer.UNCHANGED, b"p" * 4096)
    receipt = Receipt(Action.FAILED, 1, b"", False, b"p" * 4096, ExitCode.FAILED, "é" * 5000)
    parts: list[Spoken] = [*Wanted.split([verdict] * 100), *Receipts.split([receipt] * 100)]
    for part in parts:
        assert len(part.pack()) <= CONTROL_LIMIT


def test_an_object_is_as_large_as_its_parts() -> None:
    assert said.LARGE.size == 7
    assert not said.LARGE.whole
    assert Object("raw", 3, (), receipt_wanted=True, content=b"abc").size == 3


def test_a_pack_is_as_large_as_its_files() -> None:
    pack = said.EXAMPLES[Type.PACK]
    assert isinstance(pack, Pack)
    assert pack.size == 5
