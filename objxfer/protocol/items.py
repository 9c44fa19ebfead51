"""One live item, as its two sides' messages move it from state to state."""

from __future__ import annotations

from dataclasses import dataclass

from objxfer.protocol.chunks import Type
from objxfer.protocol.messages import Message
from objxfer.protocol.states import ANSWERS, LEGAL, Side, State
from objxfer.protocol.trees import Pack


@dataclass(slots=True)
class Item:
    """What both sides know of a live item."""

    opener: State
    target: State
    credit: int
    """Bytes the opener may still send."""
    data: int = 0
    """Bytes of data the opener has sent."""
    dropped: bool = False
    """We aborted it: what still comes of it is checked and thrown away."""

    @property
    def over(self) -> bool:
        """Whether neither side may say anything more."""
        return self.opener is State.CLOSED and self.target is State.CLOSED

    def of(self, side: Side) -> State:
        """Return the state of one side."""
        return self.opener if side is Side.OPENER else self.target

    def takes(self, side: Side, kind: Type) -> bool:
        """Tell whether a message of this type is legal from this side now."""
        said = self.of(side)
        return kind in LEGAL.get((side, said), ()) or (
            kind is Type.ABORT and said is not State.CLOSED
        )

    def advance(self, side: Side, message: Message) -> None:
        """Move both states along by a message, which is legal, that one side says."""
        kind = message.type
        assert self.takes(side, kind), f"{kind.name} while {self.of(side).name}"
        after: State | None
        if kind is Type.ABORT:
            after = State.CLOSED
        elif isinstance(message, Pack) and not message.size:
            after = State.OPEN
        else:
            after = LEGAL[side, self.of(side)][kind]
        moved = ANSWERS.get((side, kind), {})
        if side is Side.OPENER:
            self.opener = after or self.opener
            self.target = moved.get(self.target, self.target)
        else:
            self.target = after or self.target
            self.opener = moved.get(self.opener, self.opener)
