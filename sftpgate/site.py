"""The parts of one site in one process: what every command, worker and script has, and nobody else collects.

A site is one platform with its users, its store and its tools. ``app.composition`` builds it. It is for whoever puts things
together: a class further down is given the parts that it needs, and not this.
"""

from __future__ import annotations

from dataclasses import dataclass

from sftpgate.handover.journal import Journal
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.resources import Resources
from sftpgate.ids import Clock
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.identity import Age
from sftpgate.settings.choices import Language
from sftpgate.settings.tree import Settings
from sftpgate.store.disk import Disk
from sftpgate.store.layout import Layout
from sftpgate.uploads.staging import Staging


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Store, drop and ledger, ready for use."""

    settings: Settings
    resources: Resources
    journal: Journal
    placer: Placer
    staging: Staging
    restored: Age = Age.SAME  # whether a backup brought one of store and ledger back, which was put right just now

    @property
    def clock(self) -> Clock:
        """The wall clock, in UTC."""
        return self.resources.clock

    @property
    def disk(self) -> Disk:
        """What moves, links and flushes files."""
        return self.resources.disk

    @property
    def layout(self) -> Layout:
        """Where everything lies."""
        return self.resources.layout

    @property
    def ledger(self) -> Ledger:
        """The database of arrivals, runs and audit events."""
        return self.resources.ledger

    def language_of(self, user: str) -> Language:
        """Return the language in which a user is written to: the user's own, or the gate's."""
        from sftpgate.users.registry import language_in

        return language_in(self.settings.keys_dir, user) or self.settings.language

    def close(self) -> None:
        """Clear what is known to be durable, and close the ledger and every directory that is kept open."""
        self.journal.flush()
        self.staging.close()
        self.ledger.close()
        self.disk.forget_directories()
