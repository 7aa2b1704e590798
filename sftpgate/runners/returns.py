"""The claims of dead runners: they come back, and the attempt counts (promise P4).

On the host of the runner its lock tells at once whether it lives; elsewhere, and for scripts, the lease does. What a dead runner
started is ended first, also where it holds no lock of ours; what cannot be ended is waited for. The sweeper brings the dead back,
and so does whoever wants to claim for a tool that has a claim. A crash in it leaves the claim as dead as it was.

Everything blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sftpgate.intake.changes import Change
from sftpgate.intake.moves import Moves
from sftpgate.ledger import arrivals, claims
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.claims import ClaimRecord
from sftpgate.ledger.database import shared_time
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import Host, ProofOfLife, RunOutcome, proof_of_life
from sftpgate.runners import directories, locks
from sftpgate.runners.command import end_remains
from sftpgate.runners.directories import LOOK, RunDirectory
from sftpgate.runners.endings import Ending, Endings
from sftpgate.runners.keepers import Keepers

log = get_logger("runner")

_LOOK_SECONDS = 600.0  # longer than any look takes
AT_ONCE = 500  # claims in one change; there are as many at a time as there are tools, usually


class Returns:
    """Brings back what dead runners had."""

    def __init__(self, moves: Moves, endings: Endings, keepers: Keepers) -> None:
        self._moves = moves
        self._endings = endings
        self._keepers = keepers

    def all(self, limit: int = AT_ONCE) -> list[Arrival]:
        """Bring back the arrivals of dead runners, and remove what they left; returns what became of those arrivals."""
        names = [
            name for name in self._moves.disk.names(self._moves.layout.runs) if not self._is_look(name)
        ]  # before the claims: a run's directory is made after its claim
        with self._moves.ledger.reading() as connection:
            before = recorded = claims.tokens(connection)
            has_claimed = bool(claims.claimed_arrivals(connection, limit=1))
        returned: list[Arrival] = []
        if recorded or has_claimed:
            returned = list(self._return_all(limit))
            with self._moves.ledger.transaction() as connection:
                claims.forget_ended(connection)
                recorded = claims.tokens(connection)
        for name in sorted({*names, *before} - recorded):
            directories.remove(self._moves, name)
        return returned

    def _return_all(self, limit: int) -> Iterator[Arrival]:
        last = returned = 0
        while returned < limit:
            with self._moves.ledger.reading() as connection:
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
        """Whether the tool has an arrival. The dead count: they are to be brought back before."""
        claimed = claims.claimed_arrivals(change.connection, limit=AT_ONCE)
        return any(
            record is not None and record.tool == tool and change.get(arrival).state is ArrivalState.CLAIMED
            for _, arrival, record in claimed
        )

    def _return(self, arrival: ArrivalId, record: ClaimRecord | None) -> Arrival | None:
        """Bring one back; None where somebody else did, or where its holder came in time. The report is written before."""
        if record is None:  # the ledger was made anew from the disk: nobody knows who had it, or how often it was tried
            with self._moves.change() as change:
                item = self._still_dead(change, arrival, record)
                return item and self._endings.place(change, item, "", RunOutcome.DIED)
        who = f"(pid {abs(record.pid)} on {Host.parse(record.host).name})"
        what = f"the runner {who} is gone" if record.pid else "its lease ended"
        if record.pid < 0 and self._has_ended(record):
            what = f"the lease of the script {who} ended"
        ending = Ending(outcome=RunOutcome.DIED, notices=(what,))
        with self._moves.ledger.reading() as connection:
            claimed = arrivals.get(connection, arrival)
        RunDirectory(self._moves, record.token, claimed).take_back()
        papers = self._endings.prepare(claimed, record, ending)
        try:
            with self._moves.change() as change:
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
        """The arrival, where its claim is the one that was seen dead, and where its lease was not extended since."""
        now = claims.of_arrival(change.connection, arrival)
        if (now.token if now else None) != (record.token if record else None):
            return None
        if now is not None and record is not None and now.lease != record.lease:
            return None  # its holder has extended it
        item = change.get(arrival)
        return item if record is not None or item.state is ArrivalState.CLAIMED else None

    def _has_ended(self, record: ClaimRecord) -> bool:
        with self._moves.ledger.reading() as connection:
            now = shared_time(connection) or self._moves.clock()
        return record.lease.has_ended(Host.parse(record.host), locks.this_host(), now=now, uptime=self._moves.uptime())

    def _is_alive(self, arrival: ArrivalId, record: ClaimRecord) -> bool:
        """Whether something that a runner without a lock had started is still at work after we tried to end it."""
        with self._moves.ledger.reading() as connection:
            directory = RunDirectory(self._moves, record.token, arrivals.get(connection, arrival))
        stays = end_remains(self._keepers, record.tool, record.token, str(directory.spot.local))
        if not stays and directory.is_held():
            stays = ["something holds the lock of the run"]
        if stays:
            log.warning("claim.still_at_work", tool=record.tool, arrival=arrival, run=record.token, reason="; ".join(stays))
        return bool(stays)

    def _is_look(self, name: str) -> bool:
        """Whether a directory belongs to a look that may be under way."""
        found = self._moves.disk.lstat(self._moves.layout.runs / name) if name.startswith(LOOK) else None
        return found is not None and self._moves.clock().timestamp() - found.st_mtime < _LOOK_SECONDS

    @contextlib.contextmanager
    def _dead(self, arrival: ArrivalId, record: ClaimRecord | None) -> Iterator[bool]:
        """Whether a claim's runner is dead. Its lock is held for the block, and removed at the end."""
        proof = ProofOfLife.LOCK
        if record is not None:
            proof = proof_of_life(Host.parse(record.host), record.pid, locks.this_host())
        if record is not None and proof in (ProofOfLife.LEASE, ProofOfLife.PROCESS):
            gone = proof is ProofOfLife.PROCESS and not locks.is_alive(-record.pid, record.process_start)
            yield gone or self._has_ended(record)
            return
        spot = self._moves.layout.claim_lock(arrival)
        lock = locks.acquire(self._moves.disk, spot)
        if lock is None and record is not None and _is_gone(record) and not self._is_alive(arrival, record):
            lock = locks.acquire(self._moves.disk, spot)  # what inherited it was ended
        try:
            yield lock is not None and (record is None or proof is ProofOfLife.NONE or not self._is_alive(arrival, record))
        finally:
            if lock is not None:
                locks.release(self._moves.disk, spot, lock)


def _is_gone(record: ClaimRecord) -> bool:
    """Whether a runner of this host, whose processes we see, is gone; what it started may hold its lock still."""
    claimed_by, here = Host.parse(record.host), locks.this_host()
    sees = bool(here.processes) and (claimed_by.boot, claimed_by.processes) == (here.boot, here.processes)
    return sees and record.pid > 0 and not locks.is_alive(record.pid, record.process_start)
