"""The shop window: what is shown there can be had, and says what it is."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import objxfer

NAMES = [name for name in objxfer.__all__ if not name.startswith("_")]


def imports_for_type_checkers() -> dict[str, str]:
    """Each public name, and the module that type checkers find it in."""
    tree = ast.parse(Path(objxfer.__file__).read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    found = {}
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        assert statement.module
        (alias,) = statement.names
        assert alias.name == alias.asname  # "as" is what makes it public to them
        found[alias.name] = statement.module
    return found


def test_type_checkers_and_programs_see_the_same() -> None:
    seen = imports_for_type_checkers()
    assert set(seen) == set(NAMES)
    for name, module in seen.items():
        assert getattr(objxfer, name) is getattr(import_module(module), name)


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_is(name: str) -> None:
    shown = getattr(objxfer, name)
    assert shown.__doc__
    assert shown.__doc__[0].isupper()
    members = vars(shown) if inspect.isclass(shown) else {}
    for member, value in members.items():
        if not member.startswith("_") and (
            inspect.isfunction(value) or isinstance(value, property)
        ):
            assert value.__doc__, f"{name}.{member}"


def test_what_is_not_there_is_said_as_usual() -> None:
    with pytest.raises(AttributeError, match="module 'objxfer' has no attribute 'sedn'"):
        _ = objxfer.sedn


def test_dir_shows_the_public_names() -> None:
    assert dir(objxfer) == sorted([*NAMES, "__version__"])


def test_all_can_be_imported_with_a_star() -> None:
    subprocess.run([sys.executable, "-c", "from objxfer import *; connect; Key"], check=True)


def test_every_error_is_shown() -> None:
    errors = import_module("objxfer.errors")
    public = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, objxfer.ObjxferError)
    }
    assert public <= set(NAMES)
    assert public <= set(re.findall(r"\w+", errors.__doc__ or ""))
