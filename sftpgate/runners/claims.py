"""Claims: a runner's exclusive right to one arrival (promise P4).

A claim is one change: the arrival becomes ``claimed``, its file goes to ``claims/``, and a row in the ledger says who has it. The
attempt is counted there, so that no way of dying escapes the count. The end is one change too: see ``claim_ends``.

A claim of a living process is held by a lock on this host, and by a lease for the others; one of a script that has ended
(``sftpgate claim``) by the lease alone. A crash anywhere leaves a claim that is dead: see ``dead_claims``. Everything blocks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sftpgate.errors import ClaimLost, SftpgateError, UnknownTool
from sftpgate.handover.changes import Change
from sftpgate.handover.guard import Guard
from sftpgate.handover.journal import Journal
from sftpgate.handover.local_files import is_takeable
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.resources import Resources
from sftpgate.ids import new_id
from sftpgate.ledger import claims as records
from sftpgate.ledger import runs
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.claims import ClaimRecord, Token
from sftpgate.ledger.database.connection import Connection, shared_time
from sftpgate.ledger.runs import Run
from sftpgate.logs import get_logger
from sftpgate.policy.clocks import is_due
from sftpgate.policy.lifecycle import Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.policy.outcome import Statement
from sftpgate.policy.runs import Host, Lease, RunOutcome
from sftpgate.runners import run_directories, run_locks
from sftpgate.runners.candidates import Candidates
from sftpgate.runners.claim_ends import ClaimEnd, Endings, Finished
from sftpgate.runners.commands.command import cannot
from sftpgate.runners.commands.keepers import Keepers, Message, Task
from sftpgate.runners.commands.system_accounts import Obstacle, Unusable
from sftpgate.runners.dead_claims import AT_ONCE, DeadClaims
from sftpgate.runners.reports import Papers
from sftpgate.runners.run_directories import LOOK, RunDirectory
from sftpgate.runners.statements import statement_of
from sftpgate.settings.choices import Language
from sftpgate.settings.tools import ToolSettings

log = get_logger("runner")

# A living runner extends its lease every HEARTBEAT; other hosts take its claim for dead after LEASE. Several heartbeats may fail.
LEASE = timedelta(minutes=5)
HEARTBEAT_SECONDS = 60.0
_LONG_LEASE = timedelta(days=1)  # for other hosts, where something goes on without a runner that extends it


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a runner holds. ``path`` is the file under its own name: the input itself, not a copy, so it is to be read only.

    ``tryback`` is where rejected lines may be written, ``output`` where the text of the report may be, and ``result`` where a
    command may say in JSON what it did. ``arrival.attempts`` includes this one. ``lock`` is the descriptor of the live lock, None
    if only the lease holds the claim.
    """

    token: Token
    tool: str
    arrival: Arrival
    claimed_at: datetime
    lease_until: datetime
    path: Path
    tryback: Path
    output: Path
    result: Path
    lock: int | None = None


class Claims:
    """Takes, extends and ends claims, for ``actor``. One instance per process; any thread."""

    def __init__(
        self,
        resources: Resources,
        journal: Journal,
        placer: Placer,
        candidates: Candidates,
        tools: Mapping[str, ToolSettings],
        actor: Actor,
        keepers: Keepers | None = None,
        *,
        language_of: Callable[[str], Language],
    ) -> None:
        self._resources = resources
        self._journal = journal
        self._disk = resources.disk
        self._placer = placer
        self._guard = Guard(resources, journal, placer)
        self._tools = tools
        self._actor = actor
        self.keepers = keepers or Keepers(tools)
        self._endings = Endings(resources, placer, tools, actor, language_of)
        self._dead_claims = DeadClaims(resources, journal, self._endings, self.keepers)
        self.candidates = candidates

    def require(self, tool: str) -> ToolSettings:
        """Return the settings of a tool. Raises UnknownTool."""
        if tool not in self._tools:
            known = ", ".join(self._tools) or "none"
            raise UnknownTool(f"there is no tool {tool!r} in the settings (there: {known})")
        return self._tools[tool]

    def only_runner(self, tool: str) -> contextlib.AbstractContextManager[bool]:
        """Hold the right to run a tool on this host for the block. Yields False, without it, if somebody else has it."""
        self.require(tool)
        return run_locks.held(self._disk, self._resources.layout.tool_lock(tool))

    # -- taking ------------------------------------------------------------------------------------------------------

    def take(
        self,
        tool: str,
        *,
        lease: timedelta = LEASE,
        live: bool = True,
        script: int = 0,
        skip: Collection[ArrivalId] = (),
    ) -> Claim | None:
        """Claim the oldest arrival that the tool may have now; None if there is none, or if the tool is at work.

        ``live``: this process lives as long as the claim, and its lock says so. Otherwise ``script`` is the process for which
        it is made, whose end gives the file back at once; 0 for none. Arrivals in ``skip`` are left alone.
        """
        if not self.require(tool).enabled or self.candidates.is_put_off(tool):
            return None
        if self.has_claims(tool):
            self._dead_claims.all()
        while True:
            is_due = self.candidates.has_due(tool, skip)
            drafts = [] if is_due else [draft for draft in self.candidates.drafts(tool) if self._guard.judge(draft)]
            if not (is_due or drafts):
                return None
            altered = self._guard.altered() if is_due else []
            with contextlib.ExitStack() as undo:
                with self._journal.change() as change:
                    self._placer.end_approvals(change, altered)
                    taken = self._take_local(change, drafts)
                    busy = self._dead_claims.is_at_work(change, tool)
                    item = None if busy else self._first(change, tool, skip, taken)
                    if item is None:
                        return None
                    claim = self._claim(change, item, tool, lease, undo if live else None, script)
                if self._has_file(change, claim):
                    undo.pop_all()
                    return self._prepared(claim)

    def has_work(self, tool: str) -> bool:
        """Return whether a pass may find something to do: a quick look, which changes nothing."""
        if self.has_claims(tool):
            return True
        return not self.candidates.is_put_off(tool) and (
            self.candidates.has_due(tool) or bool(self.candidates.unknown_files(tool))
        )

    def has_claims(self, tool: str) -> bool:
        """Return whether an arrival is claimed for the tool, by the living or the dead."""
        with self._resources.ledger.reading() as connection:
            claimed = records.claimed_arrivals(connection, limit=AT_ONCE)
        return any(record is None or record.tool == tool for _, _, record in claimed)

    def _take_local(self, change: Change, drafts: Sequence[Arrival]) -> list[ArrivalId]:
        """Make arrivals of local files that are still what they were when they were read; returns which."""
        change.load(draft.path for draft in drafts)
        return [
            self._placer.admit_from_store(change, draft, actor=self._actor, lain_since=self.candidates.lain_since(draft.path)).id
            for draft in drafts
            if is_takeable(self._resources, change, draft)
        ]

    def _first(self, change: Change, tool: str, skip: Collection[ArrivalId], taken: Collection[ArrivalId]) -> Arrival | None:
        """Return the oldest that may be tried now. What a plain program took from the store makes room for the next of its
        queue.
        """
        brought_up: list[Arrival] = []
        for row in self.candidates.waiting(change, tool):
            if brought_up and brought_up[0].seq < row.seq:
                break
            item = change.get(row.id)
            if _may_try(change, item, skip):
                return item
            if item.state is not ArrivalState.WAITING:
                self._placer.queues.advance(change, row.path)
                brought_up += [other for other in change.line_at(row.path) if _may_try(change, other, skip)]
                brought_up.sort(key=lambda other: other.seq)
        return next((item for item in [*brought_up, *map(change.get, taken)] if _may_try(change, item, skip)), None)

    def _claim(
        self, change: Change, item: Arrival, tool: str, lease: timedelta, undo: contextlib.ExitStack | None, script: int
    ) -> Claim:
        lock = None
        if undo is not None:
            disk_path = self._resources.layout.claim_lock(item.id)
            lock = run_locks.acquire(self._disk, disk_path)
            if lock is None:
                raise ClaimLost(f"{item.path}: what an earlier run started still works on it; try again when that has ended")
            undo.callback(run_locks.release, self._disk, disk_path, lock)
        where = location(Area.CLAIMS, item.id)
        attempts = item.attempts + 1
        claimed = change.event(item, ArrivalEvent.CLAIMED, actor=self._actor, location=where, attempts=attempts, not_before=None)
        token = Token(new_id(change.now))
        granted = self._lease(change.connection, lease)
        record = ClaimRecord(
            arrival=item.id,
            token=token,
            tool=tool,
            host=str(run_locks.this_host()),
            pid=-script if undo is None else os.getpid(),
            claimed_at=change.now,
            lease_until=granted.until,
            lease_uptime=granted.until_uptime,
            lease_seconds=granted.seconds,
            process_start=run_locks.start_of(script) if script else 0 if undo is None else run_locks.start_of(os.getpid()),
        )
        records.add(change.connection, record)
        run = Run(id=token, arrival=item.id, owner=item.owner, tool=tool, attempt=attempts, started_at=change.now)
        runs.begin(change.connection, run)
        change.note("run.begun", claimed, actor=self._actor, tool=tool, run=token, attempt=attempts)
        return self._made(claimed, record, lock)

    def _made(self, item: Arrival, record: ClaimRecord, lock: int | None) -> Claim:
        directory = RunDirectory(self._resources, record.token, item)
        return Claim(
            token=record.token,
            tool=record.tool,
            arrival=item,
            claimed_at=record.claimed_at,
            lease_until=record.lease_until,
            path=directory.file,
            tryback=directory.tryback,
            output=directory.output,
            result=directory.result,
            lock=lock,
        )

    def _has_file(self, change: Change, claim: Claim) -> bool:
        """Return whether the file came with the claim. If a plain program took it at the last moment, the claim is over."""
        if claim.arrival.id not in change.failures:
            return True
        with self._journal.change() as again:
            item = again.get(claim.arrival.id)  # makes the move, or finds that the file is gone
            if item.state is not ArrivalState.CLAIMED:
                self._endings.gone(again, item, claim.token, RunOutcome.RELEASED)
        return item.state is ArrivalState.CLAIMED

    def _prepared(self, claim: Claim) -> Claim:
        try:
            RunDirectory(self._resources, claim.token, claim.arrival).prepare(self.keepers.account(claim.tool))
        except (SftpgateError, Unusable):
            self.end(claim, ClaimEnd(outcome=RunOutcome.RELEASED))  # a full disk says nothing against the file
            raise
        return claim

    def look(self, tool: str) -> Message:
        """Try what the tool's user may do, with an empty file in a directory as a run has it; no claim is made.

        Returns who that is, with the variables that the command would find. Raises Unusable with what it may not do.
        """
        settings = self.require(tool)
        account = self.keepers.account(tool)
        run = f"{LOOK}{new_id(self._resources.clock())}"
        directory = RunDirectory(self._resources, run, None, sample=sample_name(settings))
        try:
            try:
                directory.prepare_sample(account)
            except SftpgateError as error:
                raise Unusable(
                    Obstacle(f"no directory for a run can be made: {error.message}", "see `sftpgate doctor`")
                ) from error
            about = about_run(tool, "0" * 26, directory.file, directory.tryback, directory.result)
            task = Task(
                act="look",
                tool=tool,
                run=run,
                directory=str(directory.disk_path.local),
                file=str(directory.file),
                writes=(str(directory.tryback), str(directory.result)),
                about=about,
            )
            told: dict[str, object] = {}
            for message in self.keepers.ask(task):
                told |= message
        finally:
            run_directories.remove(self._resources, run)
        if isinstance(looked := told.get("looked"), dict):
            return looked
        raise Unusable(cannot(self.keepers, tool, told))

    def seconds_since(self, at: datetime) -> float:
        """Return the seconds that have gone by since ``at``."""
        return (self._resources.clock() - at).total_seconds()

    def let_go(self, claim: Claim) -> None:
        """Leave a claim to what is still at work on its file: it stays held until that has ended, and comes back then."""
        try:
            self.extend(claim, _LONG_LEASE)
        finally:
            if claim.lock is not None:
                os.close(claim.lock)

    # -- holding -----------------------------------------------------------------------------------------------------

    def find(self, token: str) -> Claim:
        """Return the claim that a script holds by its lease. Raises ClaimLost if it is unknown, has expired, or is another's."""
        with self._journal.change() as change:
            record = self._record(change, token)
            if record.pid > 0:
                raise ClaimLost(f"claim {token} is held by a running process (pid {record.pid}): only that can end it")
            item = change.get(record.arrival)
        return self._made(item, record, None)

    def extend(self, claim: Claim, lease: timedelta = LEASE) -> datetime:
        """Let the lease run from now on; returns until when. Raises ClaimLost."""
        with self._resources.ledger.transaction() as connection:
            granted = self._lease(connection, lease)
            if not records.extend(connection, claim.token, granted):
                raise ClaimLost(f"claim {claim.token} is no longer held: it expired, and the file was given back")
        return granted.until

    def _lease(self, connection: Connection, length: timedelta) -> Lease:
        """Return a lease that begins now, by all the clocks that somebody could ask."""
        now, seconds = shared_time(connection) or self._resources.clock(), length.total_seconds()
        return Lease(until=now + length, until_uptime=self._resources.uptime() + seconds, seconds=seconds)

    def _has_ended(self, connection: Connection, record: ClaimRecord) -> bool:
        now = shared_time(connection) or self._resources.clock()
        return record.lease.has_ended(Host.parse(record.host), run_locks.this_host(), now=now, uptime=self._resources.uptime())

    def _record(self, change: Change, token: str) -> ClaimRecord:
        record = records.by_token(change.connection, token)
        if record is None:
            raise ClaimLost(f"there is no claim {token}: it expired, has ended, or never existed (`sftpgate claim` makes one)")
        if record.pid <= 0 and self._has_ended(change.connection, record):
            ended = record.lease_until.isoformat(timespec="seconds")
            raise ClaimLost(f"claim {token} expired at {ended}: claim anew with a longer --lease, or `sftpgate extend` in time")
        return record

    # -- ending ------------------------------------------------------------------------------------------------------

    def end(self, claim: Claim, ending: ClaimEnd) -> Finished:
        """End a claim: report, new state, place of the file. Raises ClaimLost, and then nothing has changed."""
        papers = None
        try:
            RunDirectory(self._resources, claim.token, claim.arrival).take_back()
            papers = self._prepared_papers(claim, ending)
            with self._journal.change() as change:
                record = self._record(change, claim.token)
                item = change.get(record.arrival)
                if item.state is not ArrivalState.CLAIMED:
                    raise ClaimLost(f"claim {claim.token}: its file is gone from where claimed files are (see `sftpgate verify`)")
                finished = self._endings.end(change, item, record, ending, papers)
            if error := change.failures.get(item.id):
                log.error("run.file_not_moved", arrival=item.id, path=item.path, reason=error.message)
        except SftpgateError:
            self._endings.discard(papers)  # the run's directory may still be needed: whoever has the claim now ends it
            raise
        finally:
            if claim.lock is not None:
                run_locks.release(self._disk, self._resources.layout.claim_lock(claim.arrival.id), claim.lock)
        run_directories.remove(self._resources, claim.token)
        return finished

    def statement_of(self, claim: Claim) -> Statement:
        """Return what the run of a claim says of itself, by its result and its output."""
        tool = self._tools.get(claim.tool)
        directory = RunDirectory(self._resources, claim.token, claim.arrival)
        return statement_of(directory, tool)

    def _prepared_papers(self, claim: Claim, ending: ClaimEnd) -> Papers | None:
        with self._resources.ledger.reading() as connection:
            record = records.by_token(connection, claim.token)
        return None if record is None else self._endings.prepare(claim.arrival, record, ending)

    def return_dead(self, limit: int = AT_ONCE) -> list[Arrival]:
        """Bring back the arrivals of dead runners of all tools; returns what became of them. For the sweeper."""
        return self._dead_claims.all(limit)


def sample_name(tool: ToolSettings) -> str:
    """Return a name that a file for the tool may have."""
    return Path(tool.files[0]).name.replace("*", "x").replace("?", "x")


def about_run(tool: str, arrival: str, file: Path, tryback: Path, result: Path) -> dict[str, str]:
    """Return the variables that say in a command's environment what its claim is."""
    return {
        "SFTPGATE_FILE": str(file),
        "SFTPGATE_TOOL": tool,
        "SFTPGATE_ARRIVAL": arrival,
        "SFTPGATE_TRYBACK": str(tryback),
        "SFTPGATE_RESULT": str(result),
    }


def _may_try(change: Change, item: Arrival, skip: Collection[ArrivalId]) -> bool:
    may = is_due(item.not_before, item.changed_at, change.now)
    return item.state is ArrivalState.WAITING and may and item.id not in skip
