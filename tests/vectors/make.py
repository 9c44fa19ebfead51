"""Writes the vectors: ``cd tests; python -m vectors.make``. ``README.md`` gives their format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vectors.case import Case
from vectors.hellos import handshakes, hellos
from vectors.messages import headers, messages
from vectors.sessions import sessions
from vectors.trusts import trusts


def cases() -> Iterator[Case]:
    """All vectors."""
    yield from hellos()
    yield from handshakes()
    yield from trusts()
    yield from headers()
    yield from messages()
    yield from sessions()


def main(folder: Path) -> None:
    """Write all vectors and remove what is none of them."""
    texts = {f"{case.name}.txt": case.text() for case in cases()}
    for path in folder.glob("*.txt"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(__file__).parent)
