"""The options that several commands share, and the key they ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import click

import objxfer
from objxfer.blocking.retrying import RETRIES
from objxfer.errors import KeyFileError
from objxfer.files.entries import KEEP
from objxfer.security.peers import Peers
from objxfer.transports.urls import DEFAULT_PORT, Url
from objxfer_cli import completion
from objxfer_cli.terminal import Terminal

Option = Callable[[Callable[..., Any]], Callable[..., Any]]

LISTEN: Final = "tls://"
"""All interfaces, the port of objxfer."""


def _quiet(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    ctx.find_object(Terminal).quiet |= value  # type: ignore[union-attr]  # run() put it there


def _json(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    ctx.find_object(Terminal).json |= value  # type: ignore[union-attr]  # run() put it there


def _log_json(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_object(Terminal).keep_log()  # type: ignore[union-attr]  # run() put it there


def _verbose(ctx: click.Context, _option: click.Parameter, value: int) -> None:
    ctx.find_object(Terminal).log(value)  # type: ignore[union-attr]  # run() put it there


def _finite(_ctx: click.Context, _option: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"{value} is no such number")
    return value


quiet: Final[Option] = click.option(
    "-q", is_flag=True, expose_value=False, callback=_quiet, help="Say nothing of success."
)
verbose: Final[Option] = click.option(
    "-v", count=True, expose_value=False, callback=_verbose, help="Say what happens; -vv says how."
)
json: Final[Option] = click.option(
    "--json", is_flag=True, expose_value=False, callback=_json, help="Write JSON lines to stdout."
)
log_json: Final[Option] = click.option(
    "--log-json",
    is_flag=True,
    is_eager=True,  # before -v, which then logs otherwise
    expose_value=False,
    callback=_log_json,
    help="Write the log, on stderr, as JSON lines, for programs alone.",
)
key: Final[Option] = click.option(
    "--key",
    "key_file",
    metavar="FILE",
    shell_complete=completion.files,
    help="Use this key, not the one in the default file.",
)
insecure: Final[Option] = click.option(
    "--insecure", is_flag=True, help="Use no key: whoever is there is trusted."
)
listen: Final[Option] = click.option(
    "--listen",
    "url",
    metavar="URL",
    shell_complete=completion.among("tls://", "tcp://"),
    default=LISTEN,
    help="Listen there: tls://[HOST][:PORT] or tcp://…; all interfaces, port 6259.",
)
timeout: Final[Option] = click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    callback=_finite,
    default=30.0,
    help="Give up after so long without a sign of life inside a delivery; 30.",
)
keep_partial: Final[Option] = click.option(
    "--keep-partial",
    metavar="DAYS",
    type=click.FloatRange(min=0),
    callback=_finite,
    default=KEEP,
    help="Keep files that were cut off for so long, to go on with; 7, and 0 keeps none.",
)


def _retries(_ctx: click.Context, _option: click.Parameter, value: str) -> int | None:
    if value == "forever":
        return None
    if not (value.isascii() and value.isdecimal()):
        raise click.BadParameter(f"{value!r} is neither a number nor forever")
    return int(value)


def retry(words: str) -> Option:
    """Return ``--retry``: how often a lost connection is tried again, None for ever."""
    return click.option(
        "--retry",
        "retries",
        metavar="N|forever",
        callback=_retries,
        default=str(RETRIES),
        help=words,
    )


def if_exists(words: str) -> Option:
    """Return ``--if-exists``, which has a default where this side decides."""
    return click.option(
        "--if-exists", type=click.Choice(["rename", "skip", "replace", "fail"]), help=words
    )


def short(url: str) -> str:
    """Return a URL as it is typed: without the port that needs no naming."""
    return url.removesuffix(f":{DEFAULT_PORT}")


def find_key(key_file: str | None, *, insecure: bool) -> objxfer.Key | None:
    """Return the key of a command: the one that is named, or the default one if it is there.

    Raises:
        click.UsageError: a key is named together with ``--insecure``.
        KeyFileError: a file that is there, or was named, is no good.
    """
    if not insecure:
        return objxfer.Key.find(key_file)
    if key_file is not None:
        raise click.UsageError("--key and --insecure contradict each other")
    return None


def find_peers(terminal: Terminal, url: str, *, insecure: bool) -> Peers | None:
    """Return the peers that may come to a URL, or None where there are none.

    What is wrong with one of them is a warning: it keeps no other out.
    """
    if insecure or not Url.listening(url).encrypted:
        return None
    peers = objxfer.peers()
    damaged: list[KeyFileError] = []
    try:
        found, damaged = peers.survey()
        own = peers.own_id() if found else b""
    except KeyFileError as error:
        found, damaged, own = [], [*damaged, error], b""
    for peer in found:
        if peer.pair.own != own:
            terminal.warning(
                f"not let in: {peer.name} knows this machine by another id; pair again"
            )
    for each in damaged:
        terminal.warning(f"not let in: {each}")
    return peers if found else None


def warn_of_no_key(terminal: Terminal, *, insecure: bool) -> None:
    """Say loudly what ``--insecure`` means."""
    if insecure:
        terminal.warning("--insecure: nobody proves who they are")
