"""The peers this machine is paired with: a file for each, by the name it is called here.

The folder holds, beside them, the id that this machine goes by, and a lock for those that write.
What lies there under a name that begins with ``.objxfer`` is no peer.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from objxfer.errors import ExitCode, KeyFileError, ObjxferError
from objxfer.security import private
from objxfer.security.keyfiles import StrPath
from objxfer.security.pairing import PEER_ID_SIZE, Pair
from objxfer.security.peerfiles import (
    ID_KIND,
    KIND,
    MOST_ADDRESSES,
    Peer,
    check_name,
    decode,
    decode_id,
    encode,
    encode_id,
    is_address,
    normal,
    shortened,
    usage,
    why_no_name,
)

_OURS: Final = ".objxfer"
_ID: Final = f"{_OURS}-id"
_PATIENCE: Final = 10.0
_TICK: Final = 0.01
_SETTLED: Final = 1_000_000_000
"""Nanoseconds after which a change would have given a folder another time."""
_NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)

log = logging.getLogger("objxfer")


class Peers:
    """The peers in a folder, as they are at each moment; iterating gives them by name.

    As ``key=`` of ``listen`` and ``serve`` they let in each of them that is there when it comes.
    Any thread and any process may use them at once. Files are judged as key files are. A damaged
    one is an error where it is asked for by name, and else a warning in the log.
    """

    def __init__(self, folder: StrPath | None = None) -> None:
        """Look at a folder, which need not be there yet; None is the one in the user's config."""
        self.folder = Path(folder) if folder is not None else default_folder()
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[tuple[int, ...], Pair | None]] = {}
        self._seen_at: int | None = None

    # --- reading ---

    def find(self, name: str) -> Peer | None:
        """Return the peer of a name, or None; no other file is read.

        Raises:
            KeyFileError: the file cannot be used.
        """
        if why_no_name(name) is not None:
            return None
        path = self.folder / normal(name)
        try:
            return decode(path, private.read(path, KIND))
        except FileNotFoundError:
            return None

    def load(self, name: str) -> Peer:
        """Do as ``find``, but raise where there is none.

        Raises:
            ObjxferError: there is no such peer (exit code ``USAGE``).
            KeyFileError: the file cannot be used.
        """
        peer = self.find(name)
        if peer is None:
            raise usage(f"there is no peer {name!r}", hint='"objxfer peers" shows who there is')
        return peer

    def names(self) -> list[str]:
        """Return the names of all peers in order; no file is read, so a damaged one has its name.

        Raises:
            KeyFileError: the folder cannot be read.
        """
        return [name for name, _ in self._entries() if why_no_name(name) is None]

    def survey(self) -> tuple[list[Peer], list[KeyFileError]]:
        """Return all peers by name, and what is wrong with those that cannot be used.

        Raises:
            KeyFileError: the folder cannot be read.
        """
        found: list[Peer] = []
        damaged: list[KeyFileError] = []
        for name, _ in self._entries():
            try:
                peer = self.find(name)
                if peer is None and why_no_name(name) is not None:
                    private.refuse(self.folder / name, KIND, "has a name that no peer has")
            except KeyFileError as error:
                damaged.append(error)
            else:
                found += [peer] if peer else []
        return found, damaged

    def __iter__(self) -> Iterator[Peer]:
        found, damaged = self.survey()
        for error in damaged:
            log.warning("%s", error)
        return iter(found)

    def __bool__(self) -> bool:
        """Whether there is any file of a peer."""
        return bool(self._entries())

    def __repr__(self) -> str:
        return f"<Peers in {str(self.folder)!r}>"

    def peer_with(self, peer_id: bytes, key_id: str) -> Peer | None:
        """Return the peer of an id under a key, if it is there at this moment; for listeners.

        Damaged files, and pairs that this machine made under another id, are passed over.
        """
        with self._lock:
            self._look()
            asked = peer_id, key_id
            pairs = {name: pair for name, (_, pair) in self._seen.items() if pair}
            named = [name for name, pair in pairs.items() if (pair.peer, pair.key.id) == asked]
        with contextlib.suppress(KeyFileError):  # which is said when all are looked through
            for name in named:
                peer = self.find(name)
                if peer and peer.pair == pairs[name] and peer.pair.own == self.own_id():
                    return peer
        return None

    def own_id(self) -> bytes:
        """Return the 16 bytes that this machine goes by, made when they are first asked for.

        Raises:
            KeyFileError: their file cannot be used, or made.
        """
        known = self.known_id()
        if known is not None:
            return known
        with self._locked():
            known = self.known_id()
            if known is not None:
                return known
            path = self.folder / _ID
            made = secrets.token_bytes(PEER_ID_SIZE - 1) + b"\1"  # not all zero, ever
            private.replace(path, encode_id(made), ID_KIND)
            return made

    def known_id(self) -> bytes | None:
        """Return the 16 bytes that this machine goes by, or None where nobody needed any yet.

        Raises:
            KeyFileError: their file cannot be used.
        """
        path = self.folder / _ID
        try:
            return decode_id(path, private.read(path, ID_KIND))
        except FileNotFoundError:
            return None

    # --- writing ---

    def add(self, peer: Peer, *, numbered: bool = False) -> Peer:
        """Keep a new peer, flushed to the disk, and return it as it is kept.

        Args:
            peer: under the name that it is to have.
            numbered: give it a number where the name is taken: ``nas-2``.

        Raises:
            ObjxferError: the name is none, or is taken (exit code ``USAGE``); nothing is changed.
            KeyFileError: it cannot be written.
        """
        wanted = check_name(peer.name)
        with self._locked():
            name, number = wanted, 1
            while self._taken(name):
                if not numbered:
                    raise name_taken(name)
                number += 1
                name = shortened(wanted, f"-{number}")
            peer = replace(peer, name=name)
            private.replace(self.folder / name, encode(peer), KIND)
        return peer

    def rename(self, old: str, new: str) -> None:
        """Call a peer otherwise.

        Raises:
            ObjxferError: there is no such peer, or the new name is none, or taken (exit code
                ``USAGE``); nothing is changed.
            KeyFileError: the file cannot be used, or the folder not be written.
        """
        new = check_name(new)
        with self._locked():
            self.load(old)
            if self._taken(new):
                raise name_taken(new)
            self._change(old, lambda path: os.rename(path, self.folder / new), "renamed")

    def remove(self, name: str) -> None:
        """Forget a peer: from now on it is not let in any more. Damaged files can be removed, too.

        Raises:
            ObjxferError: there is no such peer (exit code ``USAGE``).
            KeyFileError: the folder cannot be written.
        """
        with self._locked():
            if why_no_name(name) is not None or not self._taken(normal(name)):
                self.load(name)
            self._change(name, os.unlink, "removed")

    def reached(self, peer: Peer, address: str) -> None:
        """Remember the address at which a peer proved who it is; that this fails is a log line."""
        if peer.addresses[:1] == (address,) or not is_address(address):
            return
        try:
            with self._locked():
                known = self.find(peer.name)
                if known is None or known.pair != peer.pair:
                    return  # it was removed or renamed meanwhile
                others = [one for one in known.addresses if one != address]
                addresses = (address, *others)[:MOST_ADDRESSES]
                kept = replace(known, addresses=addresses)
                private.replace(self.folder / known.name, encode(kept), KIND)
        except ObjxferError as error:
            log.info("the address of %r is not remembered: %s", peer.name, error)

    # --- inside ---

    def _entries(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return the names of all files of peers in order, each with what tells of a change."""
        try:
            with os.scandir(self.folder) as entries:
                return sorted(
                    (entry.name, _signature(entry))
                    for entry in entries
                    if not entry.name.startswith(_OURS)
                )
        except FileNotFoundError:
            return []
        except OSError as error:
            private.refuse(self.folder, "folder of peers", f"cannot be read: {private.why(error)}")

    def _look(self) -> None:
        """Read what has changed since the last look; called with the lock held."""
        now = time.time_ns()
        try:
            changed_at = os.stat(self.folder).st_mtime_ns
            if changed_at == self._seen_at:
                return
            entries = self._entries()
        except (OSError, KeyFileError) as error:
            if not isinstance(error, FileNotFoundError):
                log.warning("peers cannot be looked up: %s", error)
            self._seen, self._seen_at = {}, None
            return
        seen = {}
        for name, signature in entries:
            known = self._seen.get(name)
            seen[name] = known if known and known[0] == signature else (signature, self._pair(name))
        self._seen = seen
        # What changes within the same tick of the clock gives the folder no other time.
        self._seen_at = changed_at if abs(now - changed_at) > _SETTLED else None

    def _pair(self, name: str) -> Pair | None:
        try:
            peer = self.find(name)
        except KeyFileError as error:
            log.warning("%s", error)
            return None
        return peer.pair if peer else None

    def _taken(self, name: str) -> bool:
        return os.path.lexists(self.folder / name)

    def _change(self, name: str, change: Callable[[Path], None], changed: str) -> None:
        path = self.folder / normal(name)
        try:
            change(path)
            private.flush_folder(self.folder)
        except OSError as error:
            private.refuse(path, KIND, f"cannot be {changed}: {private.why(error)}")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep all others from writing, of this process and of others, for a short while.

        Raises:
            KeyFileError: the folder cannot be written.
            ObjxferError: others took too long (exit code ``LOCKED``).
        """
        path = self.folder / f"{_OURS}-lock"
        private.make_folder(self.folder, path, "lock of the peers")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o600)
        except OSError as error:
            private.refuse(path, "lock of the peers", f"cannot be opened: {private.why(error)}")
        try:
            _wait_for(descriptor, path)
            yield
        finally:
            os.close(descriptor)  # which gives the lock back


def peers() -> Peers:
    """Return the peers that this machine is paired with, of the user's config folder.

    They can be looked through, and looked up with ``find`` and ``load``; as ``key=`` of ``listen``
    and ``serve``, they are let in.
    """
    return Peers()


def default_folder() -> Path:
    """Return where the peers lie: ``peers`` in the config folder."""
    return private.config_folder() / "peers"


def name_taken(name: str) -> ObjxferError:
    """Return the error of a name that another peer has."""
    return usage(
        f"there is a peer {name!r} already",
        hint=f'choose another name, or "objxfer peers rename {shlex.quote(name)} …" first',
    )


def _signature(entry: os.DirEntry[str]) -> tuple[int, ...]:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


def _wait_for(descriptor: int, path: Path) -> None:
    """Take the lock of a file; Windows has none such."""
    if sys.platform == "win32":
        return
    import fcntl

    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ObjxferError(
                    f"another process holds {str(path)!r} for too long",
                    hint="look for an objxfer that was stopped",
                    exit_code=ExitCode.LOCKED,
                ) from None
            time.sleep(_TICK)
        except OSError as error:
            private.refuse(path, "lock of the peers", f"cannot be taken: {private.why(error)}")
        else:
            return
