"""``pickle`` and ``cloudpickle``: any object, from bytes with a proof, and only from those.

Loading a pickle runs what its maker chose. So these serialisers load nothing but ``Verified``, and
with ``classes`` nothing but what is named there, exactly. That narrows; it is no sandbox: what is
named is called with arguments the peer chose, and memory is not bounded by the pickle's size.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from collections.abc import Collection, Iterator
from typing import Any, Final, Literal

from objxfer.errors import NotAllowed, NotSerializable, ObjxferError, PeerError
from objxfer.security.sealing import Verified
from objxfer.serializers.base import IN_BAND, Buffer, check_classes
from objxfer.serializers.trail import (
    ATTRIBUTE,
    ITEM,
    NTH,
    ROOT,
    Step,
    described,
    path_of,
)

_PROTOCOL: Final = 5
_TRIALS: Final = 1000


class Pickle:
    """Whatever the standard library pickles.

    Buffers of 64 KiB and more that offer themselves (PEP 574: numpy's contiguous arrays do,
    ``bytes`` do not) are not copied. Threads: any, as far as the pickled classes allow it.
    """

    name: str = "pickle"
    executes: Literal[True] = True
    _hint: str = 'serializer="cloudpickle" also holds functions and classes of __main__'

    def dump(self, obj: Any, /) -> tuple[bytes, list[Buffer]]:
        """See ``ExecutingSerializer``; the path of what cannot be pickled is searched for."""
        stream = io.BytesIO()
        buffers: list[Buffer] = []
        error = self._dump(obj, stream, buffers)
        if error is not None:
            raise self._refusal(obj, error) from error
        return stream.getvalue(), buffers

    def load(self, verified: Verified, /, *, classes: Collection[str] | None) -> Any:
        """See ``ExecutingSerializer``.

        With ``classes``, list what the pickle names beside your own classes, such as numpy's
        functions that rebuild arrays; ``NotAllowed`` tells which. ``UnpicklingError`` and
        ``EOFError`` become ``PeerError``; other errors of a malformed pickle cannot be told from
        those that loaded code raises, and pass unchanged.
        """
        if not isinstance(verified, Verified):
            raise TypeError(f"{self.name} loads Verified, nothing else")
        check_classes(classes)
        allowed = None if classes is None else frozenset(classes)
        if allowed is not None:
            # What another load left there would be handed out without being asked for by name.
            copyreg.clear_extension_cache()
        try:
            return _Unpickler(verified, allowed).load()
        except ObjxferError:
            raise
        except (pickle.UnpicklingError, EOFError, MemoryError) as error:
            raise PeerError(f"{self.name}: malformed") from error

    def _pickler(self, stream: io.BytesIO, buffer_callback: Any) -> pickle.Pickler:
        return pickle.Pickler(stream, _PROTOCOL, buffer_callback=buffer_callback)

    def _dump(self, obj: object, stream: io.BytesIO, buffers: list[Buffer]) -> Exception | None:
        def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
            try:
                raw = buffer.raw()
            except BufferError:
                return True
            if raw.nbytes < IN_BAND:
                return True
            buffers.append(raw)
            return False

        try:
            self._pickler(stream, keep_in_band).dump(obj)
        except Exception as error:  # noqa: BLE001  the object's own __reduce__ may raise anything
            return error
        return None

    def _refusal(self, obj: object, error: Exception) -> NotSerializable:
        """Return the error for the innermost part that cannot be pickled, found by trying."""
        trail: list[Step] = [(None, ROOT, "")]
        seen = {id(obj)}
        trials = 0
        parts = _parts(obj)
        while trials < _TRIALS and (step_and_part := next(parts, None)) is not None:
            step, part = step_and_part
            if id(part) in seen:
                continue
            seen.add(id(part))
            trials += 1
            failed = self._dump(part, io.BytesIO(), [])
            if failed is not None:
                trail.append(step)
                obj, error, parts = part, failed, _parts(part)
        path = path_of(trail)
        return NotSerializable(
            f"{path} is {described(obj)}, which {self.name} cannot hold: {error}",
            path=path,
            hint=self._hint,
        )


class CloudPickle(Pickle):
    """What pickle holds, and functions and classes of ``__main__``, by value.

    Both sides need cloudpickle and the same Python x.y. With ``classes``, list what it names too.
    """

    name = "cloudpickle"
    _hint = ""

    def _pickler(self, stream: io.BytesIO, buffer_callback: Any) -> pickle.Pickler:
        import cloudpickle

        pickler: pickle.Pickler = cloudpickle.Pickler(
            stream, _PROTOCOL, buffer_callback=buffer_callback
        )
        return pickler


class _Unpickler(pickle.Unpickler):
    """Looks up names only after comparing them, as a whole, with those that are allowed."""

    def __init__(self, verified: Verified, allowed: frozenset[str] | None) -> None:
        super().__init__(io.BytesIO(verified.head), fix_imports=False, buffers=verified.buffers)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}:{name}"
        if self._allowed is not None and full not in self._allowed:
            raise NotAllowed(
                f"a received object needs {full!a}, which is not among the accepted classes",
                hint="accept it with classes=[…] if you trust what it does",
            )
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError) as error:
            raise NotAllowed(
                f"a received object needs {full!a}, which is not here: {error}"
            ) from error

    def persistent_load(self, pid: Any) -> Any:
        raise NotAllowed("a received object refers to something outside of it")


def _parts(obj: object) -> Iterator[tuple[Step, object]]:
    """Yield what an object consists of, as far as that can be told from outside."""
    if isinstance(obj, dict):
        yield from (((obj, NTH, index), key) for index, key in enumerate(obj))
        yield from (((obj, ITEM, key), value) for key, value in obj.items())
    elif isinstance(obj, (list, tuple)):
        yield from (((obj, ITEM, index), item) for index, item in enumerate(obj))
    elif isinstance(obj, (set, frozenset)):
        yield from (((obj, NTH, index), item) for index, item in enumerate(obj))
    attributes = dict(getattr(obj, "__dict__", {}))
    for cls in type(obj).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(obj, name):
                attributes[name] = getattr(obj, name)
    yield from (((obj, ATTRIBUTE, name), value) for name, value in attributes.items())


PICKLE: Final = Pickle()
CLOUDPICKLE: Final = CloudPickle()
