from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objxfer.errors import ExitCode, ObjxferError
from objxfer.transports.urls import Url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls://nas", Url("tls", "nas")),
        ("tcp://nas:7000", Url("tcp", "nas", 7000)),
        ("TLS://nas", Url("tls", "nas")),
        ("tls://nas/", Url("tls", "nas")),
        ("tls://192.168.1.20/laptop", Url("tls", "192.168.1.20", folder=b"laptop")),
        ("tls://nas:1/a/b c/d", Url("tls", "nas", 1, b"a/b c/d")),
        ("tls://[::1]:7000/x", Url("tls", "::1", 7000, b"x")),
        ("tcp://[fe80::1%eth0]", Url("tcp", "fe80::1%eth0")),
        ("tls://my_nas.local", Url("tls", "my_nas.local")),
        ("tls://nas/50%20?x#y@z", Url("tls", "nas", folder=b"50%20?x#y@z")),
        ("tls://nas/\udcff", Url("tls", "nas", folder=b"\xff")),
        ("tls://nas/é\n", Url("tls", "nas", folder="é\n".encode())),
    ],
)
def test_a_target(text: str, expected: Url) -> None:
    assert Url.target(text) == expected
    assert Url.target(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls://", Url("tls", "")),
        ("tls://:0", Url("tls", "", 0)),
        ("tcp://127.0.0.1:0", Url("tcp", "127.0.0.1", 0)),
        ("tls://[::]:65535", Url("tls", "::", 65535)),
    ],
)
def test_where_to_listen(text: str, expected: Url) -> None:
    assert Url.listening(text) == expected
    assert Url.listening(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nas:6259", "no scheme"),
        ("nas", "no scheme"),
        ("", "no scheme"),
        ("http://nas", "scheme is unknown"),
        ("unix:///tmp/socket", "scheme is unknown"),
        ("tls://", "no host"),
        ("tls:///folder", "no host"),
        ("tls://nas:0", "port 0"),
        ("tls://nas:65536", "65535"),
        ("tls://nas:99999999", "no target"),
        ("tls://nas:", "no target"),
        ("tls://nas:ssh", "no target"),
        ("tls://nas:-1", "no target"),
        ("tls://nas:٦", "no target"),
        ("tls://ben@nas", "no target"),
        ("tls://nas?x", "no target"),
        ("tls://na s", "no target"),
        ("tls://nas\n", "no target"),
        ("tls://::1", "no target"),
        ("tls://[::1", "no target"),
        ("tls://[]", "IPv6"),
        ("tls://[nas]", "IPv6"),
        ("tls://[127.0.0.1]", "IPv6"),
        ("tls://nas/\ud800", "no text"),
    ],
)
def test_what_is_no_target(text: str, says: str) -> None:
    with pytest.raises(ObjxferError, match=says) as caught:
        Url.target(text)
    assert caught.value.exit_code == ExitCode.USAGE
    assert "\n" not in str(caught.value)


def test_the_hint_has_the_right_form() -> None:
    with pytest.raises(ObjxferError) as caught:
        Url.target("nas:6259")
    assert caught.value.hint == "write tls://nas:6259"


def test_listening_has_no_folder() -> None:
    with pytest.raises(ObjxferError, match="no folder") as caught:
        Url.listening("tls://nas/inbox")
    assert caught.value.exit_code == ExitCode.USAGE


def test_the_scheme_alone_decides_about_encryption() -> None:
    assert Url.target("tls://localhost").encrypted
    assert not Url.target("tcp://nas:443").encrypted


def test_the_address_leaves_the_folder_out() -> None:
    assert Url.target("tls://[::1]/a/b").address == "tls://[::1]:6259"


@given(st.binary())
def test_any_folder_survives(folder: bytes) -> None:
    url = Url("tls", "nas", 7, folder)
    assert Url.target(str(url)) == url


@given(st.text())
def test_any_text_is_a_target_or_an_error_of_ours(text: str) -> None:
    for prefix in ("", "tls://", "tls://nas:"):
        with contextlib.suppress(ObjxferError):
            url = Url.target(prefix + text)
            assert Url.target(str(url)) == url
