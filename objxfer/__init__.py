"""Moves files, folders, streams and Python objects from one process to another.

The public names; each is imported when it is first used, and nothing heavy before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    # "as" makes them public to type checkers (PEP 484, "Stub files").
    from objxfer.bars import bar as bar
    from objxfer.blocking.connecting import connect as connect
    from objxfer.blocking.connection import Connection as Connection
    from objxfer.blocking.listener import Listener as Listener
    from objxfer.blocking.listener import listen as listen
    from objxfer.blocking.rules import Grant as Grant
    from objxfer.blocking.rules import Rules as Rules
    from objxfer.blocking.serving import Server as Server
    from objxfer.blocking.serving import Watcher as Watcher
    from objxfer.blocking.serving import serve as serve
    from objxfer.blocking.shortcuts import push as push
    from objxfer.blocking.shortcuts import send as send
    from objxfer.blocking.waiting import wait as wait
    from objxfer.errors import AuthenticationError as AuthenticationError
    from objxfer.errors import CannotConnect as CannotConnect
    from objxfer.errors import ConnectionClosed as ConnectionClosed
    from objxfer.errors import ConnectionLost as ConnectionLost
    from objxfer.errors import ExitCode as ExitCode
    from objxfer.errors import FileFailed as FileFailed
    from objxfer.errors import IntegrityError as IntegrityError
    from objxfer.errors import KeyFileError as KeyFileError
    from objxfer.errors import LimitExceeded as LimitExceeded
    from objxfer.errors import NameTaken as NameTaken
    from objxfer.errors import NoSpace as NoSpace
    from objxfer.errors import NotAllowed as NotAllowed
    from objxfer.errors import NotSerializable as NotSerializable
    from objxfer.errors import ObjxferError as ObjxferError
    from objxfer.errors import PeerError as PeerError
    from objxfer.errors import ProtocolMismatch as ProtocolMismatch
    from objxfer.errors import ReceiptMissing as ReceiptMissing
    from objxfer.errors import RefusedByPeer as RefusedByPeer
    from objxfer.errors import RuleError as RuleError
    from objxfer.errors import Timeout as Timeout
    from objxfer.errors import UnsafePath as UnsafePath
    from objxfer.errors import WrongCode as WrongCode
    from objxfer.errors import WrongKey as WrongKey
    from objxfer.files.entries import IfExists as IfExists
    from objxfer.limits import Limits as Limits
    from objxfer.security.keys import Key as Key
    from objxfer.security.keys import Keyring as Keyring
    from objxfer.security.pairing import Code as Code
    from objxfer.security.pairing import Invitation as Invitation
    from objxfer.security.pairing import Pair as Pair
    from objxfer.security.peerfiles import Peer as Peer
    from objxfer.security.peers import Peers as Peers
    from objxfer.security.peers import peers as peers
    from objxfer.serializers.base import Serializer as Serializer
    from objxfer.serializers.base import register as register
    from objxfer.serializers.classes import register_class as register_class
    from objxfer.transfer.progress import Progress as Progress
    from objxfer.transfer.progress import Tally as Tally
    from objxfer.transfer.report import EntryReport as EntryReport
    from objxfer.transfer.report import Outcome as Outcome
    from objxfer.transfer.report import Report as Report

__version__ = "0.1.0"

_HOMES: Final = {
    "bar": "bars",
    "connect": "blocking.connecting",
    "Connection": "blocking.connection",
    "Listener": "blocking.listener",
    "listen": "blocking.listener",
    "Grant": "blocking.rules",
    "Rules": "blocking.rules",
    "push": "blocking.shortcuts",
    "send": "blocking.shortcuts",
    "serve": "blocking.serving",
    "Server": "blocking.serving",
    "Watcher": "blocking.serving",
    "wait": "blocking.waiting",
    "IfExists": "files.entries",
    "Limits": "limits",
    "Key": "security.keys",
    "Keyring": "security.keys",
    "Code": "security.pairing",
    "Invitation": "security.pairing",
    "Pair": "security.pairing",
    "Peer": "security.peerfiles",
    "Peers": "security.peers",
    "peers": "security.peers",
    "Serializer": "serializers.base",
    "register": "serializers.base",
    "register_class": "serializers.classes",
    "Progress": "transfer.progress",
    "Tally": "transfer.progress",
    "EntryReport": "transfer.report",
    "Outcome": "transfer.report",
    "Report": "transfer.report",
} | dict.fromkeys(
    (
        "AuthenticationError",
        "WrongCode",
        "WrongKey",
        "CannotConnect",
        "ConnectionClosed",
        "ConnectionLost",
        "ExitCode",
        "FileFailed",
        "IntegrityError",
        "KeyFileError",
        "LimitExceeded",
        "NameTaken",
        "NoSpace",
        "NotAllowed",
        "NotSerializable",
        "ObjxferError",
        "PeerError",
        "ProtocolMismatch",
        "ReceiptMissing",
        "RefusedByPeer",
        "RuleError",
        "Timeout",
        "UnsafePath",
    ),
    "errors",
)

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'objxfer' has no attribute {name!r}")
    value: object = getattr(import_module(f"objxfer.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
