"""The homes of all users, as the hand-over has to know them: a home, and what leads to it, is a directory and stays one.

Each new name asks, so the users are read at most twice a minute; a home that was added meanwhile is a directory as soon as
its user logs in. If the users cannot be read, those that were known stay. Blocks for that reading.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from sftpgate.errors import PlaceRefused, SftpgateError
from sftpgate.policy.names import parent

_HOLDS_FOR_SECONDS = 30.0


class Homes:
    """Asked whether a path is a home, or leads to one. One instance per process; any thread."""

    def __init__(self, of_users: Callable[[], Iterable[str]], monotonic: Callable[[], float] = time.monotonic) -> None:
        self.of_users = of_users  # may be set to what knows the users already
        self._monotonic = monotonic
        self._until = float("-inf")
        self._ways: frozenset[str] = frozenset()

    def require_no_home(self, path: str) -> None:
        """Raise PlaceRefused if ``path`` is the home of a user or leads to one: no file can have it, and it is not removed."""
        if path in self._known():
            raise PlaceRefused("this is the directory of another account, or leads to one: it stays (rule: homes stay)")

    def _known(self) -> frozenset[str]:
        now = self._monotonic()
        if now >= self._until:
            self._until = now + _HOLDS_FOR_SECONDS  # at once: one thread reads, the others go on with what is known
            with suppress(SftpgateError):  # the users cannot be read now: who logs in is told so
                self._ways = ways_to(self.of_users())
        return self._ways


def ways_to(homes: Iterable[str]) -> frozenset[str]:
    """Return the homes, and every directory above one; the drop itself is none of them."""
    found: set[str] = set()
    for home in homes:
        while home and home not in found:
            found.add(home)
            home = parent(home)
    return frozenset(found)
