"""The claims of dead runners: they come back, and the attempt counts (promise P4).

On the host of the runner its lock tells at once whether it lives; elsewhere, and for scripts, the lease does. What a dead runner
started is ended first, also if it holds no lock of ours; what cannot be ended is waited for. The sweeper brings the dead back,
and so does whoever wants to claim for a tool that has a claim. A crash in it leaves the claim as dead as it was.

Everything blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sftpgate.handover.changes import Change
from sftpgate.handover.journal import Journal
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals, claims
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.claims import ClaimRecord
from sftpgate.ledger.database.connection import shared_time
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.phrases import sentence
from sftpgate.policy.runs import Host, ProofOfLife, RunOutcome, proof_of_life
from sftpgate.runners import run_directories, run_locks
from sftpgate.runners.claim_ends import ClaimEnd, Endings
from sftpgate.runners.commands.command import end_remains, remains_of
from sftpgate.runners.commands.keepers import Keepers
from sftpgate.runners.run_directories import LOOK, RunDirectory

log = get_logger("runner")

_LOOK_SECONDS = 600.0  # longer than any look takes
AT_ONCE = 500  # claims in one change; there are as many at a time as there are tools, usually


class DeadClaims:
    """Brings back what dead runners had."""

    def __init__(self, resources: Resources, journal: Journal, endings: Endings, keepers: Keepers) -> None:
        self._resources = resources
        self._journal = journal
        self._endings = endings
        self._keepers = keepers

    def all(self, limit: int = AT_ONCE) -> list[Arrival]:
        """Bring back the arrivals of dead runners, and remove what they left; returns what became of those arrivals.

        Raises StoreAway if the store is not there: the locks that say who lives are in it.
        """
        self._journal.require_store()
        names = [
            name for name in self._resources.disk.names(self._resources.layout.runs) if not self._is_look(name)
        ]  # before the claims: a run's directory is made after its claim
        with self._resources.ledger.reading() as connection:
            before = recorded = claims.tokens(connection)
            has_claimed = bool(claims.claimed_arrivals(connection, limit=1))
        returned: list[Arrival] = []
        if recorded or has_claimed:
            returned = list(self._return_all(limit))
            with self._resources.ledger.transaction() as connection:
                claims.forget_ended(connection)
                recorded = claims.tokens(connection)
        for name in sorted({*names, *before} - recorded):
            run_directories.remove(self._resources, name)
        return returned

    def _return_all(self, limit: int) -> Iterator[Arrival]:
        last = returned = 0
        while returned < limit:
            with self._resources.ledger.reading() as connection:
                page = claims.claimed_arrivals(connection, after_seq=last, limit=limit)
            if not page:
                return
            last = page[-1][0]
            for _, arrival, record in page:
                with self._dead(arrival, record) as dead:
                    item = self._return(arrival, record) if dead else None
                if item is not None:
                    returned += 1
                    yield item

    def is_at_work(self, change: Change, tool: str) -> bool:
        """Return whether the tool has an arrival. The dead count: they are to be brought back before."""
        claimed = claims.claimed_arrivals(change.connection, limit=AT_ONCE)
        return any(
            record is not None and record.tool == tool and change.get(arrival).state is ArrivalState.CLAIMED
            for _, arrival, record in claimed
        )

    def _return(self, arrival: ArrivalId, record: ClaimRecord | None) -> Arrival | None:
        """Bring one back; None if somebody else did, or if its holder came in time. The report is written before."""
        if record is None:  # the ledger was made anew from the disk: nobody knows who had it, or how often it was tried
            with self._journal.change() as change:
                item = self._still_dead(change, arrival, record)
                return item and self._endings.place(change, item, "", RunOutcome.DIED)
        who = {"pid": abs(record.pid), "host": Host.parse(record.host).name}
        if record.pid == 0:
            what = sentence("the lease of the claim ended")
        elif record.pid < 0 and self._has_ended(record):
            what = sentence("the lease of the script (pid {pid} on {host}) ended", **who)
        else:
            what = sentence("the runner (pid {pid} on {host}) is gone", **who)
        ending = ClaimEnd(outcome=RunOutcome.DIED, notices=(what,))
        with self._resources.ledger.reading() as connection:
            claimed = arrivals.get(connection, arrival)
        RunDirectory(self._resources, record.token, claimed).take_back()
        papers = self._endings.prepare(claimed, record, ending)
        try:
            with self._journal.change() as change:
                item = self._still_dead(change, arrival, record)
                if item is None:
                    return None
                if item.state is not ArrivalState.CLAIMED:
                    self._endings.gone(change, item, record.token, RunOutcome.DIED)
                    return item
                return self._endings.end(change, item, record, ending, papers).arrival
        finally:
            self._endings.discard(papers)

    def _still_dead(self, change: Change, arrival: ArrivalId, record: ClaimRecord | None) -> Arrival | None:
        """Return the arrival, if its claim is the one that was seen dead, and if its lease was not extended since."""
        now = claims.of_arrival(change.connection, arrival)
        if (now.token if now else None) != (record.token if record else None):
            return None
        if now is not None and record is not None and now.lease != record.lease:
            return None  # its holder has extended it
        item = change.get(arrival)
        return item if record is not None or item.state is ArrivalState.CLAIMED else None

    def _has_ended(self, record: ClaimRecord) -> bool:
        with self._resources.ledger.reading() as connection:
            now = shared_time(connection) or self._resources.clock()
        return record.lease.has_ended(Host.parse(record.host), run_locks.this_host(), now=now, uptime=self._resources.uptime())

    def _is_alive(self, arrival: ArrivalId, record: ClaimRecord) -> bool:
        """Return whether something that a runner without a lock had started is still at work after we tried to end it."""
        with self._resources.ledger.reading() as connection:
            directory = RunDirectory(self._resources, record.token, arrivals.get(connection, arrival))
        held = str(self._resources.layout.claim_lock(arrival).local)
        task = remains_of(record.tool, record.token, str(directory.disk_path.local), held=held)
        stays = end_remains(self._keepers, task)
        if not stays and directory.is_held():
            stays = ["something holds the lock of the run"]
        if stays:
            log.warning("claim.still_at_work", tool=record.tool, arrival=arrival, run=record.token, reason="; ".join(stays))
        return bool(stays)

    def _is_look(self, name: str) -> bool:
        """Return whether a directory belongs to a look that may be under way."""
        found = self._resources.disk.lstat(self._resources.layout.runs / name) if name.startswith(LOOK) else None
        return found is not None and self._resources.clock().timestamp() - found.st_mtime < _LOOK_SECONDS

    @contextlib.contextmanager
    def _dead(self, arrival: ArrivalId, record: ClaimRecord | None) -> Iterator[bool]:
        """Yield whether a claim's runner is dead. Its lock is held for the block, and removed at the end."""
        proof = ProofOfLife.LOCK
        if record is not None:
            proof = proof_of_life(Host.parse(record.host), record.pid, run_locks.this_host())
        if record is not None and proof in (ProofOfLife.LEASE, ProofOfLife.PROCESS):
            gone = proof is ProofOfLife.PROCESS and not run_locks.is_alive(-record.pid, record.process_start)
            yield gone or self._has_ended(record)
            return
        disk_path = self._resources.layout.claim_lock(arrival)
        lock = run_locks.acquire(self._resources.disk, disk_path)
        if lock is None and record is not None and _is_gone(record) and not self._is_alive(arrival, record):
            lock = run_locks.acquire(self._resources.disk, disk_path)  # what inherited it was ended
        try:
            yield lock is not None and (record is None or proof is ProofOfLife.NONE or not self._is_alive(arrival, record))
        finally:
            if lock is not None:
                run_locks.release(self._resources.disk, disk_path, lock)


def _is_gone(record: ClaimRecord) -> bool:
    """Return whether a runner of this host, whose processes we see, is gone; what it started may hold its lock still."""
    claimed_by, here = Host.parse(record.host), run_locks.this_host()
    sees = bool(here.processes) and (claimed_by.boot, claimed_by.processes) == (here.boot, here.processes)
    return sees and record.pid > 0 and not run_locks.is_alive(record.pid, record.process_start)
