"""Who may send into an inbox, as ``--peer`` and ``--config`` say it."""

from __future__ import annotations

import os
import re
import threading
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple

import click

import objxfer
from objxfer import Grant, Rules
from objxfer.blocking.rules import RIGHTS
from objxfer.errors import ExitCode, KeyFileError, ObjxferError, RuleError
from objxfer.files.entries import why
from objxfer.security import keyfiles
from objxfer.security.keys import Keyring
from objxfer.security.peerfiles import check_name
from objxfer.security.peers import Peers
from objxfer.transports.urls import Url
from objxfer.units import parse_size, size
from objxfer_cli import completion, failures, options
from objxfer_cli.terminal import Terminal

_LARGEST: Final = 2**20
"""Bytes of a file of rules."""
_FIELDS: Final = ("rights", "quota", "folder", "key")
_KNOWN: Final = "rights, quota, folder and key are known"
_PIECE: Final = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|\'{3}.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[][{}\n]''',
    re.DOTALL,
)
"""What tells where a statement of TOML ends: strings and comments, brackets, and ends of lines."""
_AT_LINE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")

peer: Final[options.Option] = click.option(
    "--peer",
    "named",
    metavar="NAME[:RULES]",
    multiple=True,
    shell_complete=completion.peers,
    help="Let in who is named, and nobody else; RULES: folder=, quota=, rights=, key=FILE.",
)
config: Final[options.Option] = click.option(
    "--config",
    metavar="FILE",
    shell_complete=completion.files,
    help="The same from a TOML file, which SIGHUP has read again.",
)


class _Place(NamedTuple):
    """Where a grant is written."""

    file: _File | None
    name: str
    """As it is written there."""

    def at(self, field: str) -> str:
        """Return where a field of it is written."""
        if self.file is None:
            return "--peer"
        keys = ("peers", self.name, field) if field else ("peers", self.name)
        return self.file.at(*keys)


class Rulebook:
    """What ``--peer`` and ``--config`` say; true where they say anything.

    Args:
        named: the values of ``--peer``.
        path: the file of ``--config``.
    """

    def __init__(self, named: Sequence[str], path: str | None) -> None:
        self._named = named
        self._path = path

    def __bool__(self) -> bool:
        return bool(self._named) or self._path is not None

    def set_up(self, terminal: Terminal, folder: str, url: str) -> tuple[Rules, Peers | None]:
        """Return the rules of an inbox, and the peers that are to find it, if there are any.

        Raises:
            ObjxferError: something is wrong with them, and where.
        """
        encrypted = Url.listening(url).encrypted
        peers = options.find_peers(terminal, url, insecure=False)
        places: dict[str, _Place] = {}
        with _placed(places):
            grants = self._grants(places)
            named = [grant for grant in grants if grant.key is None]
            if named and not encrypted:
                raise RuleError(
                    named[0].name,
                    "",
                    "a paired peer comes over tls:// only",
                    hint="who holds a key comes over tcp://, too: key=FILE",
                )
            found = peers
            if found is None and encrypted and self._path is not None:
                found = _later()
            return Rules(folder, grants, peers=found), peers

    def read_again(self, rules: Rules) -> None:
        """Have the rules changed to what is written now.

        Raises:
            ObjxferError: something is wrong with that, and where; nothing is changed.
        """
        places: dict[str, _Place] = {}
        with _placed(places):
            rules.change(self._grants(places))

    def follow(
        self,
        terminal: Terminal,
        rules: Rules,
        reloading: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """From now on, have a SIGHUP read the file again; ``reloading`` is entered meanwhile."""
        if self._path is None:
            return
        terminal.hung_up = hung_up = threading.Event()

        def read() -> None:
            while hung_up.wait():
                hung_up.clear()
                try:
                    with reloading():
                        self.read_again(rules)
                except (ObjxferError, OSError) as error:
                    terminal.warning(f"{error}; the rules stay as they were")
                    failures.record(terminal, error, ExitCode.USAGE, str(error))
                else:
                    terminal.notice(f"the rules were read again from {self._path}")
                    terminal.event("reloaded", peers=[grant.name for grant in rules.grants])
                    say(terminal, rules)

        threading.Thread(target=read, name="objxfer-rules", daemon=True).start()

    def _grants(self, places: dict[str, _Place]) -> list[Grant]:
        """Return all grants; notes by their names where they are written."""
        grants: list[Grant] = []

        def add(written: str, file: _File | None) -> str:
            place = _Place(file, written)
            try:
                name = check_name(written)
            except ObjxferError as error:
                raise _wrong(place.at(""), str(error), hint=error.hint) from error
            known = places.setdefault(name, place)
            if known is not place:
                also = "twice" if known.file is file is None else f"at {known.at('')}, too"
                raise _wrong(place.at(""), f"{name!r} is named {also}")
            return name

        for value in self._named:
            written, colon, rest = value.partition(":")
            name = add(written, None)
            grants.append(_grant(name, _typed(name, rest) if colon else {}, ""))
        if self._path is not None:
            file = _File(self._path)
            for written, values in file.tables():
                grants.append(_grant(add(written, file), values, os.path.dirname(file.path)))
        return grants


class _File:
    """A file of rules, as it was read."""

    def __init__(self, path: str) -> None:
        """Read it.

        Raises:
            ObjxferError: it cannot be read, or is no TOML; the message names the line.
        """
        self.path = path
        try:
            with open(path, "rb") as file:
                data = file.read(_LARGEST + 1)
        except OSError as error:
            raise _wrong("--config", f"cannot read {path}: {why(error)}") from error
        if len(data) > _LARGEST:
            raise _wrong("--config", f"{path} is larger than {size(_LARGEST)}")
        try:
            self._text = data.decode().replace("\r\n", "\n")
            self._values = tomllib.loads(self._text)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise _wrong(f"{path}, line {line}", "it is not UTF-8") from error
        except tomllib.TOMLDecodeError as error:
            found = _AT_LINE.search(str(error))
            line = int(found[1] if found and found[1] else self._text.rstrip().count("\n") + 1)
            message = _AT_LINE.sub("", str(error))
            raise _wrong(f"{path}, line {line}", message[:1].lower() + message[1:]) from error
        except RecursionError as error:
            raise _wrong(path, "it is nested too deeply") from error
        except ValueError as error:  # of what is TOML all the same
            line = _first_line(self._text, _is_too_much)
            raise _wrong(f"{path}, line {line}", "a number has too many digits") from error

    def tables(self) -> Sequence[tuple[str, Mapping[str, object]]]:
        """Return what it says of each name.

        Raises:
            ObjxferError: it says something else.
        """
        for key in self._values:
            if key != "peers":
                raise _wrong(self.at(key), f"{key!r} is not known; [peers.NAME] is")
        peers = self._values.get("peers", {})
        if not isinstance(peers, dict):
            raise _wrong(self.at("peers"), "peers are tables: [peers.NAME]")
        for name, values in peers.items():
            if not isinstance(values, dict):
                raise _wrong(self.at("peers", name), f"{name!r} is no table: [peers.NAME] is")
        return list(peers.items())

    def at(self, *keys: str) -> str:
        """Return where something is written, for a message."""
        return f"{self.path}, line {line_of(self._text, keys)}"


def line_of(text: str, keys: Sequence[str]) -> int:
    """Return the line on which that begins by which a TOML text sets what the keys lead to.

    The parser itself tells, from the first statements alone: from which one on it is there. So it
    does not matter in which of all the ways it is written.
    """
    while not _holds(tomllib.loads(text), keys):  # what is not there is to be looked for above it
        keys = keys[:-1]
    return _first_line(text, lambda part: _holds(tomllib.loads(part), keys))


def _first_line(text: str, found: Callable[[str], bool]) -> int:
    """Return the line on which the first statement begins that makes ``found`` true of a text."""
    ends, depth = [0], 0
    for piece in _PIECE.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(piece[0], 0)
        if piece[0] == "\n" and not depth:
            ends.append(piece.end())
    ends.append(len(text))
    number = bisect_left(range(1, len(ends) - 1), True, key=lambda end: found(text[: ends[end]]))
    return text.count("\n", 0, ends[number]) + 1


def _is_too_much(text: str) -> bool:
    """Tell whether a TOML text holds a number with more digits than Python reads."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    except ValueError:
        return True
    return False


def _holds(values: Any, keys: Sequence[str]) -> bool:
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def say(terminal: Terminal, rules: Rules) -> None:
    """Say who may do what."""
    for grant in rules.grants:
        try:
            terminal.notice(_told(rules, grant))
        except ObjxferError as error:  # of its folder, which was in order a moment ago
            terminal.warning(f"{grant.name}: {error}")


def _told(rules: Rules, grant: Grant) -> str:
    who = grant.name
    if grant.key is not None:
        who += f" (key {', '.join(key.id for key in grant.key)})"
    if grant.rights == "none":
        return f"{who} may not send"
    where = f" into {grant.folder}/" if grant.folder else ""
    used = rules.used(grant)
    if grant.quota is None or used is None:
        return f"{who} may push{where}"
    return f"{who} may push{where} (quota {size(grant.quota)}, {size(used)} used)"


def _typed(name: str, rest: str) -> dict[str, object]:
    """Return the fields of a value of ``--peer``."""
    values: dict[str, object] = {}
    for part in rest.split(","):
        field, equals, given = part.partition("=")
        if not equals:
            raise RuleError(name, "", f"a rule is as in quota=50GB; {_KNOWN}")
        if field in values:
            raise RuleError(name, "", f"{field!r} is there twice")
        values[field] = given
    return values


def _grant(name: str, values: Mapping[str, object], beside: str) -> Grant:
    """Return what the fields say.

    Args:
        name: of the grant.
        values: by their names.
        beside: the folder that the path of a key starts from.

    Raises:
        RuleError: one is not known, or none such.
    """
    for field, value in values.items():
        if field not in _FIELDS:
            raise RuleError(name, field, f"{field!r} is not known: {_KNOWN}")
        if not isinstance(value, str) and (field != "quota" or type(value) is not int):
            raise RuleError(name, field, f"{field} is a text in quotes")
    given: dict[str, Any] = dict(values)
    rights = given.get("rights", "push")
    if rights not in RIGHTS:
        raise RuleError(name, "rights", f"{rights!r} is no right: {' or '.join(RIGHTS)} is")
    return Grant(
        name,
        _keyring(name, given["key"], beside) if "key" in given else None,
        rights,
        _quota(name, given["quota"]) if "quota" in given else None,
        _folder(name, given["folder"]) if "folder" in given else "",
    )


def _quota(name: str, given: str | int) -> int:
    try:
        return parse_size(str(given))
    except ValueError as error:
        raise RuleError(name, "quota", f"{given!r} is no quota: {error}") from error


def _folder(name: str, given: str) -> str:
    if not given:
        raise RuleError(name, "folder", "the folder is empty; without one it is the inbox itself")
    return given


def _keyring(name: str, given: str, beside: str) -> Keyring:
    if "\0" in given:
        raise RuleError(name, "key", f"{given!r} is no path")
    try:
        # As it is written, first: what is a key itself, or a code, is not shown.
        return Keyring.load(os.path.join(beside, keyfiles.as_path(given)))
    except KeyFileError as error:
        raise RuleError(name, "key", str(error), hint=error.hint) from error


def _later() -> Peers | None:
    """Return the peers that there may be one day, if this machine can have any."""
    peers = objxfer.peers()
    try:
        peers.own_id()
    except KeyFileError:
        return None
    return peers


@contextmanager
def _placed(places: dict[str, _Place]) -> Iterator[None]:
    """Say of a rule that is wrong where it is written."""
    try:
        yield
    except RuleError as error:
        raise _wrong(places[error.name].at(error.field), str(error), hint=error.hint) from error


def _wrong(where: str, message: str, *, hint: str = "") -> ObjxferError:
    return ObjxferError(f"{where}: {message}", hint=hint, exit_code=ExitCode.USAGE)
