"""What becomes of an arrival when a run of it ends, and whether a claim is still alive.

Pure. An attempt is counted when the claim begins, so that no way of dying escapes the count (promise P4).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sftpgate.policy.lifecycle import ArrivalEvent


class RunOutcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    DONE_WITH_REJECTED = "done with rejected"  # the tool took the file, but not all of its rows
    FAILED = "failed"  # another exit status than 0, output that says so, or a command that could not be started
    NOT_THE_FILE = "not the file's fault"  # the platform was not there: tried again later, and counts as no attempt
    TIMED_OUT = "timed out"
    INTERRUPTED = "interrupted"  # the runner was told to stop
    DIED = "died"  # the runner is gone, or its lease ended
    RELEASED = "released"  # given back unused: counts as no attempt


# The tool has taken the file: it is archived, and never tried again.
PROCESSED = frozenset({RunOutcome.DONE, RunOutcome.DONE_WITH_REJECTED})
# The file was given back for no fault of its own: the attempt does not count.
UNCOUNTED = frozenset({RunOutcome.RELEASED, RunOutcome.NOT_THE_FILE})

# Between two tries of a file that is not to blame: from a minute, twice as long each time, to an hour. A database that is
# restarted is back before the second try; one that is away for a night costs ten tries.
FIRST_WAIT_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 3600.0


def wait_seconds(outcome: RunOutcome, *, retry_delay: float, tries: int) -> float:
    """Return how long a file that is given back waits. ``tries``: how often in a row it was not to blame, this time included.

    A runner that died or was stopped says nothing against the file: it comes back at once.
    """
    match outcome:
        case RunOutcome.NOT_THE_FILE:
            first = max(retry_delay, FIRST_WAIT_SECONDS)
            return min(first * 2.0 ** min(max(tries, 1) - 1, 16), max(LONGEST_WAIT_SECONDS, retry_delay))
        case RunOutcome.FAILED | RunOutcome.TIMED_OUT:
            return retry_delay
        case _:
            return 0.0


def event_after(outcome: RunOutcome, *, attempts: int, max_attempts: int | None, occupied: bool, queued: bool) -> ArrivalEvent:
    """Return what happens to the claimed arrival. ``attempts`` includes this run.

    ``max_attempts`` is None if the tool is no longer known. ``occupied``: another arrival has its name by now, which the
    rule "latest" means to take its place; ``queued``: every arrival counts.
    """
    if outcome in PROCESSED:
        return ArrivalEvent.DONE
    if is_last(outcome, attempts=attempts, max_attempts=max_attempts):
        return ArrivalEvent.QUARANTINED
    if occupied:
        return ArrivalEvent.QUEUED if queued else ArrivalEvent.REPLACED
    return ArrivalEvent.RETURNED


def is_last(outcome: RunOutcome, *, attempts: int, max_attempts: int | None) -> bool:
    """Return whether a run that ended so was the last attempt: the file goes to quarantine.

    A run that somebody interrupted is never the last one: it says nothing against the file.
    """
    if outcome in PROCESSED or outcome in UNCOUNTED or outcome is RunOutcome.INTERRUPTED:
        return False
    return max_attempts is not None and attempts >= max_attempts


def attempts_after(outcome: RunOutcome, *, attempts: int, max_attempts: int | None) -> int:
    """Return how many attempts a file has had once a run of it ended so; ``attempts`` includes this run.

    One that was given back for no fault of its own has had one fewer, and so has one whose last attempt was interrupted: there is
    one left.
    """
    if outcome in UNCOUNTED:
        return attempts - 1
    if outcome is RunOutcome.INTERRUPTED and max_attempts is not None:
        return min(attempts, max_attempts - 1)
    return attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """How long a claim holds. ``until`` is by the wall clock: for people, and for hosts that have no other clock in common.

    ``until_uptime`` is the same by the boot clock of the host that claimed, in seconds, and ``seconds`` how long it was when
    it was made or extended last; both 0 if they are not known (claims of earlier versions).
    """

    until: datetime
    until_uptime: float = 0.0
    seconds: float = 0.0

    def has_ended(self, claim_host: Host, here: Host, *, now: datetime, uptime: float) -> bool:
        """Return whether the lease of a claim that was made on ``claim_host`` has ended, asked on ``here``.

        Within one boot the boot clock decides, which nobody can set. After a restart of the same machine the lease holds once
        more in full, from the start on: it ends, whatever the clock says by now, and never too early. Other hosts have only
        the wall clock: the caller takes it from the database if that has one (promise P4).
        """
        if here.boot and claim_host.boot == here.boot and self.until_uptime:
            return self.until_uptime <= uptime
        if here.machine and (claim_host.name, claim_host.machine) == (here.name, here.machine) and self.seconds:
            return self.seconds <= uptime
        return self.until <= now


class ProofOfLife(StrEnum):
    """What says whether a claim's runner is alive."""

    LOCK = "lock"  # the same kernel: the flock is there or not
    LEASE = "lease"  # elsewhere, or a script that is not ours to watch
    PROCESS = "process"  # a script that we can see: it holds no lock, and the lease ends its claim too
    NONE = "none"  # the same machine before its last start: nobody is alive


@dataclass(frozen=True, slots=True)
class Host:
    """A machine in one of its boots. ``machine`` is empty if the system has no machine-id (a container, usually).

    ``processes`` is the namespace in which its process ids mean something; empty if it is not known.
    """

    name: str
    machine: str
    boot: str
    processes: str = ""

    def __str__(self) -> str:
        return f"{self.name}/{self.machine}/{self.boot}/{self.processes}"

    @classmethod
    def parse(cls, text: str) -> Host:
        """Return the host that ``str`` made ``text`` of; one that is nobody if it did not."""
        parts = text.split("/")
        return cls(*parts) if len(parts) in (3, 4) else cls(text, "", "")


def proof_of_life(claim_host: Host, pid: int, here: Host) -> ProofOfLife:
    """Return what to ask about a claim that the process ``pid`` of ``claim_host`` made; 0 stands for one that did not live
    on, and a negative one for a script of that id on whose behalf it was made.

    Containers on one kernel share its locks, so the boot decides, and not the name; their process ids are their own.
    """
    if pid == 0:
        return ProofOfLife.LEASE
    if here.boot and claim_host.boot == here.boot:
        if pid > 0:
            return ProofOfLife.LOCK
        return ProofOfLife.PROCESS if here.processes and claim_host.processes == here.processes else ProofOfLife.LEASE
    if here.machine and (claim_host.name, claim_host.machine) == (here.name, here.machine):
        return ProofOfLife.NONE
    return ProofOfLife.LEASE
