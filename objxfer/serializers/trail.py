"""Where in an object a serialiser is, and how deep.

A trail is the list of steps from the object down to the part at hand. It becomes a path, as in
``obj["job"].weights[3]``, only when something has to be said about that part.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, Final, TypeAlias

from objxfer.errors import LimitExceeded, NotSerializable, ObjxferError

Step: TypeAlias = tuple[object, str, object]
"""The container, how one of its parts is written, and the key of that part."""

ROOT: Final = "obj"
ITEM: Final = "{}[{}]"
NTH: Final = "list({})[{}]"
"""For what has no key: the keys of a dict, the elements of a set."""
ATTRIBUTE: Final = "{}.{}"

_KEY_SIZE: Final = 60


def path_of(trail: Iterable[Step]) -> str:
    """Return the path that a trail leads along, as an expression over ``obj``."""
    path = ""
    for _, written, key in trail:
        path = written.format(path, key if written is ATTRIBUTE else _key_text(key))
    return path


def _key_text(key: object) -> str:
    text = json.dumps(key) if type(key) is str else reprlib.repr(key)
    return text if len(text) <= _KEY_SIZE else text[:_KEY_SIZE] + "…"


def described(obj: object) -> str:
    """Return the type of an object with its article, as in "an app.models.Job"."""
    cls = type(obj)
    name = cls.__qualname__
    if cls.__module__ != "builtins":
        name = f"{cls.__module__}.{name}"
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def refusal(
    serializer: str, trail: Iterable[Step], what: str, *, hint: str = ""
) -> NotSerializable:
    """Return the error that says that the part at hand, a ``what``, does not fit."""
    path = path_of(trail)
    return NotSerializable(
        f"{path} is {what}, which {serializer} cannot hold exactly.", path=path, hint=hint
    )


def too_deep(serializer: str, trail: Sequence[Step], limit: int) -> ObjxferError:
    """Return the error for a trail longer than the limit: ``NotSerializable`` for a cycle."""
    seen: set[int] = set()
    for index, (container, _, _) in enumerate(trail):
        if id(container) in seen:
            return refusal(serializer, trail[:index], "a container of itself")
        seen.add(id(container))
    return LimitExceeded(f"the object is nested more than {limit} levels deep")


def check_depth(
    obj: object,
    limit: int,
    containers: Container[type],
    parts: Callable[[Any], Iterable[object]],
) -> None:
    """Check how deep an object without cycles is nested, level by level, without recursion.

    Args:
        obj: the object.
        limit: containers inside containers, at the most.
        containers: the types of what has parts.
        parts: the parts of a container.

    Raises:
        LimitExceeded: it is nested deeper.
    """
    level = [obj] if type(obj) in containers else []
    for _ in range(limit):
        if not level:
            return
        level = [part for each in level for part in parts(each) if type(part) in containers]
    if level:
        raise LimitExceeded(f"the object is nested more than {limit} levels deep")


def parts_of_plain(container: Any) -> Iterable[object]:
    """Return the parts of a list, or of a dict whose keys have none."""
    return container.values() if type(container) is dict else container
