"""Landlock: what the kernel lets this process do with files, for good, whatever happens to it later (landlock(7)).

The three system calls by their numbers, which are the same on all architectures since Linux 5.1; the C library has no names for
them. A restriction holds for the calling thread and for all that it starts, so it is set before there are any others.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _RULE_PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_OF_ABI_1 = (1 << 13) - 1  # everything that the first version knows, from EXECUTE to MAKE_SYM
_REFER, _TRUNCATE = 1 << 13, 1 << 14  # since version 2, since version 3
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE  # what a rule on a file, and not a directory, may name

# The first version that lets a file be moved, or linked, from one directory to another. Everything that arrives is.
MIN_ABI = 2

READ = _READ_FILE | _READ_DIR | _EXECUTE
READ_WRITE = (_OF_ABI_1 | _REFER | _TRUNCATE) & ~(1 << 6 | 1 << 11)  # no devices made: MAKE_CHAR, MAKE_BLOCK


def abi_version() -> int:
    """Return which version of Landlock the kernel has; 0 for none, or if it is switched off."""
    return max(0, _syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG))


def restrict(readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """Keep this thread, and what it starts, to these files and directories. What does not exist is left out.

    Raises OSError if the kernel refuses; nothing is restricted then.
    """
    handled = _OF_ABI_1 | (_REFER if abi_version() >= 2 else 0) | (_TRUNCATE if abi_version() >= 3 else 0)
    attributes = struct.pack("Q", handled)
    ruleset = _checked(_syscall(_CREATE_RULESET, ctypes.create_string_buffer(attributes, len(attributes)), len(attributes), 0))
    try:
        for paths, access in ((readable, READ), (writable, READ_WRITE)):
            for path in paths:
                _allow(ruleset, path, access & handled)
        _checked(_libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(_syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        rule = struct.pack("=Qi", access if path.is_dir() else access & _ON_FILES, fd)
        _checked(_syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.create_string_buffer(rule, len(rule)), 0))
    finally:
        os.close(fd)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: object) -> int:
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return int(_libc().syscall(ctypes.c_long(number), *words))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
