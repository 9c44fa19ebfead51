"""Text that somebody else made, as it can be shown."""

from __future__ import annotations


def escaped(text: str) -> str:
    r"""Return text of which nothing acts on a terminal: all but printable characters as escapes.

    Control and format characters (those that turn the direction of writing among them), line
    separators and unpaired surrogates are written as in a Python string; a byte that is not
    UTF-8, kept by ``surrogateescape``, as ``\xff``.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(one: str) -> str:
    if "\udc80" <= one <= "\udcff":
        return f"\\x{ord(one) - 0xDC00:02x}"
    return one.encode("unicode_escape").decode("ascii")
