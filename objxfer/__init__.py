"""Moves files, folders, streams and Python objects from one process to another.

The public names; each is imported when it is first used, and nothing heavy before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from objxfer.blocking.connecting import connect
    from objxfer.blocking.connection import Connection
    from objxfer.blocking.listener import Listener, listen
    from objxfer.blocking.serving import Server, Watcher, serve
    from objxfer.blocking.shortcuts import push, send
    from objxfer.blocking.waiting import wait
    from objxfer.errors import (
        AuthenticationError,
        Cancelled,
        CannotConnect,
        ConnectionClosed,
        ConnectionLost,
        ExitCode,
        FileFailed,
        IntegrityError,
        KeyFileError,
        LimitExceeded,
        NoSpace,
        NotAllowed,
        NotSerializable,
        ObjxferError,
        PeerError,
        ProtocolMismatch,
        ReceiptMissing,
        RefusedByPeer,
        Timeout,
        UnsafePath,
    )
    from objxfer.files.entries import IfExists
    from objxfer.limits import Limits
    from objxfer.security.keys import Key, Keyring
    from objxfer.serializers.base import Serializer, register
    from objxfer.serializers.classes import register_class
    from objxfer.transfer.progress import Progress, Tally
    from objxfer.transfer.report import EntryReport, Outcome, Report

__version__ = "0.1.0"

_HOMES: Final = {
    "connect": "blocking.connecting",
    "Connection": "blocking.connection",
    "Listener": "blocking.listener",
    "listen": "blocking.listener",
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
        "Cancelled",
        "CannotConnect",
        "ConnectionClosed",
        "ConnectionLost",
        "ExitCode",
        "FileFailed",
        "IntegrityError",
        "KeyFileError",
        "LimitExceeded",
        "NoSpace",
        "NotAllowed",
        "NotSerializable",
        "ObjxferError",
        "PeerError",
        "ProtocolMismatch",
        "ReceiptMissing",
        "RefusedByPeer",
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
