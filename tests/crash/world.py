"""A system, what its users do, and a journal of what they were promised: the test's memory, against which the disk is checked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sftpgate.app import arrivals as decisions
from sftpgate.app.composition import build
from sftpgate.app.runs.claims import make_claims
from sftpgate.app.upkeep import make_sender_acts, make_sweeper
from sftpgate.drop.opening import OpenMode
from sftpgate.drop.sender_view import SenderView
from sftpgate.errors import ClaimLost, SftpgateError
from sftpgate.handover.guard import Guard
from sftpgate.ids import Uptime
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit.actor import command
from sftpgate.ledger.database.connection import Ledger
from sftpgate.policy.lifecycle import UploadState
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.runners.claims import Claim
from sftpgate.settings.choices import Handover, Order
from sftpgate.settings.contracts import ContractSettings
from sftpgate.settings.tools import ToolSettings
from sftpgate.settings.tree import Settings
from sftpgate.store.disk import Disk
from sftpgate.upkeep.recovery import rebuild_if_new
from sftpgate.upkeep.sweep import SweepResult
from sftpgate.uploads.publisher import Publisher
from sftpgate.uploads.terms import Sender, SessionTrace
from sftpgate.uploads.upload import Upload
from sftpgate.users.registry import UserRegistry
from tests.crash.machine import Clock
from tests.crash.receipts import make_writer
from tests.harness.handover import JUDGES
from tests.harness.senders import make_sender

ONCE = frozenset({1})
NEVER = frozenset({0})
PERHAPS = frozenset({0, 1})

NEW = OpenMode(create=True, truncate=True, exclusive=False, append=False)
RESUME = OpenMode(create=True, truncate=False, exclusive=False, append=False)
APPEND = OpenMode(create=True, truncate=False, exclusive=False, append=True)


@dataclass(slots=True)
class Journal:
    """How often each complete content may be found, by what was acknowledged.

    ``sent``: the whole contents that the uploads of a path were going to have. ``strangers``: contents that others put into the
    store; the ledger need not know them. ``extended``: contents to which something was appended, with what they became: one of
    the two is there. ``paths``: alternatives of where contents are; what is there of one is at its paths. ``contracts``: a tool
    has one. ``unapproved``: contents that it holds and nobody let go, which no tool may find; ``expired``: those that somebody
    let go for a time that is over, which no tool may be given.
    """

    counts: dict[bytes, frozenset[int]] = field(default_factory=dict)
    sent: dict[str, list[bytes]] = field(default_factory=dict)
    strangers: set[bytes] = field(default_factory=set)
    extended: dict[bytes, bytes] = field(default_factory=dict)
    paths: list[list[dict[bytes, str]]] = field(default_factory=list)
    handover: Handover = Handover.TOOLS
    contracts: bool = False
    unapproved: set[bytes] = field(default_factory=set)
    expired: set[bytes] = field(default_factory=set)

    @contextlib.contextmanager
    def act(self, *, adds: tuple[bytes, ...] = (), removes: tuple[bytes, ...] = ()) -> Iterator[None]:
        """An act that makes ``adds`` appear and ``removes`` go; not acknowledged, it may have happened or not."""
        self.counts |= dict.fromkeys((*adds, *removes), PERHAPS)
        yield
        self.counts |= dict.fromkeys(adds, ONCE) | dict.fromkeys(removes, NEVER)


class World:
    """A system in ``base/data``, with acts that keep the journal."""

    def __init__(
        self,
        base: Path,
        journal: Journal,
        clock: Clock,
        *,
        disk: Disk | None = None,
        ledger: Ledger | None = None,
        uptime: Uptime | None = None,
    ) -> None:
        self.data = base / "data"
        self.journal = journal
        self.clock = clock
        queue = ToolSettings(file="queue*.csv", command=("true",), arrivals=Order.QUEUE)
        other = ToolSettings(file="*.csv", command=("true",), max_attempts=2)
        agreed = ToolSettings(
            file="agreed*.csv",
            command=("true",),
            arrivals=Order.QUEUE,
            contract=ContractSettings(header=("uid", "name"), key=("uid",)),
        )
        texts = ToolSettings(
            file="texts*.csv", command=("true",), contract=ContractSettings(header=("uid", "name"), key=("uid",), convert=True)
        )
        plain = {"queue": queue, "other": other}
        tools = (
            ({"agreed": agreed, "texts": texts} | plain if journal.contracts else plain)
            if journal.handover is Handover.TOOLS
            else {}
        )
        self.settings = Settings(
            data_dir=self.data,
            keys_dir=base / "keys",
            free_space_floor=0,
            tools=tools,
            handover=journal.handover,
            consumer_interval=0,
            keep_quarantine=31536000.0,
        )
        self.system = build(self.settings, disk=disk, clock=clock, uptime=uptime, ledger=ledger)
        self.receipts = make_writer(self.system)
        rebuild_if_new(self.system.resources, self.system.journal, self.system.placer.rules.names)
        self.publisher = Publisher(self.system.resources, self.system.journal, self.system.placer, self.system.staging)
        registry = UserRegistry(base / "keys")
        self.acts = make_sender_acts(self.system, self.publisher, registry)
        self.claims = make_claims(self.system)
        self.guard = Guard(self.system.resources, self.system.journal, self.system.placer, JUDGES)
        self.held: list[Claim] = []
        self.sweeper = make_sweeper(self.system, self.acts, registry)

    def halt(self) -> None:
        """Wait for the threads that are still at something: what they close must not be somebody else's by then."""
        self.publisher.close()
        self.sweeper.close()

    def close(self) -> None:
        """Stop in order; runners that still hold a claim die."""
        self.halt()
        self.die()
        self.system.close()

    # -- uploads -----------------------------------------------------------------------------------------------------

    def sender(self, user: str = "erp") -> Sender:
        """A logged-in user."""
        return make_sender(user, address="192.0.2.1", client="test", session="S")

    def open(self, path: str, mode: OpenMode = NEW, user: str = "erp") -> Upload:
        """OPEN for writing."""
        return self.acts.opening.open(self.sender(user), path, mode, SessionTrace(), [])

    def write(self, upload: Upload, content: bytes, start: int = 0, length: int = 32768) -> None:
        """WRITE ``content`` from ``start``, in pieces."""
        for offset in range(start, len(content), length):
            upload.write(self.system.disk, offset, content[offset : offset + length])

    @contextlib.contextmanager
    def sending(self, upload: Upload, content: bytes) -> Iterator[None]:
        """What a session does with an open upload: where a write is refused, it is interrupted at the end."""
        self.journal.sent.setdefault(upload.path, []).append(content)
        try:
            yield
        except SftpgateError:
            with contextlib.suppress(SftpgateError):
                self.system.staging.interrupt(upload)
            raise

    def end_session(self, upload: Upload) -> None:
        """The session of an upload ends; one that was published, or interrupted, is left alone."""
        if upload.state is UploadState.OPEN and upload.fd >= 0:
            with contextlib.suppress(SftpgateError):
                self.system.staging.interrupt(upload)

    def commit(self, *uploads: Upload) -> list[Arrival]:
        """CLOSE, all at once. A refused upload is interrupted, as the gateway does it; then the first refusal is raised."""
        outcomes = self.publisher.commit(uploads)
        refusals = [outcome for outcome in outcomes if isinstance(outcome, SftpgateError)]
        for upload, outcome in zip(uploads, outcomes, strict=True):
            if isinstance(outcome, SftpgateError):
                with contextlib.suppress(SftpgateError):
                    self.system.staging.interrupt(upload)
        if refusals:
            raise refusals[0]
        return [outcome for outcome in outcomes if isinstance(outcome, Arrival)]

    def publish(
        self,
        path: str,
        content: bytes,
        *,
        user: str = "erp",
        drops: tuple[bytes, ...] = (),
        times_ns: tuple[int, int] | None = None,
    ) -> str:
        """A whole upload; returns the id of its arrival. ``drops``: contents under ignored names that it overwrites."""
        with self.journal.act(adds=(content,), removes=drops):
            upload = self.open(path, NEW, user)
            with self.sending(upload, content):
                self.write(upload, content)
            if times_ns is not None:
                upload.set_times(times_ns)
            return self.commit(upload)[0].id

    def publish_together(self, *files: tuple[str, bytes]) -> None:
        """Whole uploads that close at the same time."""
        with self.journal.act(adds=tuple(content for _, content in files)), contextlib.ExitStack() as stack:
            uploads = []
            for path, content in files:
                uploads.append(self.open(path))
                stack.enter_context(self.sending(uploads[-1], content))
                self.write(uploads[-1], content)
            stack.pop_all()
            self.commit(*uploads)

    def publish_noted(self, path: str, content: bytes) -> None:
        """A whole upload that got its note while it was open, as large ones do."""
        with self.journal.act(adds=(content,)):
            upload = self.open(path)
            with self.sending(upload, content):
                self.write(upload, content[:-16], length=1 << 18)
                self.system.staging.note(upload)
                self.write(upload, content, start=len(content) - 16)
            self.commit(upload)

    def interrupt(self, path: str, content: bytes, sent_bytes: int, mode: OpenMode = NEW, *, user: str = "erp") -> None:
        """An upload of which only the bytes up to ``sent_bytes`` were sent when the connection broke."""
        upload = self.open(path, mode, user)
        with self.sending(upload, content):
            self.write(upload, content[:sent_bytes], start=upload.size)
        self.system.staging.interrupt(upload)

    def resume(self, path: str, content: bytes, *, user: str = "erp") -> None:
        """Continue an interrupted upload, or a waiting file, to its end."""
        with self.journal.act(adds=(content,)):
            upload = self.open(path, RESUME, user)
            with self.sending(upload, content):
                self.write(upload, content, start=upload.size)
            self.commit(upload)

    def append(self, path: str, old: bytes, tail: bytes, *, user: str = "erp") -> None:
        """Append to a waiting file that has ``old``, counting from 0 in writes of a few bytes, as libssh2 and others do."""
        self.journal.extended[old] = old + tail
        with self.journal.act(adds=(old + tail,), removes=(old,)):
            upload = self.open(path, APPEND, user)
            with self.sending(upload, old + tail):
                self.write(upload, tail, length=5)
            self.commit(upload)

    def break_append(self, path: str, old: bytes, tail: bytes, sent_bytes: int, *, user: str = "erp") -> None:
        """An append of which only the first bytes were sent when the connection broke."""
        upload = self.open(path, APPEND, user)
        with self.sending(upload, old + tail):
            self.write(upload, tail[:sent_bytes], length=5)
        self.system.staging.interrupt(upload)

    def open_and_close(self, path: str, *, user: str = "erp") -> str:
        """A resume that finds nothing to do; returns the id of the arrival that stays."""
        return self.commit(self.open(path, RESUME, user))[0].id

    # -- other acts of users, of the machine's other programs, and of the sweeper ------------------------------------

    def rename(self, old: str, new: str, *, replacing: bool = False, user: str = "erp") -> None:
        """RENAME, or POSIX-RENAME where it replaces."""
        self.acts.rename(self.sender(user), old, new, replacing=replacing, uploads=[])

    def rename_directory(self, old: str, new: str, files: dict[str, bytes]) -> None:
        """RENAME of a directory with these files: all of them get their new paths, or none does."""
        before, after = ({content: f"{directory}/{name}" for name, content in files.items()} for directory in (old, new))
        self.journal.paths.append([before, after])
        self.rename(old, new)
        self.journal.paths[-1] = [after]

    def remove(self, path: str, *contents: bytes, user: str = "erp") -> None:
        """REMOVE; ``contents`` are what goes."""
        with self.journal.act(removes=contents):
            self.acts.remove(self.sender(user), path, [])

    def truncate(self, path: str, content: bytes, size: int) -> None:
        """SETSTAT of the size of a file that has ``content``."""
        with self.journal.act(adds=(content[:size],)):
            self.acts.truncate(self.sender(), path, size, [])

    def make_directory(self, path: str, *, user: str = "erp") -> None:
        """MKDIR."""
        self.acts.make_directory(self.sender(user), path, [])

    def put_local(self, path: str, content: bytes) -> None:
        """Another program puts a file into the drop."""
        self.journal.counts[content] = ONCE
        target = self.data / "sync" / path
        target.write_bytes(content)
        os.utime(target, (1_700_000_000, 1_700_000_000))

    def put_into_store(self, path: str, content: bytes) -> None:
        """Another program puts a file into the store."""
        self.journal.counts[content] = ONCE
        self.journal.strangers.add(content)
        (self.data / "store" / path).write_bytes(content)

    def take_from_store(self, path: str, content: bytes) -> None:
        """A program that knows nothing of claims processes a file of the store and removes it."""
        self.journal.counts[content] = NEVER
        (self.data / "store" / path).unlink()

    def sweep(self) -> SweepResult:
        """One sweep."""
        result = self.sweeper.run()
        assert result is not None
        return result

    def tell(self) -> None:
        """Write all receipts that are due."""
        while self.receipts.step():
            pass

    def wait(self, **duration: float) -> None:
        """Let time pass."""
        self.clock.now += timedelta(**duration)

    # -- admins and runners ------------------------------------------------------------------------------------------

    def release(self, arrival: str) -> None:
        """What the admin's release does."""
        with self.system.journal.change() as change:
            self.system.placer.reconsider(change, change.get(arrival), actor=command(), release=True)
        _raise(change.failures)

    def publish_held(self, path: str, content: bytes) -> str:
        """A whole upload of a file that its contract holds, judged; returns the id of its arrival."""
        self.journal.unapproved.add(content)
        arrival = self.publish(path, content)
        self.judge()
        return arrival

    def judge(self) -> None:
        """What the server does a few times a second."""
        self.guard.judge_held()
        self.guard.end_approvals()

    def convert(self, content: bytes, text: bytes) -> None:
        """The server judges a file that it converts: no tool gets it as it came, which is kept all the same."""
        self.journal.unapproved.add(content)
        with self.journal.act(adds=(text,)):
            self.judge()

    def approve(self, arrival: str, content: bytes) -> None:
        """Somebody lets a held file go."""
        self.journal.unapproved.discard(content)
        self.journal.expired.discard(content)
        decisions.approve(self.system, command(), arrival, reason="it is right")

    def reject(self, arrival: str, content: bytes) -> None:
        """Somebody rejects a file, which is archived."""
        decisions.reject(self.system, command(), arrival, reason="it is wrong")
        self.journal.unapproved.add(content)

    def let_approvals_end(self, *contents: bytes) -> None:
        """Let more time pass than an approval has."""
        self.wait(hours=3)
        self.journal.expired.update(contents)

    def claim(self, path: str) -> Claim:
        """A runner takes the next arrival for the tool of a path."""
        tool = next((tool for tool in ("queue", "agreed", "texts") if path.startswith(tool)), "other")
        claim = self.claims.take(tool)
        if claim is None:
            raise ClaimLost("there is nothing to claim")
        self.held.append(claim)
        return claim

    def done(self, claim: Claim) -> None:
        """A run succeeded."""
        self.held.remove(claim)
        self.claims.end(claim, ClaimEnd(outcome=RunOutcome.DONE, exit_status=0))

    def die(self) -> None:
        """All runners die with their claims: the kernel closes their locks."""
        for claim in self.held:
            if claim.lock is not None:
                os.close(claim.lock)
        self.held.clear()

    def fail(self, claim: Claim) -> None:
        """A run failed; the second time, its file goes to quarantine."""
        self.held.remove(claim)
        self.claims.end(claim, ClaimEnd(outcome=RunOutcome.FAILED, exit_status=1))

    # -- looking -----------------------------------------------------------------------------------------------------

    def look(self, path: str, *, user: str = "erp") -> bytes | None:
        """The content of the file that a user sees at a path, as far as it can be trusted; None where there is none."""
        system = self.system
        item = SenderView(system.layout, system.disk, system.ledger, system.staging).lookup(user, path)
        return None if item is None else item.disk_path.local.read_bytes()[: item.size]

    def rows(self) -> list[Arrival]:
        """All that the ledger knows."""
        with self.system.ledger.reading() as connection:
            return arrivals.find(connection)


def _raise(failures: dict[arrivals.ArrivalId, SftpgateError]) -> None:
    for error in failures.values():
        raise error
