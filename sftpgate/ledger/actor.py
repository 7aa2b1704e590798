"""Who acts on this machine: the local account that a command was started from, for the record.

A command of root goes on as the store's owner (``cli/context.py``), so the account is remembered before that. Where the
kernel knows who logged in (``loginuid``, which outlives ``sudo`` and ``su``), that is said too. Does not block, and
imports no database.
"""

from __future__ import annotations

import os
import pwd
from functools import cache
from pathlib import Path

_UNSET = 2**32 - 1  # what the kernel says where nobody logged in: a service, a container


@cache
def local_account() -> str:
    """The account of this process when this was first called, such as ``root(0)``, or ``root(0) as alice(1000)`` where
    alice became root.
    """
    account = _named(os.getuid())
    login = _login_uid()
    return account if login in (None, os.getuid()) else f"{account} as {_named(login)}"


def _login_uid() -> int | None:
    try:
        uid = int(Path("/proc/self/loginuid").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return None if uid == _UNSET else uid


def _named(uid: int | None) -> str:
    assert uid is not None
    try:
        return f"{pwd.getpwuid(uid).pw_name}({uid})"
    except KeyError:
        return f"?({uid})"
