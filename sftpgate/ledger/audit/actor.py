"""Who acts: the type that every event of the record has, made where an act begins and written as text here alone.

A sender is a user of SFTP; a command and a runner are a local account of this machine; the system is the gate itself. The
text of a record says which of them it was, whatever a sender is called: no user's name has a ``:`` or a ``?``, and the one
name that would read as the gate itself is written with its role. Records of earlier versions have the same texts.

A command of root goes on as the store's owner (``app/context.py``), so the account is remembered before that. If the
kernel knows who logged in (``loginuid``, which outlives ``sudo`` and ``su``), that is said too. Does not block, and
imports no database.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

_UNSET = 2**32 - 1  # what the kernel says if nobody logged in: a service, a container


class Role(StrEnum):
    """What somebody is who acts. The values are how a text begins that has a name behind a colon."""

    SENDER = "user"
    COMMAND = "cli"
    RUNNER = "runner"
    SYSTEM = "system"
    STRANGER = "?"  # who has not logged in, or gives a name that no user can have


_LOCAL = (Role.COMMAND, Role.RUNNER)
_NAMELESS = (Role.SYSTEM, Role.STRANGER)


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who acts. ``name`` is a user's, or a local account as ``local_account`` has it; empty for the others."""

    role: Role
    name: str = ""

    def __str__(self) -> str:
        """Return the text of the record: ``erp``, ``cli:root(0)``, ``runner:www-data(33)``, ``system`` or ``?``."""
        if self.role in _NAMELESS:
            return self.role.value
        if self.role is Role.SENDER and self.name not in _NAMELESS:
            return self.name
        return f"{self.role.value}:{self.name}"

    @property
    def person(self) -> str:
        """Who it is, whatever account it acts with: ``alice(1000)`` for ``cli:root(0) as alice(1000)``. Two texts that differ
        are two people.
        """
        return self.name.rpartition(" as ")[2] if self.role in _LOCAL else str(self)

    @classmethod
    def parse(cls, text: str) -> Actor:
        """Return the actor that ``str`` made ``text`` of."""
        role, colon, name = text.partition(":")
        if text in _NAMELESS:
            return cls(Role(text))
        if colon and (role in _LOCAL or name in _NAMELESS):
            return cls(Role(role), name)
        return cls(Role.SENDER, text)


SYSTEM = Actor(Role.SYSTEM)
STRANGER = Actor(Role.STRANGER)


def sender(user: str) -> Actor:
    """Return the user of SFTP that is called ``user``, whatever that is."""
    return Actor(Role.SENDER, user)


def command() -> Actor:
    """Return the local account that a command was started from."""
    return Actor(Role.COMMAND, local_account())


def runner() -> Actor:
    """Return the local account that runs tools."""
    return Actor(Role.RUNNER, local_account())


@cache
def local_account() -> str:
    """Return the account of this process when this was first called, such as ``root(0)``, or ``root(0) as alice(1000)`` if
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
