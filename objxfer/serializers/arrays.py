"""numpy's arrays and scalars, taken apart into a dtype, a shape, an order and bytes.

numpy is used only where it is there already: when dumping, if the program has imported it; when
loading, once an array arrives. A dtype is written as a string (``"<f8"``), a list of base and
shape for a sub-array, or a dict of its fields; types of objects have no form.
"""

from __future__ import annotations

import math
import re
import sys
from typing import TYPE_CHECKING, Any, Final

from objxfer.errors import NotAllowed
from objxfer.serializers.base import IN_BAND, Buffer, writable

if TYPE_CHECKING:
    import numpy

_FORMAT: Final = re.compile(r"[<>|][biufcmMSUV][0-9]{1,10}(\[[0-9]*[a-zA-Zμ]{1,7}\])?")
_DIMENSIONS: Final = 64
_SIZE: Final = 2**63


class NoFormError(Exception):
    """An array or scalar cannot be held exactly; the text says what it is."""


def is_array(kind: type) -> bool:
    """Tell whether a type is numpy's array, and no subclass."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and kind is numpy.ndarray


def is_scalar(kind: type) -> bool:
    """Tell whether a type is one of numpy's own scalars."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and issubclass(kind, numpy.generic) and kind.__module__ == "numpy"


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise NotAllowed(
            "a received object holds a numpy array, and numpy is not installed here",
            hint="install numpy, or send lists",
        ) from error
    return numpy


def array_parts(array: numpy.ndarray[Any, Any]) -> tuple[Any, list[int], str, Buffer]:
    """Return dtype, shape, order (``C`` or ``F``) and bytes; not copied if contiguous and large.

    Raises:
        NoFormError: the array holds objects, or its dtype cannot be written exactly.
    """
    form = _dtype_form(array.dtype, "a numpy.ndarray")
    if array.flags.c_contiguous:
        order, packed = "C", array
    elif array.flags.f_contiguous:
        order, packed = "F", array.T
    else:
        order, packed = "C", array.copy(order="C")
    small = array.nbytes < IN_BAND
    data = packed.tobytes() if small else packed.reshape(-1).view("u1").data
    return form, list(array.shape), order, data


def build_array(form: object, shape: object, order: object, data: Buffer) -> Any:
    """Return the array of these parts, over the memory of ``data`` if that is writable.

    Raises:
        ValueError, TypeError: the parts do not fit together.
        NotAllowed: numpy is not installed.
    """
    numpy = _numpy()
    dtype = _dtype(numpy, form)
    if not (
        type(shape) is list
        and len(shape) <= _DIMENSIONS
        and all(type(length) is int and 0 <= length < _SIZE for length in shape)
        and order in ("C", "F")
    ):
        raise ValueError("no shape or order of an array")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError("an array's bytes are not what its shape takes")
    return numpy.ndarray(tuple(shape), dtype, buffer=writable(data), order=order)


def scalar_parts(scalar: numpy.generic) -> tuple[Any, str | bytes]:
    """Return dtype and bytes of a scalar; of a ``numpy.str_`` the text.

    Raises:
        NoFormError: it cannot be held exactly.
    """
    # Texts may end in NULs, which item() and arrays drop.
    if isinstance(scalar, str):
        return "U", str.__str__(scalar)
    if isinstance(scalar, bytes):
        return "S", bytes.__bytes__(scalar)
    form = _dtype_form(scalar.dtype, "a numpy scalar")
    if _dtype(_numpy(), form).type is not type(scalar):
        raise NoFormError(f"a numpy scalar of {type(scalar).__name__}, another name for {form}")
    return form, scalar.tobytes()


def build_scalar(form: object, data: object) -> Any:
    """Return the scalar of these parts.

    Raises:
        ValueError, TypeError: the parts do not fit together.
        NotAllowed: numpy is not installed.
    """
    if form == "U" and type(data) is str:
        return _numpy().str_(data)
    if form == "S" and type(data) is bytes:
        return _numpy().bytes_(data)
    if type(data) is not bytes:
        raise TypeError("a scalar without bytes")
    return build_array(form, [], "C", data)[()]


def _dtype_form(dtype: Any, owner: str) -> Any:
    """Return how a dtype is written, having checked that this reads back as the same."""
    if dtype.hasobject:
        raise NoFormError(f"{owner} of objects")
    form = _written(dtype)
    try:
        again = _dtype(_numpy(), form)
    except (TypeError, ValueError):
        again = None
    # A numpy.record equals its plain form, but is more.
    if again is None or again != dtype or (dtype.kind == "V" and again.type is not dtype.type):
        raise NoFormError(f"{owner} of dtype {dtype}")
    return form


def _written(dtype: Any) -> Any:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_written(base), list(shape)]
    if dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        return {
            "names": list(dtype.names),
            "formats": [_written(field[0]) for field in fields],
            "offsets": [field[1] for field in fields],
            "itemsize": dtype.itemsize,
            "aligned": dtype.isalignedstruct,
        }
    return dtype.str


def _dtype(numpy: Any, form: Any) -> Any:
    """Return the dtype that is written so; ``ValueError`` or ``TypeError`` if none is."""
    if type(form) is str and _FORMAT.fullmatch(form):
        # Only these strings: numpy would evaluate others, and "O" is an object.
        dtype = numpy.dtype(form)
    elif type(form) is list and len(form) == 2 and type(form[1]) is list:
        dtype = numpy.dtype((_dtype(numpy, form[0]), tuple(form[1])))
    elif type(form) is dict:
        fields = {part: form[part] for part in ("names", "offsets", "itemsize", "aligned")}
        fields["formats"] = [_dtype(numpy, each) for each in form["formats"]]
        dtype = numpy.dtype(fields)
    else:
        raise ValueError("no dtype of an array")
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError("a dtype of objects, or of nothing")
    return dtype
