"""One vector, and how it lies in its file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Case:
    """One vector."""

    name: str
    what: str
    kind: str
    expect: str
    data: bytes
    released: str = ""
    about: list[tuple[str, str]] = field(default_factory=list)

    def text(self) -> str:
        """The file."""
        lines = [("what", self.what), ("kind", self.kind), *self.about]
        lines += [("expect", self.expect), ("released", self.released)]
        head = "".join(f"{name}: {value}".rstrip() + "\n" for name, value in lines)
        digits = self.data.hex()
        body = "".join(digits[at : at + 96] + "\n" for at in range(0, len(digits), 96))
        return head + "\n" + body


def said_in(**fields: Any) -> str:
    """What a message holds, as a vector shows it."""
    return json.dumps(fields)
