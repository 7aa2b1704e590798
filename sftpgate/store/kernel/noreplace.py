"""A rename that never replaces: ``renameat2(2)`` with RENAME_NOREPLACE, which Python does not have.

One act for the kernel: the file is at its old name or at the new one, never at both, and what has the new name already
stays. Blocks like a rename.
"""

from __future__ import annotations

import ctypes
import errno
import os

_RENAME_NOREPLACE = 1  # linux/fs.h
_CANNOT = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})

_libc = ctypes.CDLL(None, use_errno=True)


def rename_noreplace(source: str, target: str, *, source_directory: int, target_directory: int) -> bool:
    """Give the file ``source`` the name ``target``, both in open directories. Raises FileExistsError, or another OSError.

    False, and nothing is done, if the C library or the filesystem has no such act (NFS, for one).
    """
    call = getattr(_libc, "renameat2", None)
    number = errno.ENOSYS
    if call is not None:
        arguments = (source_directory, os.fsencode(source), target_directory, os.fsencode(target), _RENAME_NOREPLACE)
        if call(*arguments) == 0:
            return True
        number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number))
