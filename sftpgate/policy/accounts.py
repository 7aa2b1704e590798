"""What a user may be called, and where its home may lie.

Pure. A user's name is a directory in the keys directory and a value in logs and reports; a home is a directory in the drop.
"""

from __future__ import annotations

import re

from sftpgate.errors import NameRefused
from sftpgate.policy.managed import is_reserved
from sftpgate.policy.names import check_storable, is_text

USER_NAME_RULE = "1 to 32 characters of a-z, 0-9, _, - and ., the first a letter or _, no two dots in a row"

# What people and earlier records call those who act and are no senders. A user that has such a name already keeps it.
RESERVED_USER_NAMES = frozenset({"admin", "runner", "system"})

_USER_NAME = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")


def valid_user_name(name: str) -> bool:
    """Return True if a user may be called ``name``."""
    return _USER_NAME.fullmatch(name) is not None and ".." not in name


def check_user_name(name: str) -> None:
    """Refuse a name that no new user may have, with the rule."""
    if name in RESERVED_USER_NAMES:
        raise NameRefused(
            f"{name} is what records call somebody else: choose another name, such as {name}-erp (rule: reserved user names)"
        )
    if not valid_user_name(name):
        close = re.sub(r"[^a-z0-9_.-]+", "-", name.strip().lower())
        hint = f": try {close}" if valid_user_name(close) else ""
        raise NameRefused(f"this cannot be a user's name{hint} (rule: {USER_NAME_RULE})")


def check_home(home: str) -> None:
    """Refuse a home that is no clean path inside the drop, with the rule. The empty home is the drop itself."""
    if not home:
        return
    parts = home.split("/")
    if home.startswith("/"):
        raise NameRefused("a home is relative to the drop: leave out the leading / (rule: homes lie in the drop)")
    if any(part in ("", ".", "..") for part in parts):
        raise NameRefused("a home has no empty, . or .. part (rule: homes lie in the drop)")
    if not is_text(home):
        raise NameRefused("a home is a path in UTF-8 (rule: names are UTF-8)")
    if "\\" in home or parts[0].startswith("~"):
        raise NameRefused("a home is relative to the drop, its parts separated by / (rule: homes lie in the drop)")
    if any(part != part.strip() for part in parts):
        raise NameRefused("no part of a home begins or ends with a space (rule: homes lie in the drop)")
    if any(part.startswith((".", "_")) for part in parts):
        raise NameRefused("no part of a home begins with . or _: nothing would ever be taken from there (rule: hidden names)")
    if is_reserved(parts[0]):
        raise NameRefused(f"{parts[0]} is the system's own: choose another home (rule: reserved directories)")
    check_storable(home)
