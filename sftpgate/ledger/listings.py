"""Whose the files of the managed directories are: what a sender may see of each of them, by the ledger.

A file that the ledger does not know (an admin put it there) is no sender's. All functions take an open connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection

from sftpgate.ledger import arrivals, reports
from sftpgate.policy.lifecycle import Area


class NamesOf(Protocol):
    """Finds a page of the names of a user's files."""

    def __call__(self, connection: Connection, owner: str, *, after: str = "", limit: int | None = None) -> list[str]:
        """Return the first ``limit`` names behind ``after`` of the files of ``owner``, sorted."""


class OwnerOf(Protocol):
    """Finds whose a file is."""

    def __call__(self, connection: Connection, name: str) -> str | None:
        """Return the user whose file is called ``name``, or None."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What the ledger says of the files of one directory."""

    names_of: NamesOf
    owner_of: OwnerOf


LISTINGS: Mapping[Area, Listing] = {
    Area.ARCHIVES: Listing(arrivals.archives_of, arrivals.archive_owner),
    Area.REPORTS: Listing(reports.of_owner, reports.owner_of),
}
