"""What a removed user leaves, and what a new user of its name must not see: looked up, and parted."""

from __future__ import annotations

from dataclasses import dataclass

from sftpgate.app.context import opened
from sftpgate.app.users.access import Access
from sftpgate.errors import SftpgateError, UnknownUser
from sftpgate.ledger import owners
from sftpgate.ledger.audit import chain
from sftpgate.ledger.owners import Estate
from sftpgate.upkeep import former_owners


@dataclass(frozen=True, slots=True, kw_only=True)
class Parted:
    """What was parted from whoever has a name from now on: under which name it is recorded, and the uploads that were removed.

    ``former`` is None if nothing was recorded. ``problem``: why that could not be done; the user was changed all the same.
    """

    former: str | None = None
    removed_uploads: int = 0
    problem: SftpgateError | None = None


NOTHING = Parted()


def estate(access: Access, user: str) -> Estate:
    """Return what is recorded as a user's. Raises LedgerError."""
    with access.ledger() as ledger:
        if ledger is None:
            return Estate()
        with ledger.reading() as connection:
            return owners.estate_of(connection, user) if chain.is_there(connection) else Estate()


def require_estate(access: Access, user: str) -> Estate:
    """Return what a user that is to be removed leaves. Raises UnknownUser and LedgerError."""
    if user not in access.registry.names():
        raise UnknownUser
    return estate(access, user)


def has_anything(access: Access, user: str) -> bool:
    """Return whether a new user of this name would find something of a former one. Raises LedgerError."""
    return not estate(access, user).is_empty or (access.settings.store / ".sftpgate" / "staging" / user).is_dir()


def part(access: Access, user: str) -> Parted:
    """Part what is recorded as ``user``'s, if anything is, from whoever has the name from now on."""
    try:
        if not has_anything(access, user):
            return NOTHING
        with opened(access.settings) as site:
            former, removed = former_owners.part(site.journal, site.staging, user)
    except SftpgateError as error:
        return Parted(problem=error)
    return Parted(former=former, removed_uploads=removed)
