"""When each key and password was last used: noted in memory at a login, written to the ledger soon after.

A login never waits for it. What was not written when the process is killed is lost: a few seconds' worth of "last use", and
the log has the logins themselves. All workers write to the one ledger, where the latest use stays.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from sftpgate.errors import LedgerError
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.logins import LastUse, remember
from sftpgate.logs import get_logger

log = get_logger("gateway")


class LastUses:
    """The uses that the ledger does not have yet. At most one for each credential of each user."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], LastUse] = {}
        self._failing = False

    def note(self, uses: Iterable[LastUse]) -> None:
        """Note a login."""
        with self._lock:
            for use in uses:
                self._waiting[use.owner, use.credential] = use

    def write(self) -> None:
        """Write what waits. Blocks. If the ledger cannot be written, it waits on, and one line says so."""
        with self._lock:
            taken, self._waiting = self._waiting, {}
        if not taken:
            return
        try:
            with self._ledger.transaction() as connection:
                remember(connection, taken.values())
        except LedgerError as error:
            if not self._failing:
                log.warning("last_use.not_written", reason=error.message)
            self._failing = True
            with self._lock:
                self._waiting = taken | self._waiting
        else:
            self._failing = False
