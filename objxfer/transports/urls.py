"""Where to connect to and where to listen, as it is typed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from objxfer.errors import ExitCode, ObjxferError

DEFAULT_PORT: Final = 6259

Scheme = Literal["tls", "tcp"]

_SHAPE: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?:\[(?P<bracketed>[^]/]*)\]|(?P<host>[\w.-]*))"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?:/(?P<folder>.*))?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Url:
    """``tls://HOST[:PORT][/FOLDER]`` or ``tcp://…``; ``str`` gives it back, with the port.

    The scheme alone decides about encryption. There is no user, query or fragment, and
    nothing is escaped: all that follows the first slash is the folder, taken literally.
    """

    scheme: Scheme
    host: str
    """A name or an address, without brackets; "" stands for all interfaces, when listening."""
    port: int = DEFAULT_PORT
    """0 stands for any free one, when listening."""
    folder: bytes = b""
    """Below the receiving folder; components joined by ``/``. Not yet checked."""

    @classmethod
    def target(cls, text: str) -> Url:
        """Read what names a peer to connect to.

        Raises:
            ObjxferError: it is no such URL (exit code ``USAGE``); the hint has the right form.
        """
        url = _parse(text, "target")
        if not url.host:
            raise _usage(f"{text!r} names no host", hint=f"write {url.scheme}://HOST")
        if not url.port:
            raise _usage(f"{text!r}: there is no port 0", hint="leave the port out, or name one")
        return url

    @classmethod
    def listening(cls, text: str) -> Url:
        """Read what names the interfaces and the port to listen on.

        Raises:
            ObjxferError: it is no such URL (exit code ``USAGE``); the hint has the right form.
        """
        url = _parse(text, "URL to listen on")
        if url.folder:
            raise _usage(
                f"{text!r}: a URL to listen on has no folder",
                hint="the receiving folder is named on its own",
            )
        return url

    @property
    def encrypted(self) -> bool:
        """Whether the scheme asks for TLS."""
        return self.scheme == "tls"

    @property
    def address(self) -> str:
        """The URL without its folder: whom one talks to."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        if not self.folder:
            return self.address
        return f"{self.address}/{self.folder.decode('utf-8', 'surrogateescape')}"


def _parse(text: str, what: str) -> Url:
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        if "://" in text:
            raise _usage(f"{text!r} is no {what}", hint="write tls://HOST[:PORT][/FOLDER]")
        raise _usage(f"{text!r} is no {what}: it has no scheme", hint=f"write tls://{text}")
    match shape["scheme"].lower():
        case "tls" | "tcp" as scheme:
            pass
        case _:
            raise _usage(f"{text!r} is no {what}: its scheme is unknown", hint="write tls:// …")
    if shape["bracketed"] is not None and not _is_ipv6(shape["bracketed"]):
        raise _usage(f"{text!r}: there is no IPv6 address in the brackets")
    port = int(shape["port"] or DEFAULT_PORT)
    if port > 65535:
        raise _usage(f"{text!r}: ports end at 65535")
    try:
        folder = (shape["folder"] or "").encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise _usage(f"{text!r}: the folder is no text") from None
    return Url(
        scheme=scheme, host=shape["bracketed"] or shape["host"] or "", port=port, folder=folder
    )


def _is_ipv6(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _usage(message: str, *, hint: str = "") -> ObjxferError:
    return ObjxferError(message, hint=hint, exit_code=ExitCode.USAGE)
