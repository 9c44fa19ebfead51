"""What several take at the same time, each thing of it made once while they are in step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

from objxfer.limits import MIB

T = TypeVar("T")

SIZE: Final = 32 * MIB
"""Bytes that are kept for those who are behind."""


class _Thing:
    """Something that is made, or is being made while ``making`` is held."""

    __slots__ = ("made", "making", "size", "taken", "value")

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self.made = False
        self.value: Any = None
        self.making = threading.Lock()
        self.making.acquire()


class Window:
    """Keeps what one of its members made for the others. Any thread may call any method.

    It keeps so many bytes and no more, and what came last: who is too far behind to find
    something makes it again, and nobody ever waits for who is behind.

    Args:
        members: how many there are; each is called by a number below that.
        size: the bytes.
    """

    def __init__(self, members: int, size: int = SIZE) -> None:
        self._room = size
        self._members = (1 << members) - 1
        self._things: dict[Hashable, _Thing] = {}
        self._lock = threading.Lock()

    def take(
        self, member: int, key: Hashable, size: int, make: Callable[[], T], *, done: bool = True
    ) -> T:
        """Return a thing, and make it if nobody else has or does.

        Args:
            member: who takes it.
            key: what it is called.
            size: how much of the window it takes.
            make: makes it; what it raises is raised here, and to nobody else.
            done: the member does not come for it again; if not, it says so with ``done_with``.
        """
        while True:
            with self._lock:
                thing = self._things.get(key)
                ours = thing is None
                if thing is None:
                    thing = self._things[key] = _Thing(size)
                    self._room -= size
                if done:
                    self._tick(member, key, thing)
                if ours:
                    self._make_room()
            if ours:
                return self._made(key, thing, make)
            with thing.making:
                if thing.made:
                    value: T = thing.value
                    return value

    def done_with(self, member: int, key: Hashable) -> None:
        """Say that a member does not come for a thing again."""
        with self._lock:
            thing = self._things.get(key)
            if thing is not None:
                self._tick(member, key, thing)

    def leave(self, member: int) -> None:
        """Say that a member takes nothing any more."""
        with self._lock:
            self._members &= ~(1 << member)
            for key, thing in list(self._things.items()):
                self._tick(member, key, thing)

    def _made(self, key: Hashable, thing: _Thing, make: Callable[[], T]) -> T:
        try:
            value = thing.value = make()
            thing.made = True
        except BaseException:
            with self._lock:
                self._drop(key, thing)
            raise
        finally:
            thing.making.release()
        return value

    def _tick(self, member: int, key: Hashable, thing: _Thing) -> None:
        """Note that a member has had a thing; who has it in hand keeps it."""
        thing.taken |= 1 << member
        if thing.taken & self._members == self._members:
            self._drop(key, thing)

    def _make_room(self) -> None:
        while self._room < 0 and self._things:
            key = next(iter(self._things))
            self._drop(key, self._things[key])

    def _drop(self, key: Hashable, thing: _Thing) -> None:
        if self._things.get(key) is thing:
            del self._things[key]
            self._room += thing.size
