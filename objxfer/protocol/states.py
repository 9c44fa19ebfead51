"""When which message is legal: everything about the states of an item lies in this file.

An item has two sides. The opener is the side that opened it, the target the other; this file
does not know which of them we are, so what we send and what we are sent obey the same tables.
A message of a side is legal if the table has it for that side's state; it leads to the state
behind it; how an item begins is in ``OPENED``. Some messages also move the other side
(``ANSWERS``): an accepted offer lets the opener announce. An item is over when both sides are
``CLOSED``.

``ABORT`` is legal in every state but ``CLOSED`` and closes its side. The other side then closes
by whatever ends it anyway, or by an ``ABORT`` of its own.
"""

from __future__ import annotations

from enum import IntEnum, auto
from typing import Final

from objxfer.protocol.chunks import Type


class Side(IntEnum):
    """Whose message it is."""

    OPENER = auto()
    TARGET = auto()


class State(IntEnum):
    """What one side of an item may say next."""

    BODY = auto()
    """The opener owes the data of an object."""
    OFFERED = auto()
    """The opener waits for its offer to be accepted."""
    OPEN = auto()
    """The opener announces entries and sends what is wanted of them."""
    FLUSHED = auto()
    """The same, but it has just asked for receipts and need not again."""
    PACKED = auto()
    """The opener owes the contents of a pack."""
    IN_FILE = auto()
    """The opener is inside a large file."""
    PATCHING = auto()
    """The opener owes a node of it that differs."""
    SILENT = auto()
    """The target has nothing to say but credit: it owes no receipt."""
    HEARING = auto()
    """The same, but it will owe one once it has heard all of the object."""
    OWING = auto()
    """The target owes the receipt of an object."""
    ASKED = auto()
    """The target owes the answer to an offer."""
    ANSWERING = auto()
    """The target answers entries and sends receipts."""
    LAST = auto()
    """The same, and nothing more will come: it ends when every receipt is sent."""
    CLOSED = auto()
    """Nothing more comes from this side."""


_ANNOUNCING: Final[dict[Type, State | None]] = {
    Type.ENTRIES: State.OPEN,
    Type.PACK: State.PACKED,  # OPEN where all its files are empty
    Type.FILE: State.IN_FILE,
    Type.DONE: State.CLOSED,
}
_ANSWERING: Final[dict[Type, State | None]] = {
    Type.CREDIT: None,
    Type.WANTED: None,
    Type.RECEIPTS: None,
    Type.COMPARED: None,
}

OPENED: Final[dict[tuple[Type, bool, bool], tuple[State, State]]] = {
    # opening, all of it inside, receipt wanted: opener, target
    (Type.OBJECT, True, True): (State.CLOSED, State.OWING),
    (Type.OBJECT, False, False): (State.BODY, State.SILENT),
    (Type.OBJECT, False, True): (State.BODY, State.HEARING),
    (Type.OFFER, False, True): (State.OFFERED, State.ASKED),
}
"""The states in which an opening leaves both sides. Whole and without a receipt it is over."""

LEGAL: Final[dict[tuple[Side, State], dict[Type, State | None]]] = {
    (Side.OPENER, State.BODY): {Type.DATA: None, Type.DONE: State.CLOSED},
    (Side.OPENER, State.OFFERED): {},
    (Side.OPENER, State.OPEN): _ANNOUNCING | {Type.FLUSH: State.FLUSHED},
    (Side.OPENER, State.FLUSHED): _ANNOUNCING,
    (Side.OPENER, State.PACKED): {Type.DATA: State.OPEN},
    (Side.OPENER, State.IN_FILE): {
        Type.DATA: None,
        Type.NODES: None,
        Type.PATCH: State.PATCHING,
        Type.FILE_END: State.OPEN,
    },
    (Side.OPENER, State.PATCHING): {Type.DATA: State.IN_FILE},
    (Side.TARGET, State.SILENT): {Type.CREDIT: None},
    (Side.TARGET, State.HEARING): {Type.CREDIT: None},
    (Side.TARGET, State.OWING): {Type.CREDIT: None, Type.TAKEN: State.CLOSED},
    (Side.TARGET, State.ASKED): {Type.ACCEPT: State.ANSWERING},
    (Side.TARGET, State.ANSWERING): _ANSWERING,
    (Side.TARGET, State.LAST): _ANSWERING | {Type.DONE: State.CLOSED},
}
"""What a side may say in a state, and the state it is in then; None is the same state."""

ANSWERS: Final[dict[tuple[Side, Type], dict[State, State]]] = {
    (Side.TARGET, Type.ACCEPT): {State.OFFERED: State.OPEN},
    (Side.OPENER, Type.DONE): {
        State.SILENT: State.CLOSED,
        State.HEARING: State.OWING,
        State.ANSWERING: State.LAST,
    },
}
"""Messages of one side that move the other."""
