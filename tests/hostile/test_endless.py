"""A peer that never stops, or never answers: memory stays bounded, and the others are served."""

from __future__ import annotations

import itertools
import os
import resource
from pathlib import Path

import pytest

from objxfer.errors import ConnectionLost, LimitExceeded, PeerError, Timeout
from objxfer.files.entries import Entry, Kind
from objxfer.limits import KIB, Limits
from objxfer.protocol.chunks import UNKNOWN, Type
from objxfer.protocol.messages import Abort
from objxfer.protocol.trees import Entries, Fate, Offer, Pack, Packed
from support.connected import PATIENCE, begin
from support.inbox import descriptors
from support.wire import Wire, listening, packed_object


def test_files_announced_without_end_and_never_sent(inbox: Path) -> None:
    with listening(into=inbox) as (listener, _), Wire(listener.url).shake() as wire:
        server = listener.accept(PATIENCE)
        receiving = begin(server.recv, PATIENCE)
        wire.say(Type.OFFER, 1, Offer((b"t",), b"", None, UNKNOWN, UNKNOWN).pack())
        assert wire.hear()[0].type is Type.ACCEPT
        announced, heard, payload = 0, Type.WANTED, b""
        while heard is not Type.ABORT:
            assert announced < 100_000
            batch = [
                Entry(b"t/%d" % number, Kind.FILE, 1)
                for number in range(announced, announced + 1000)
            ]
            wire.say(Type.ENTRIES, 1, Entries(batch).pack())
            announced += len(batch)
            heard, payload = Type.CREDIT, b""
            while heard is Type.CREDIT:
                header, payload = wire.hear()
                heard = header.type
        assert "announced" in Abort.unpack(payload).text
        with pytest.raises(LimitExceeded):
            receiving.result(PATIENCE)
        wire.say(Type.OBJECT, 3, packed_object("raw", b"b", content=b"b"))
        assert server.recv(PATIENCE) == b""
        server.abandon()


def test_a_pack_of_more_files_than_can_be_held_open(inbox: Path) -> None:
    count = 4_000
    with listening(into=inbox) as (listener, _), Wire(listener.url).shake() as wire:
        server = listener.accept(PATIENCE)
        receiving = begin(server.recv, PATIENCE)
        wire.say(Type.OFFER, 1, Offer((b"t",), b"", None, count, 0).pack())
        assert wire.hear()[0].type is Type.ACCEPT
        batch = [Entry(b"t/%d" % number, Kind.FILE) for number in range(count)]
        wire.say(Type.ENTRIES, 1, Entries(batch).pack())
        assert wire.hear()[0].type is Type.WANTED
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 250, hard))
        try:
            wire.say(Type.PACK, 1, Pack([Packed(Fate.READ, 0, 0, 0o644)] * count).pack())
            wire.say(Type.DONE, 1)
            report = receiving.result(PATIENCE)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (report.exit_code, report.files) == (0, count)
        assert len(os.listdir(inbox / "t")) == count
        server.abandon()


@pytest.mark.parametrize("content", [b"b", b"b" + bytes(60_000)])
def test_objects_without_end_that_nobody_takes(content: bytes) -> None:
    limits = Limits(inbox=1024 * KIB)
    with listening(limits=limits) as (listener, _), Wire(listener.url).shake() as wire:
        server = listener.accept(PATIENCE)
        waiting = begin(server.send, "hello?", wait=True)  # which reads all the while
        opened = packed_object("raw", content, content=content)

        def speak() -> None:
            for item in itertools.count(1, 2):
                wire.say(Type.OBJECT, item, opened)

        speaking = begin(speak)
        with server._pump.lock:
            server._pump.wait(lambda: server._exchange.full, PATIENCE)
            before = server._exchange.session.bytes_in
            assert not server._pump.wait(lambda: False, 0.05)
            assert server._exchange.session.bytes_in == before
        assert before < limits.inbox + 512 * KIB
        assert not waiting.done()
        assert server.recv(PATIENCE) == content[1:]
        server.abandon()
        for future in (waiting, speaking):
            with pytest.raises((ConnectionLost, OSError)):
                future.result(PATIENCE)


def test_items_without_end() -> None:
    with listening() as (listener, _), Wire(listener.url).shake() as wire:
        server = listener.accept(PATIENCE)
        receiving = begin(lambda: list(server))
        opened = packed_object("raw", b"b", (70_000,))
        chunks = [wire.chunk(Type.OBJECT, 1 + 2 * number, opened) for number in range(1025)]
        wire.send(b"".join(chunks))
        while wire.hear()[0].type is not Type.FAILURE:
            pass
        with pytest.raises(PeerError, match="items at once"):
            receiving.result(PATIENCE)
        server.abandon()


def test_a_receipt_that_never_comes() -> None:
    with listening() as (listener, _), Wire(listener.url).shake():
        server = listener.accept(PATIENCE)
        with pytest.raises(Timeout) as raised:
            server.send(1, wait=True, silence=0.1)
        assert raised.value.exit_code == 12
        server.abandon()


def test_credit_that_never_comes() -> None:
    with listening() as (listener, _), Wire(listener.url).shake() as wire:
        server = listener.accept(PATIENCE)
        reading = begin(wire.rest)
        with pytest.raises(Timeout):
            server.send(bytes(9 << 20), serializer="raw", silence=0.2)
        server.abandon()
        reading.result(PATIENCE)
