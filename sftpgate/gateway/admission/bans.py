"""Bans as the running gate knows them: who is refused admission, and what failed logins add to the record.

The answer comes from memory: a set of banned sources, refreshed from the ledger about every second. Failures
are summed up in memory and recorded about every second too, in one transaction in a thread, so that ten thousand failures
a second cost one commit. What a crash forgets is a second's failures.

A source may so fail some times more than the threshold, as many as fit into a second: the limits of ``rules`` bound that, and
the connections that it has open then are ended (``connections``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sftpgate.errors import LedgerError
from sftpgate.ledger import bans
from sftpgate.ledger.bans import Failures
from sftpgate.ledger.database.connection import Ledger
from sftpgate.logs import Logger
from sftpgate.policy.bans import BanRules, Offence, SourceStanding, is_exempt, source_of, weight_of
from sftpgate.policy.login import LoginRefusal
from sftpgate.threads import Threads

MAX_PENDING = 10_000  # sources whose failures wait to be recorded: the rest of that second's is not counted
REFRESH_SECONDS = 1.0  # how late a ban comes into force in another process
NAMED_EVERY = 5  # rounds: reading the names costs two system calls a user
CLEAN_EVERY = 600  # rounds

PatternLists = Sequence[Sequence[str]]


@dataclass(slots=True)
class _Pending:
    weight: float = 0.0
    heaviest: float = 0.0
    reason: str = ""


class Bans:
    """The bans of one process. Everything but ``_refresh`` is called on the event loop.

    ``named`` gives the lists of address patterns by which the admin named addresses; it may read files.
    """

    def __init__(
        self,
        ledger: Ledger,
        threads: Threads,
        rules: BanRules,
        *,
        clock: Callable[[], datetime],
        named: Callable[[], PatternLists],
        log: Logger,
    ) -> None:
        self._ledger = ledger
        self._threads = threads
        self._rules = rules
        self._clock = clock
        self._named = named
        self._log = log
        self._exempt: PatternLists = ()
        self._banned: dict[str, SourceStanding] = {}
        self._generation: str | None = None
        self._pending: dict[str, _Pending] = {}
        self._cleared: set[str] = set()
        self._rounds = 0
        self.refreshed: Callable[[], None] = lambda: None  # called after each refresh

    def ban_of(self, address: str) -> SourceStanding | None:
        """Return the ban by which a connection from ``address`` is refused, or None."""
        source = source_of(address)
        standing = self._banned.get(source) if source is not None else None
        if standing is None or not standing.is_banned(self._clock()) or self.is_named(address):
            return None
        return standing

    @property
    def is_any(self) -> bool:
        """Whether anybody is banned at all."""
        return bool(self._banned)

    def is_named(self, address: str) -> bool:
        """Return whether the admin named the address: it is never banned."""
        return is_exempt(address, self._exempt)

    def failed(self, address: str, failure: LoginRefusal | Offence) -> None:
        """Count a login that failed, or did not come in time."""
        source = source_of(address)
        if source is None or not self._rules.threshold or self.is_named(address):
            return
        pending = self._pending.get(source)
        if pending is None:
            if len(self._pending) >= MAX_PENDING:
                return
            pending = self._pending[source] = _Pending()
        weight = weight_of(failure)
        pending.weight += weight
        if weight > pending.heaviest:
            pending.heaviest, pending.reason = weight, failure

    def succeeded(self, address: str) -> None:
        """Let a source start anew: a login from there was valid."""
        source = source_of(address)
        if source is not None:
            self._pending.pop(source, None)
            self._cleared.add(source)

    async def run(self) -> None:
        """Refresh regularly, for as long as the gate runs."""
        while True:
            try:
                await self.refresh()
            except LedgerError as error:
                self._log.error("bans.not_refreshed", reason=error.message)
            self.refreshed()
            await asyncio.sleep(REFRESH_SECONDS)

    async def refresh(self) -> None:
        """Record what failed, and learn whom other processes and the admin banned. Raises LedgerError: what failed since the
        last time is forgotten then.
        """
        pending, self._pending = self._pending, {}
        cleared, self._cleared = self._cleared, set()
        await self._threads.run(self._refresh, pending, cleared)

    def _refresh(self, pending: dict[str, _Pending], cleared: set[str]) -> None:
        now = self._clock()
        if self._rounds % NAMED_EVERY == 0:
            self._exempt = self._named()
        self._rounds += 1
        with self._ledger.reading() as connection:
            generation = bans.generation(connection)
            if generation != self._generation:
                self._banned = {standing.source: standing for standing in bans.banned(connection, now)}
                self._generation = generation
            cleared = {source for source in cleared if bans.is_known(connection, source)}
        if pending or cleared or self._rounds % CLEAN_EVERY == 0:
            self._record(pending, cleared, now)

    def _record(self, pending: dict[str, _Pending], cleared: set[str], now: datetime) -> None:
        failed = {source: Failures(weight=item.weight, reason=item.reason) for source, item in pending.items()}
        with self._ledger.transaction() as connection:
            bans.forget(connection, sorted(cleared))
            caused = bans.record(connection, failed, now, self._rules)
            if self._rounds % CLEAN_EVERY == 0:
                bans.clean(connection, now, self._rules)
        self._banned = self._banned | {standing.source: standing for standing in caused}
        for standing in caused:
            until = standing.banned_until.isoformat(timespec="seconds") if standing.banned_until else None
            self._log.warning("address.banned", source=standing.source, reason=standing.reason, until=until, times=standing.bans)
