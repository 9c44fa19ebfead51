"""Renaming without replacing, for file systems that have no hard links (FAT, some networks).

Imported only where ``os.link`` failed, because of ``ctypes``.
"""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

_RENAME_NOREPLACE: Final = 1  # renameat2(2)


def rename_new(old: bytes, new: bytes, folder: int) -> None:
    """Rename within a folder, given as a descriptor, if nothing lies under the new name.

    Raises:
        FileExistsError: something does.
        OSError: it cannot be done; ENOTSUP where the system or file system does not know how.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise OSError(errno.ENOTSUP, "this system cannot rename without replacing")
    if rename(folder, old, folder, new, ctypes.c_uint(_RENAME_NOREPLACE)) != 0:
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOSYS):
            raise OSError(
                errno.ENOTSUP, "this file system can neither link nor rename without replacing"
            )
        raise OSError(number, os.strerror(number))
