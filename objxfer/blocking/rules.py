"""Who may send what into an inbox: by which key or pair, into which folder, and how much."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, get_args

from objxfer.errors import NotAllowed, ObjxferError, RuleError, UnsafePath
from objxfer.files.paths import SafePath, safe_path
from objxfer.limits import Limits
from objxfer.protocol.handshake import Established
from objxfer.protocol.hello import Mode
from objxfer.security.keyfiles import StrPath
from objxfer.security.keys import Key, Keyring
from objxfer.security.peerfiles import check_name, normal
from objxfer.security.peers import Peers

if TYPE_CHECKING:
    from objxfer.files.quota import Quota
    from objxfer.files.root import Root

Rights = Literal["push", "none"]
RIGHTS: Final[tuple[str, ...]] = get_args(Rights)


@dataclass(frozen=True, slots=True)
class Grant:
    """What an inbox grants to one who sends."""

    name: str
    """Of a paired peer; or, with a key, what its holders are called here."""
    key: Keyring | None = None
    """Who holds one of these, in place of a paired peer."""
    rights: Rights = "push"
    """``push`` is to deliver files, ``none`` is nothing."""
    quota: int | None = None
    """How many bytes may lie in the folder, all told; None is without a limit."""
    folder: str = ""
    """Where below the inbox all of it lands, made if missing; empty for the inbox itself."""


class Allotment:
    """The part of an inbox that a grant is about. Any thread may use it.

    Attributes:
        inbox: the whole of it.
        folder: where below it; empty for the whole.
    """

    def __init__(self, inbox: str, grant: Grant, path: SafePath | None) -> None:
        self.inbox = inbox
        self.folder = bytes(path) if path else b""
        self.grant = grant
        self._path = path
        self._quota: Quota | None = None

    def open(self) -> Root:
        """Open its folder, which is made if missing.

        Raises:
            FileFailed: it, or the inbox, cannot be opened.
            UnsafePath: something else than a folder is in the way.
        """
        from objxfer.files.root import Root

        if self._path is None:
            return Root(self.inbox)
        with Root(self.inbox) as inbox:
            return inbox.below(self._path)

    def quota(self) -> Quota | None:
        """Return its quota, if it has one.

        Raises:
            FileFailed: what lies there cannot be counted.
            UnsafePath: as ``open``.
        """
        from objxfer.files.quota import Quota

        if self.grant.quota is not None:
            # Each time anew, for its folder may be another by now; one is kept, and the account
            # with it.
            self._quota = Quota(self.grant.quota, self.open)
        return self._quota


@dataclass(frozen=True, slots=True)
class _Book:
    """Grants that were checked, and by what those who come are told apart."""

    grants: tuple[Grant, ...]
    holders: dict[str, tuple[Key, str]]
    """By the id of a key."""
    allotments: dict[str, Allotment]
    """By the name of the grant."""


class Rules:
    """Who may send what into an inbox: ``serve`` takes them in place of a folder.

    They can be changed at any time, by any thread. Each delivery goes by the rules that hold when
    it begins. Who comes is told by the key or the pair that it proves to hold, never by a name
    that it gives. Peers that have no grant may connect, and are told that they may not send;
    keys that have none do not let in.

    Attributes:
        folder: the inbox, as an absolute path.
        peers: where grants without a key are looked up, whenever somebody comes; or None.
    """

    def __init__(
        self, folder: StrPath, grants: Iterable[Grant], *, peers: Peers | None = None
    ) -> None:
        """Check the grants, make the folders that are missing, and count what counts.

        Args:
            folder: the inbox; must exist.
            grants: one for each name.
            peers: the paired peers; None where none are to come in.

        Raises:
            RuleError: a grant cannot hold; the error says which and why.
            ObjxferError: a name is none (exit code ``USAGE``).
            FileFailed: the inbox is absent.
        """
        self.folder = os.path.abspath(folder)
        self.peers = peers
        self._book = self._checked(grants)

    def change(self, grants: Iterable[Grant]) -> None:
        """Let other grants hold, for each delivery that begins from now on.

        What lies in their folders is counted again.

        Raises:
            ObjxferError: as when they are made; nothing is changed then.
        """
        book = self._checked(grants)
        for allotment in book.allotments.values():
            _counted(allotment)
        self._book = book

    @property
    def grants(self) -> tuple[Grant, ...]:
        """Those that hold now."""
        return self._book.grants

    def used(self, grant: Grant) -> int | None:
        """Return how many bytes count against the quota of a grant; None where it has none.

        Raises:
            FileFailed: they cannot be counted.
        """
        allotment = self._book.allotments.get(normal(grant.name))
        if allotment is None or grant.rights == "none":
            return None
        quota = allotment.quota()
        return quota.used if quota else None

    # --- for who listens ---

    def find(self, key_id: str) -> Key | None:
        """Return the key that a client names, if it lets in."""
        found = self._book.holders.get(key_id)
        return found[0] if found else None

    def name_of(self, proved: Established) -> str | None:
        """Return what the one who came is called here, or None."""
        return self._name(proved, self._book)

    def allotment(self, proved: Established) -> Allotment:
        """Return where somebody may deliver who came.

        Raises:
            NotAllowed: nowhere.
        """
        book = self._book  # one for both: who has a name may change with the rules
        name = self._name(proved, book)
        allotment = None if name is None else book.allotments.get(name)
        # A key and a pair of the same name are not the same.
        if allotment is None or (allotment.grant.key is None) is (proved.mode is Mode.KEY):
            raise NotAllowed("the rules of this inbox do not name this sender")
        if allotment.grant.rights == "none":
            raise NotAllowed("by the rules of this inbox, this sender may not send")
        return allotment

    # --- inside ---

    def _name(self, proved: Established, book: _Book) -> str | None:
        key_id = proved.key_id.hex()
        if proved.mode is Mode.KEY:
            found = book.holders.get(key_id)
            return found[1] if found else None
        if self.peers is None:
            return None
        peer = self.peers.peer_with(proved.theirs.peer_id, key_id)
        return peer.name if peer else None

    def _checked(self, grants: Iterable[Grant]) -> _Book:
        from objxfer.files.root import Root

        given = tuple(replace(grant, name=check_name(grant.name)) for grant in grants)
        holders: dict[str, tuple[Key, str]] = {}
        allotments: dict[str, Allotment] = {}
        with Root(self.folder) as inbox:
            folded = inbox.quirks.folded
        taken: dict[tuple[bytes, ...], Grant] = {}
        for grant in given:
            self._check_name(grant, allotments)
            for key in grant.key or ():
                other = holders.setdefault(key.id, (key, grant.name))
                if other != (key, grant.name):
                    message = f"{other[1]!r} has the key {key.id}, too"
                    raise RuleError(grant.name, "key", message)
            allotment = allotments[grant.name] = Allotment(self.folder, grant, _path(grant))
            if grant.rights == "push":
                folder = folded(allotment.folder)
                place = tuple(folder.split(b"/")) if folder else ()
                same = taken.setdefault(place, grant)
                if same.quota != grant.quota:
                    raise RuleError(
                        grant.name, "quota", f"{same.name!r} has the same folder and another quota"
                    )
        _check_apart(taken)
        for allotment in allotments.values():
            if allotment.grant.rights == "push":
                _prepare(allotment)
        return _Book(given, holders, allotments)

    def _check_name(self, grant: Grant, others: dict[str, Allotment]) -> None:
        if grant.name in others:
            raise RuleError(grant.name, "", "the name is there twice")
        try:
            peer = None if self.peers is None else self.peers.find(grant.name)
        except ObjxferError as error:
            raise RuleError(grant.name, "", str(error), hint=error.hint) from error
        if grant.key is not None and peer is not None:
            message = "a paired peer has this name: call the holder of the key otherwise"
            raise RuleError(grant.name, "key", message)
        if grant.key is None and peer is None:
            raise RuleError(
                grant.name,
                "",
                "there is no such peer",
                hint='"objxfer peers" shows who there is; key=FILE names who holds a key',
            )
        if grant.rights not in RIGHTS:
            raise RuleError(grant.name, "rights", f"{grant.rights!a} is no right: push or none is")
        if grant.quota is not None and grant.quota < 1:
            raise RuleError(grant.name, "quota", "a quota is at least 1 byte")


def _path(grant: Grant) -> SafePath | None:
    if not grant.folder:
        return None
    try:
        return safe_path(os.fsencode(grant.folder), Limits())
    except (UnsafePath, UnicodeEncodeError) as error:
        raise RuleError(grant.name, "folder", f"the folder {error}") from error


def _check_apart(taken: dict[tuple[bytes, ...], Grant]) -> None:
    """Refuse a folder inside that of somebody else, who could write there."""
    for place, grant in taken.items():
        for depth in range(len(place)):
            outer = taken.get(place[:depth])
            if outer is not None:
                whole = "" if outer.folder else ", which is the whole inbox"
                raise RuleError(
                    grant.name,
                    "folder",
                    f"its folder lies in that of {outer.name!r}{whole}",
                    hint="let them share one folder, or lie beside each other",
                )


def _prepare(allotment: Allotment) -> None:
    """Make the folder of a grant, and count what lies there."""
    try:
        allotment.open().close()
        allotment.quota()
    except ObjxferError as error:
        raise RuleError(allotment.grant.name, "folder", str(error), hint=error.hint) from error


def _counted(allotment: Allotment) -> None:
    quota = allotment.quota() if allotment.grant.rights == "push" else None
    if quota is not None:
        try:
            quota.count()
        except ObjxferError as error:
            raise RuleError(allotment.grant.name, "folder", str(error)) from error
