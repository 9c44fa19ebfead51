"""One line each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import objxfer
from objxfer.errors import CannotConnect, ConnectionClosed, ConnectionLost, ExitCode, RefusedByPeer
from objxfer.security.keys import Key
from support.connected import KEY, PATIENCE, begin
from support.wire import listening


def test_send_an_object(scheme: str) -> None:
    with listening(scheme) as (listener, _):
        sending = begin(objxfer.send, {"step": 3}, to=listener.url, key=KEY)
        with listener.accept(PATIENCE) as server:
            assert not sending.done()
            assert server.recv(PATIENCE) == {"step": 3}
            with pytest.raises(ConnectionClosed):
                server.recv(PATIENCE)
        sending.result(PATIENCE)


def test_send_with_another_serialiser() -> None:
    with listening(accepts=["text"]) as (listener, _):
        sending = begin(objxfer.send, "text", to=listener.url, key=KEY, serializer="text")
        with listener.accept(PATIENCE) as server:
            assert list(server) == ["text"]
        sending.result(PATIENCE)
        sending = begin(objxfer.send, 1, to=listener.url, key=KEY)
        with pytest.raises(ConnectionLost), listener.accept(PATIENCE) as server:
            server.recv(PATIENCE)
        with pytest.raises(RefusedByPeer):
            sending.result(PATIENCE)


def test_a_key_file(tmp_path: Path) -> None:
    key = Key.generate()
    key.save(tmp_path / "key")
    with listening(key=tmp_path / "key") as (listener, _):
        sending = begin(objxfer.send, 1, to=listener.url, key=str(tmp_path / "key"))
        with listener.accept(PATIENCE) as server:
            assert list(server) == [1]
        sending.result(PATIENCE)


def test_push_paths_and_streams(scheme: str, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (tmp_path / "file").write_bytes(b"contents")
    with objxfer.serve(inbox, f"{scheme}://127.0.0.1:0", key=KEY) as server:
        seen: list[bytes] = []
        report = objxfer.push(
            [tmp_path / "file"], to=server.url, key=KEY, on_entry=lambda one: seen.append(one.path)
        )
        assert (report.exit_code, seen) == (ExitCode.OK, [b"file"])
        with open(tmp_path / "file", "rb") as stream:
            objxfer.push(stream, to=server.url, key=KEY, name="stream")
    assert {path.name: path.read_bytes() for path in inbox.iterdir()} == {
        "file": b"contents",
        "stream": b"contents",
    }


def test_links_are_followed_if_asked(tmp_path: Path) -> None:
    inbox, source = tmp_path / "inbox", tmp_path / "source"
    inbox.mkdir()
    source.mkdir()
    (tmp_path / "file").write_bytes(b"contents")
    (source / "link").symlink_to("../file")
    with objxfer.serve(inbox, "tcp://127.0.0.1:0", key=KEY) as server:
        report = objxfer.push(source, to=server.url, key=KEY)
        assert report.exit_code == ExitCode.INCOMPLETE
        report = objxfer.push(source, to=server.url, key=KEY, copy_links=True)
        assert report.exit_code == ExitCode.OK
    assert not os.path.islink(inbox / "source" / "link")
    assert (inbox / "source" / "link").read_bytes() == b"contents"


def test_nobody_there() -> None:
    with listening() as (listener, _):
        pass
    with pytest.raises(CannotConnect):
        objxfer.send(1, to=listener.url, key=KEY)
    with pytest.raises(CannotConnect):
        objxfer.push("/etc/hostname", to=listener.url, key=KEY)
