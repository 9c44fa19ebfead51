"""How a connection ends, and what both sides know then."""

from __future__ import annotations

import errno
import os
import select
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from objxfer.blocking import pump
from objxfer.errors import ConnectionClosed, ConnectionLost, IntegrityError, Timeout
from objxfer.files.digest import node_digest
from objxfer.files.entries import Entry, Kind
from objxfer.limits import Limits
from objxfer.protocol.chunks import Type
from objxfer.protocol.trees import Entries, Fate, Offer, Pack, Packed
from objxfer.transfer.exchange import HIGH_WATER
from support.connected import PATIENCE, Pair, begin, connected
from support.inbox import descriptors
from support.wire import Wire, listening

LARGE = 3 * 1024 * 1024 + 5


def close_both(pair: Pair) -> None:
    for closing in [begin(end.close) for end in pair]:
        closing.result(PATIENCE)


def test_closed_by_both_at_once(ends: Pair) -> None:
    close_both(ends)
    for end in ends:
        assert end.closed
        end.close()
        end.abandon()


def test_nothing_is_left_open(scheme: str) -> None:
    with connected(scheme) as pair:
        close_both(pair)
    before = descriptors()
    with connected(scheme) as pair:
        close_both(pair)
    with connected(scheme) as pair:
        pair[0].abandon()
        with pytest.raises(ConnectionLost):
            pair[1].recv(PATIENCE)
        pair[1].close()
    assert descriptors() == before


def test_what_was_sent_before_the_close_arrives(ends: Pair) -> None:
    client, server = ends
    client.send(1)
    client.send(b"x" * 70_000)
    closing = begin(client.close)
    assert server.recv(PATIENCE) == 1
    assert server.recv(PATIENCE) == b"x" * 70_000
    with pytest.raises(ConnectionClosed) as raised:
        server.recv(PATIENCE)
    assert not isinstance(raised.value, ConnectionLost)
    server.close()
    closing.result(PATIENCE)


def test_close_with_unread_input(ends: Pair) -> None:
    client, server = ends
    for _ in range(20):
        server.send(b"never read" * 5000)
    client.send("the last word")
    closing = begin(client.close)
    assert list(server) == ["the last word"]
    server.close()
    closing.result(PATIENCE)


def test_close_while_the_peer_sends_more_than_is_read(
    ends: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "DRAIN", 0.2)
    client, server = ends
    sending = begin(server.send, b"x" * (40 * LARGE))
    assert client.poll(PATIENCE)
    client.send("the last word")
    client.close()
    with pytest.raises(ConnectionLost):
        sending.result(PATIENCE)


def test_the_peer_answers_after_the_end(ends: Pair) -> None:
    """An end is of one direction: the other goes on until its own."""
    client, server = ends
    closing = begin(client.close)
    with pytest.raises(ConnectionClosed):
        server.recv(PATIENCE)
    server.close()
    closing.result(PATIENCE)


def test_close_does_not_wait_for_ever(ends: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "DRAIN", 0.05)
    client, _ = ends
    client.send(1)
    client.close()
    assert client.closed


def test_close_of_what_the_peer_does_not_take(ends: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump, "DRAIN", 0.05)
    client, _ = ends
    with socket.socket(fileno=os.dup(client.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    filling = begin(client.send, b"x" * (40 * LARGE))
    while client._exchange.session.queued < HIGH_WATER:
        assert not filling.done()
    with pytest.raises(Timeout, match="did not take all"):
        client.close()
    assert client.closed
    with pytest.raises(ConnectionLost):
        filling.result(PATIENCE)


def test_close_of_what_is_cut(ends: Pair) -> None:
    client, server = ends
    server.abandon()
    with pytest.raises(ConnectionLost):
        client.recv(PATIENCE)
    client.close()
    assert client.closed


def test_an_error_in_the_block_is_a_lost_connection_there(ends: Pair) -> None:
    client, server = ends
    client.send(1)
    assert server.recv(PATIENCE) == 1
    receiving = begin(server.recv)

    def leave() -> None:
        with client:
            raise LookupError

    leaving = begin(leave)
    with pytest.raises(ConnectionLost, match="gave the connection up"):
        receiving.result(PATIENCE)
    server.close()
    with pytest.raises(LookupError):
        leaving.result(PATIENCE)
    assert client.closed


def test_an_interrupt_in_the_block_is_a_lost_connection_there(ends: Pair) -> None:
    client, server = ends
    with pytest.raises(KeyboardInterrupt), client:
        raise KeyboardInterrupt
    assert client.closed
    with pytest.raises(ConnectionLost):
        server.recv(PATIENCE)


def test_the_end_of_the_block_is_the_end(ends: Pair) -> None:
    client, server = ends
    hearing = begin(lambda: list(server))

    def speak() -> None:
        with client:
            client.send(1)

    speaking = begin(speak)
    assert hearing.result(PATIENCE) == [1]
    server.close()
    speaking.result(PATIENCE)


@pytest.mark.parametrize("abandoned", [False, True])
def test_use_after_close(ends: Pair, abandoned: bool) -> None:
    client, _ = ends
    if abandoned:
        client.abandon()
    else:
        close_both(ends)
    for use in (
        lambda: client.send(1),
        lambda: client.send(b"x" * LARGE),
        lambda: client.send(1, wait=True),
        lambda: client.recv(),
        lambda: client.recv(0),
        lambda: client.push("/etc/hostname"),
        lambda: client.send_bytes(b""),
        lambda: next(iter(client)) if abandoned else client.recv_bytes(),
    ):
        with pytest.raises(ConnectionClosed, match=r"closed|ended"):
            use()
    assert client.poll()
    with pytest.raises(OSError, match="closed"):
        client.fileno()


def test_cut_in_the_middle_of_an_object(ends: Pair) -> None:
    client, server = ends
    sending = begin(client.send, b"x" * (40 * LARGE))
    assert server.poll(PATIENCE)
    receiving = begin(server.recv)
    while not server._exchange.tasks:
        assert not receiving.done()
    client.abandon()
    for future in (receiving, sending):
        with pytest.raises(ConnectionLost, match="bytes of the object had gone") as caught:
            future.result(PATIENCE)
        assert caught.value.bytes_total > 40 * LARGE
        assert 0 <= caught.value.bytes_done < 40 * LARGE


def test_cut_in_the_middle_of_an_object_nobody_has_taken(ends: Pair) -> None:
    client, server = ends
    client.send("before")
    begin(client.send, b"x" * (40 * LARGE))
    with server._pump.lock:
        server._pump.wait(lambda: server._exchange.session.bytes_in > LARGE, PATIENCE)
    client.abandon()
    with server._pump.lock, pytest.raises(ConnectionLost):
        server._pump.wait(lambda: False, PATIENCE)
    assert server.recv(PATIENCE) == "before"
    with pytest.raises(ConnectionLost):
        server.recv(PATIENCE)
    with pytest.raises(ConnectionLost):
        server.recv(PATIENCE)


def test_whole_objects_before_a_cut_arrive(ends: Pair) -> None:
    client, server = ends
    begin(client.send, b"x" * LARGE, serializer="raw").result(PATIENCE)
    client.send(2)
    client.abandon()
    assert server.recv(PATIENCE) == b"x" * LARGE
    assert server.recv(PATIENCE) == 2
    with pytest.raises(ConnectionLost):
        server.recv(PATIENCE)


@pytest.mark.parametrize("way", ["failure", "garbage", "nothing"])
def test_a_receipt_before_the_end_counts(way: str) -> None:
    with listening() as (listener, _), Wire(listener.url).shake() as wire:
        server = listener.accept(PATIENCE)
        sending = begin(server.send, 1, wait=True)
        opening, _ = wire.hear()
        said = wire.chunk(Type.TAKEN, opening.item)
        if way != "nothing":
            said += wire.chunk(Type.FAILURE, 0) if way == "failure" else bytes(100)
        with server._pump.lock:  # so that it comes at once
            wire.send(said)
            wire.sock.shutdown(socket.SHUT_WR)
        sending.result(PATIENCE)
        with pytest.raises((ConnectionLost, IntegrityError)):
            server.recv(PATIENCE)
        server.abandon()


def test_silence_of_the_peer_ends_a_send(ends: Pair) -> None:
    client, _ = ends
    with pytest.raises(Timeout, match="nothing was heard") as raised:
        client.send(b"x" * (40 * LARGE), silence=0.2)
    assert raised.value.exit_code == 12
    with pytest.raises(Timeout):
        client.send(1)


def test_silence_of_the_peer_ends_the_wait_for_a_receipt(ends: Pair) -> None:
    client, _ = ends
    with pytest.raises(Timeout):
        client.send(1, wait=True, silence=0.2)


def test_a_peer_that_only_reads_lives(ends: Pair) -> None:
    """It answers pings while it waits for something else."""
    client, server = ends
    waiting = begin(server.poll, PATIENCE)
    sending = begin(client.send, 1, wait=True, silence=0.3)
    waiting.result(PATIENCE)
    answering = begin(server._pump.lock.__enter__)  # the program there does something else
    answering.result(PATIENCE)
    server._pump.lock.release()
    assert server.recv() == 1
    sending.result(PATIENCE)


def test_close_with_a_full_inbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's end is behind more than is taken: it is read all the same, and dropped."""
    monkeypatch.setattr(pump, "DRAIN", PATIENCE)
    with connected(here={"limits": Limits(inbox=1000)}) as (client, server):
        for _ in range(100):
            server.send(b"never read" * 500)
        assert client.poll(PATIENCE)
        closing = [begin(end.close) for end in (client, server)]
        for one in closing:
            one.result(PATIENCE / 2)
        assert client.recv(0) == b"never read" * 500
        with pytest.raises(ConnectionLost, match="more to come"):
            list(client)


def test_close_where_saying_so_fails(ends: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = ends

    def finish() -> None:
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))

    monkeypatch.setattr(client._pump.transport, "finish", finish)
    closing = begin(client.close)
    server.close()
    closing.result(PATIENCE)
    assert client.closed


def test_giving_up_that_is_interrupted_leaves_nothing_open(
    ends: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = ends

    def wait(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(client._pump.transport, "wait", wait)
    with pytest.raises(KeyboardInterrupt), client:
        raise LookupError
    assert client.closed
    with pytest.raises(OSError, match="closed"):
        client.fileno()


def test_an_interrupt_of_one_thread_ends_the_wait_of_another(
    ends: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = ends
    receiving = begin(client.recv)
    while not client._pump._leading:
        assert not receiving.done()

    interrupted = threading.current_thread()
    takes = client._pump.transport.send

    def send(buffers: Sequence[bytes]) -> int | None:
        if threading.current_thread() is interrupted:
            raise KeyboardInterrupt
        return takes(buffers)

    with monkeypatch.context() as struck:
        struck.setattr(client._pump.transport, "send", send)
        with pytest.raises(KeyboardInterrupt):
            client.send(1)
    with pytest.raises(ConnectionLost, match="interrupted"):
        receiving.result(PATIENCE)


def test_it_breaks_where_the_last_answer_leads_to_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is found only when the break is; nobody waits for the work that it leads to."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "file").write_bytes(b"contents")
    with connected(there={"into": tmp_path / "inbox"}) as (client, server):
        receiving = begin(server.recv)
        takes = client._pump.transport.send
        broken = False

        def send(buffers: Sequence[bytes]) -> int | None:
            nonlocal broken
            if not broken:
                broken = True
                takes(buffers)
                assert select.select([client], [], [], PATIENCE)[0]
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

        monkeypatch.setattr(client._pump.transport, "send", send)
        pushing = begin(client.push, tmp_path / "file")
        with pytest.raises(ConnectionLost, match="broke"):
            pushing.result(PATIENCE)
        client.abandon()
        with pytest.raises(ConnectionLost):
            receiving.result(PATIENCE)


def test_a_receipt_does_not_wait_for_the_next_contents(tmp_path: Path) -> None:
    with listening(into=tmp_path) as (listener, _), Wire(listener.url).shake() as wire:
        server = listener.accept(PATIENCE)
        receiving = begin(server.recv)
        wire.say(Type.OFFER, 1, Offer((b"a", b"b"), b"", None, 2, 6).pack())
        assert wire.hear()[0].type is Type.ACCEPT
        batch = tuple(Entry(name, Kind.FILE, 3) for name in (b"a", b"b"))
        wire.say(Type.ENTRIES, 1, Entries(batch).pack())
        assert wire.hear()[0].type is Type.WANTED
        pack = Pack((Packed(Fate.READ, 3, 0, 0o644),)).pack()
        first = wire.chunk(Type.PACK, 1, pack)
        first += wire.chunk(Type.DATA, 1, b"abc", digest=node_digest(b"abc"))
        wire.send(first + wire.chunk(Type.PACK, 1, pack))
        assert wire.hear()[0].type is Type.RECEIPTS
        assert (tmp_path / "a").read_bytes() == b"abc"
        wire.say(Type.DATA, 1, b"def", digest=node_digest(b"def"))
        assert wire.hear()[0].type is Type.RECEIPTS
        wire.say(Type.DONE, 1)
        assert receiving.result(PATIENCE).files == 2
        server.abandon()


def test_what_came_whole_is_finished_behind_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer is through, and gone: what is left to do is ours alone."""
    ended = threading.Event()
    flush = os.fsync

    def fsync(fd: int) -> None:
        assert ended.wait(PATIENCE)
        flush(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with listening(into=tmp_path) as (listener, _), Wire(listener.url).shake() as wire:
        server = listener.accept(PATIENCE)
        receiving = begin(server.recv)
        offer = Offer((b"a",), b"", None, 1, 3)
        wire.say(Type.OFFER, 1, offer.pack())
        assert wire.hear()[0].type is Type.ACCEPT
        wire.say(Type.ENTRIES, 1, Entries((Entry(b"a", Kind.FILE, 3),)).pack())
        assert wire.hear()[0].type is Type.WANTED
        wire.say(Type.PACK, 1, Pack((Packed(Fate.READ, 3, 0, 0o644),)).pack())
        wire.say(Type.DATA, 1, b"abc", digest=node_digest(b"abc"))
        wire.say(Type.DONE, 1)
        wire.say(Type.END, 0)
        wire.sock.shutdown(socket.SHUT_WR)
        while not server._pump._link.at_end:
            assert not receiving.done()
        ended.set()
        assert receiving.result(PATIENCE).exit_code == 0
        assert (tmp_path / "a").read_bytes() == b"abc"
        server.abandon()
