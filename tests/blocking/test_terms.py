"""What connect and listen are told is checked before anything happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import objxfer
from objxfer.blocking.terms import SAFE, Terms
from objxfer.errors import KeyFileError, ObjxferError
from objxfer.files.entries import KEEP, IfExists
from objxfer.limits import Limits
from objxfer.protocol.hello import Hello, Mode, Role
from objxfer.security.keys import Keyring
from objxfer.serializers import base
from support.connected import KEY, OTHER_KEY


def check(**told: Any) -> Terms:
    terms: dict[str, Any] = {
        "role": Role.SERVER,
        "encrypted": False,
        "key": KEY,
        "peer_id": None,
        "serializer": "msgpack",
        "accepts": SAFE,
        "classes": None,
        "timeout": 10.0,
        "into": None,
        "if_exists": IfExists.RENAME,
        "keep_partial": KEEP,
        "limits": Limits(),
        "insecure": False,
    }
    return Terms.check("tcp://host", **(terms | told))


@pytest.fixture(params=[objxfer.connect, objxfer.listen], ids=["connect", "listen"])
def make(request: pytest.FixtureRequest) -> Callable[..., object]:
    made: Callable[..., object] = request.param
    return made


@pytest.mark.parametrize(
    ("told", "error", "said"),
    [
        ({"accepts": "msgpack"}, TypeError, "not one string"),
        ({"accepts": ["yaml"]}, ValueError, "no serialiser is named 'yaml'"),
        ({"serializer": "yaml"}, ValueError, "no serialiser is named 'yaml'"),
        ({"classes": "app:Job"}, ValueError, "a list of module:qualname"),
        ({"classes": ["app.Job"]}, ValueError, "module:qualname"),
        ({"timeout": 0}, ValueError, "timeout must be positive"),
        ({"timeout": -1.0}, ValueError, "timeout must be positive"),
        ({"if_exists": "overwrite"}, KeyError, "OVERWRITE"),
        ({"key": None}, ObjxferError, "no key for tcp://127"),
        ({"key": b"x" * 32}, TypeError, "a key is a Key"),
        ({"key": "/nowhere/key"}, KeyFileError, "is not there"),
    ],
)
def test_what_cannot_be(
    make: Callable[..., object], told: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        make("tcp://127.0.0.1:1", **({"key": KEY} | told))


def test_a_key_is_no_excuse_for_insecure() -> None:
    terms = check(insecure=True)
    assert terms.handshake(Role.CLIENT, b"plain").own.mode is Mode.KEY


def test_a_hello_says_what_is_accepted() -> None:
    own = (
        check(accepts=["raw", "pickle"], into="somewhere", limits=Limits(object=7))
        .handshake(Role.SERVER, b"plain")
        .own
    )
    assert own.serializers == ("raw", "pickle")
    assert own.trees
    assert own.limits is not None
    assert own.limits.object == 7
    assert own.key_id.hex() == KEY.id
    assert not check().handshake(Role.CLIENT, b"plain").own.trees


def test_two_hellos_have_nothing_in_common_but_the_process() -> None:
    one, other = (check().handshake(Role.CLIENT, b"plain").own for _ in range(2))
    assert one.nonce != other.nonce
    assert one.peer_id == other.peer_id


def test_a_ring_names_its_first_key_and_finds_all() -> None:
    terms = check(key=Keyring(KEY, OTHER_KEY))
    assert terms.trust.key_id == KEY.id
    find = terms.handshake(Role.SERVER, b"plain").find[Mode.KEY]
    for key in (OTHER_KEY, KEY):
        assert find(asking(bytes.fromhex(key.id))).agree(b"") == key.secret()
    unknown = [find(asking(bytes(4))).agree(b"") for _ in range(2)]
    assert len({*unknown, KEY.secret(), OTHER_KEY.secret()}) == 4
    assert check(key=None, insecure=True).trust.key_id is None


def asking(key_id: bytes) -> Hello:
    return Hello(Role.CLIENT, Mode.KEY, bytes(32), bytes(16), key_id=key_id)


def test_policies_by_name() -> None:
    assert check(if_exists="skip").if_exists is IfExists.SKIP
    assert check(if_exists=IfExists.FAIL).if_exists is IfExists.FAIL


def test_serialisers_are_bound_to_the_limits() -> None:
    deep: list[Any] = [[[[]]]]
    with pytest.raises(objxfer.LimitExceeded):
        check(limits=Limits(nesting=2)).serializer_of("json").dump(deep)
    check().serializer_of("json").dump(deep)
    assert check().serializer_of("raw") is base.get("raw")


def test_a_key_is_read_from_its_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[..., object]
) -> None:
    """None reads no file and no environment."""
    KEY.save(tmp_path / "key")
    monkeypatch.setenv("OBJXFER_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(ObjxferError, match="no key"):
        make("tcp://127.0.0.1:1")
