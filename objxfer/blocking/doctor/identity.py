"""Checks of what this machine proves itself by: its key, and its peers."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from objxfer.blocking.doctor.checks import Check, failed, ok, warning
from objxfer.errors import ExitCode, KeyFileError, ObjxferError
from objxfer.security.keyfiles import StrPath
from objxfer.security.keys import Key, default_path, looked_for
from objxfer.security.peers import Peers

_USAGE: Final = ExitCode.USAGE
_MAKE_ONE: Final = 'make one with "objxfer keygen", or name one with --key FILE'


class Held(NamedTuple):
    """What was found of a key."""

    key: Key | None
    check: Check


def check_key(path: StrPath | None, *, insecure: bool, needed: bool) -> Held:
    """Look for the key as commands do.

    Args:
        path: what ``--key`` names.
        insecure: none is used.
        needed: whether it fails without one.
    """
    if insecure:
        return Held(None, warning("key", "none, as --insecure says: nobody proves who they are"))
    try:
        where = looked_for(path)
        key = Key.find(path)
    except KeyFileError as error:
        return Held(None, _of_an_error("key", error))
    if key is not None:
        return Held(key, ok("key", f"{key.id}, in {where}"))
    if needed:
        return Held(None, failed("key", f"there is none: {where} is not there", _MAKE_ONE, _USAGE))
    none = "none, and none is needed between peers or with a code"
    return Held(None, ok("key", f"{none}; it would lie in {where}"))


def check_config() -> Check:
    """Look at the folder that keys and peers lie in."""
    folder = default_path().parent
    try:
        status = os.stat(folder)
        os.listdir(folder)
    except FileNotFoundError:
        return ok("config", f"{folder} is not there yet; what needs it makes it")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        advice = f"make it a folder that you can read: {folder}"
        return failed("config", f"{folder} cannot be read: {why}", advice, _USAGE)
    if sys.platform != "win32" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return warning(
            "config",
            f"others may write to {folder}, and put their key in the place of yours",
            f"chmod 700 {shlex.quote(str(folder))}",
        )
    return ok("config", str(folder))


def check_peers(peers: Peers) -> Iterator[Check]:
    """Look at the peers of this machine, and at its own id; nothing is made."""
    try:
        own = peers.known_id()
        found, damaged = peers.survey()
    except KeyFileError as error:
        yield _of_an_error("peers", error)
        return
    count = "1 peer" if len(found) == 1 else f"{len(found):,} peers"
    if own is not None:
        yield ok("peers", f"{count}; this machine goes by the id {own.hex()}")
    elif not found:
        yield ok("peers", 'none; "objxfer pair" on two machines makes them peers')
    for peer in found:
        if peer.pair.own != own:
            yield failed(
                "peers",
                f"{peer.name} knows this machine by another id, and is not let in",
                f'"objxfer peers remove {shlex.quote(peer.name)}", and pair again',
                _USAGE,
            )
    for each in damaged:
        yield _of_an_error("peers", each)


def _of_an_error(name: str, error: ObjxferError) -> Check:
    return failed(name, str(error), error.hint, error.exit_code)
