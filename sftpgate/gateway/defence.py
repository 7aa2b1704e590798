"""How many connections are let in, logged in or not. In memory, of this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

C = TypeVar("C")


@dataclass(slots=True)
class Admission(Generic[C]):
    """Counts connections. The limits are those of the settings of the same names."""

    max_connections: int
    max_unauthenticated: int
    _all: set[C] = field(default_factory=set)
    _strangers: set[C] = field(default_factory=set)

    def enter(self, connection: C) -> bool:
        """A connection was made; False where there are too many."""
        if len(self._all) >= self.max_connections or len(self._strangers) >= self.max_unauthenticated:
            return False
        self._all.add(connection)
        self._strangers.add(connection)
        return True

    def authenticated(self, connection: C) -> None:
        """The connection has logged in."""
        self._strangers.discard(connection)

    def leave(self, connection: C) -> None:
        """The connection is gone."""
        self._all.discard(connection)
        self._strangers.discard(connection)

    def connections(self) -> list[C]:
        """All connections that were let in."""
        return list(self._all)

    def __len__(self) -> int:
        return len(self._all)
