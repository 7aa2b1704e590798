"""What is settled about an upload when it is opened: who sends it, what it began from, and what it may come to.

Values: nothing here changes, and nothing blocks. Limits that change while an upload is open are given to it anew, as a whole
(``Upload.bound``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sftpgate.errors import TooLarge
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.audit import actor
from sftpgate.ledger.audit.actor import Actor
from sftpgate.policy.quotas import Budget
from sftpgate.store.disk_paths import DiskPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who uploads, as the record has it (P8). ``home`` is the directory of the drop that the user sees as its top; empty
    for all of it.
    """

    user: str
    home: str
    address: str
    login: str
    client: str
    session: str

    @property
    def actor(self) -> Actor:
        """Who acts, for the record."""
        return actor.sender(self.user)


@dataclass(slots=True)
class SessionTrace:
    """What the uploads of one SFTP session have in common: the longest write seen tells how long the client's writes can be, and
    whether it asked how long they may be tells OpenSSH's own programs from others.
    """

    longest_write_bytes: int = 0
    asked_limits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadBounds:
    """What an upload may come to.

    ``max_bytes``: None for the server's limit alone. ``budget`` is what its user may still send, shared by all its uploads; None
    if nobody asks for it, as for what is no upload of a client. ``replaced_bytes`` are those of the arrival that it will replace.
    ``max_archived_bytes`` are those of earlier versions that changes in place put into the archives; None: any number.
    """

    max_bytes: int | None = None
    budget: Budget | None = None
    replaced_bytes: int = 0
    max_archived_bytes: int | None = None

    def require(self, size: int, growth: int) -> None:
        """Raise TooLarge or QuotaExceeded if an upload may not have ``size`` bytes, ``growth`` more than it has now."""
        if self.max_bytes is not None and size > self.max_bytes:
            raise TooLarge(self.max_bytes)
        if self.budget is not None and growth > 0:
            self.budget.require(growth, self.replaced_bytes)

    def charge(self, growth: int) -> None:
        """Take what an upload has grown by from the budget."""
        if self.budget is not None and growth > 0:
            self.budget.charge(growth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What an upload began from.

    ``existing_bytes`` were there already. ``continues`` is the arrival that it is a copy of, and replaces; ``continues_local``
    the same of a local file in the drop, as a draft; ``goes_on_with`` the open upload whose bytes it had when it was opened.
    ``is_truncated``: nothing of what was there is in it. ``is_append``: its handle was opened with APPEND. ``is_longer``: it has
    more than the arrival that it is a copy of already. ``declared_size``: what the OPEN said, if it did.
    """

    existing_bytes: int = 0
    continues: ArrivalId | None = None
    continues_local: Arrival | None = None
    goes_on_with: ArrivalId | None = None
    is_truncated: bool = True
    is_append: bool = False
    is_longer: bool = False
    declared_size: int | None = None

    @property
    def is_edit(self) -> bool:
        """True if it began as a copy of a finished file."""
        return self.continues is not None or self.continues_local is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadIdentity:
    """Which upload it is. Its id orders it among all others (see ``staging``); its staging file has the same name."""

    id: ArrivalId
    sender: Sender
    disk_path: DiskPath
    opened_at: datetime
    trace: SessionTrace
