"""Serialisers are found by name, late, and nobody takes another's name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from objxfer.serializers import base
from objxfer.serializers.base import AnySerializer, Buffer, check_classes, get, register


class Upper:
    """The smallest serialiser."""

    executes: Literal[False] = False

    def __init__(self, name: str = "upper") -> None:
        self.name = name

    def dump(self, obj: Any, /) -> tuple[bytes, list[Buffer]]:
        return str(obj).upper().encode(), []

    def load(self, head: Buffer, buffers: Sequence[Buffer], /) -> Any:
        return bytes(head).decode()


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_registered", {})


def test_a_registered_serialiser_is_found() -> None:
    upper = Upper()
    register(upper)
    register(upper)
    assert get("upper") is upper


def test_names_are_not_taken_over() -> None:
    register(Upper())
    with pytest.raises(ValueError, match="another serialiser"):
        register(Upper())
    with pytest.raises(ValueError, match="built-in"):
        register(Upper("msgpack"))


@pytest.mark.parametrize("name", ["", "a b", "a-b", "é", "x" * 33, "1a"])
def test_names_are_identifiers(name: str) -> None:
    with pytest.raises(ValueError, match="ASCII identifier"):
        register(Upper(name))


def test_a_serialiser_must_say_whether_it_executes() -> None:
    silent = Upper()
    silent.executes = None  # type: ignore[assignment]  # what an untyped program may do
    with pytest.raises(ValueError, match="whether it executes"):
        register(silent)


def test_an_unknown_name_lists_the_known() -> None:
    register(Upper())
    with pytest.raises(ValueError, match=r"'yaml'; known are cloudpickle, json, .*, upper"):
        get("yaml")


def plug_in(folder: Path, name: str, code: str) -> None:
    (folder / f"plug_{name}.py").write_text(code)
    info = folder / f"plug_{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plug_{name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{base.GROUP}]\n{name} = plug_{name}:SERIALIZER\n")


UPPER = """
class Upper:
    name = "{}"
    executes = False
    def dump(self, obj, /): return str(obj).upper().encode(), []
    def load(self, head, buffers, /): return bytes(head).decode()
SERIALIZER = Upper()
"""


def test_plug_ins_are_found_by_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(tmp_path, "shout", UPPER.format("shout"))
    plug_in(tmp_path, "liar", UPPER.format("msgpack"))
    plug_in(tmp_path, "json", "raise AssertionError('a built-in needs no entry point')")
    monkeypatch.syspath_prepend(tmp_path)
    assert get("json").name == "json"
    assert "plug_shout" not in sys.modules
    shout = get("shout")
    assert shout.dump("a") == (b"A", [])
    assert get("shout") is shout
    with pytest.raises(ValueError, match="named 'msgpack'"):
        get("liar")
    with pytest.raises(ValueError, match=r"known are .*liar.*shout"):
        get("nothing")


@pytest.mark.parametrize("name", ["raw", "text", "json", "msgpack", "pickle", "cloudpickle"])
def test_what_executes_is_known_without_importing_it(name: str) -> None:
    assert base.executes(name) is get(name).executes


def test_nothing_heavy_is_imported_early() -> None:
    code = """
import sys
from objxfer.serializers import base
heavy = {"msgpack", "numpy", "pickle", "cloudpickle", "zoneinfo"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
base.get("raw")
assert not heavy & set(sys.modules), heavy & set(sys.modules)
base.get("msgpack")
assert not {"numpy", "cloudpickle"} & set(sys.modules)
base.get("cloudpickle")
assert not {"numpy", "cloudpickle"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_classes_are_checked() -> None:
    check_classes(None)
    check_classes(["app.models:Job", "app:Outer.Inner"])
    for wrong in ("app:Job", ["Job"], ["app:"], [":Job"], ["a:b:c"]):
        with pytest.raises(ValueError, match="module:qualname"):
            check_classes(wrong)


def load(serializer: AnySerializer, head: bytes) -> Any:
    """The type checker knows which kind it is: either line swapped is an error."""
    if serializer.executes:
        return serializer.load(head, [])  # type: ignore[arg-type, call-arg]  # no proof
    return serializer.load(head, [])


def test_a_forgotten_proof_is_found_at_run_time_too() -> None:
    for name in ("pickle", "cloudpickle"):
        with pytest.raises(TypeError):
            load(get(name), b"N.")
