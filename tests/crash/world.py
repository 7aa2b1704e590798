"""A system, what its users do, and a journal of what they were promised: the test's memory, against which the disk is checked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from sftpgate.cli.compose import build
from sftpgate.cli.gate import make_edits, make_sweeper
from sftpgate.errors import ClaimLost, SftpgateError
from sftpgate.intake.edits import OpenMode
from sftpgate.intake.publish import Publisher
from sftpgate.intake.recovery import rebuild_if_new
from sftpgate.intake.sweep import SweepResult
from sftpgate.intake.union import Union
from sftpgate.intake.uploads import Sender, SessionTrace, Upload
from sftpgate.ledger import arrivals
from sftpgate.ledger.actor import command
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database import Ledger
from sftpgate.policy.lifecycle import UploadState
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claims import Claim
from sftpgate.runners.endings import Ending
from sftpgate.runners.holding import make_claims
from sftpgate.settings import Handover, Order, Settings, ToolSettings
from sftpgate.store.disk import Disk
from sftpgate.users.registry import UserRegistry
from tests.crash.machine import Clock

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
    the two is there. ``paths``: alternatives of where contents are; what is there of one is at its paths.
    """

    counts: dict[bytes, frozenset[int]] = field(default_factory=dict)
    sent: dict[str, list[bytes]] = field(default_factory=dict)
    strangers: set[bytes] = field(default_factory=set)
    extended: dict[bytes, bytes] = field(default_factory=dict)
    paths: list[list[dict[bytes, str]]] = field(default_factory=list)
    handover: Handover = Handover.TOOLS

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
    ) -> None:
        self.data = base / "data"
        self.journal = journal
        self.clock = clock
        queue = ToolSettings(file="queue*.csv", command=("true",), arrivals=Order.QUEUE)
        other = ToolSettings(file="*.csv", command=("true",), max_attempts=2)
        tools = {"queue": queue, "other": other} if journal.handover is Handover.TOOLS else {}
        self.settings = Settings(
            data_dir=self.data,
            keys_dir=base / "keys",
            free_space_floor=0,
            tools=tools,
            handover=journal.handover,
            consumer_interval=0,
            keep_quarantine=31536000.0,
        )
        self.system = build(self.settings, disk=disk, clock=clock, ledger=ledger)
        rebuild_if_new(self.system.moves, self.system.placer.rules.names)
        self.publisher = Publisher(self.system.moves, self.system.placer, self.system.staging)
        registry = UserRegistry(base / "keys")
        self.edits = make_edits(self.system, self.publisher, registry)
        self.claims = make_claims(self.system)
        self.held: list[Claim] = []
        self.sweeper = make_sweeper(self.system, self.edits, registry)

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
        return Sender(user=user, home="", address="192.0.2.1", login="password", client="test", session="S")

    def open(self, path: str, mode: OpenMode = NEW, user: str = "erp") -> Upload:
        """OPEN for writing."""
        return self.edits.open_for_writing(self.sender(user), path, mode, SessionTrace(), [])

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
            upload.times_ns = times_ns
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
        self.edits.rename(self.sender(user), old, new, replacing=replacing, uploads=[])

    def rename_directory(self, old: str, new: str, files: dict[str, bytes]) -> None:
        """RENAME of a directory with these files: all of them get their new paths, or none does."""
        before, after = ({content: f"{directory}/{name}" for name, content in files.items()} for directory in (old, new))
        self.journal.paths.append([before, after])
        self.rename(old, new)
        self.journal.paths[-1] = [after]

    def remove(self, path: str, *contents: bytes, user: str = "erp") -> None:
        """REMOVE; ``contents`` are what goes."""
        with self.journal.act(removes=contents):
            self.edits.remove(self.sender(user), path, [])

    def truncate(self, path: str, content: bytes, size: int) -> None:
        """SETSTAT of the size of a file that has ``content``."""
        with self.journal.act(adds=(content[:size],)):
            self.edits.truncate(self.sender(), path, size, [])

    def make_directory(self, path: str, *, user: str = "erp") -> None:
        """MKDIR."""
        self.edits.make_directory(self.sender(user), path, [])

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

    def wait(self, **duration: float) -> None:
        """Let time pass."""
        self.clock.now += timedelta(**duration)

    # -- admins and runners ------------------------------------------------------------------------------------------

    def release(self, arrival: str) -> None:
        """What the admin's release does."""
        with self.system.moves.change() as change:
            self.system.placer.reconsider(change, change.get(arrival), actor=command(), release=True)
        _raise(change.failures)

    def claim(self, path: str) -> Claim:
        """A runner takes the next arrival for the tool of a path."""
        claim = self.claims.take("queue" if path.startswith("queue") else "other")
        if claim is None:
            raise ClaimLost("there is nothing to claim")
        self.held.append(claim)
        return claim

    def done(self, claim: Claim) -> None:
        """A run succeeded."""
        self.held.remove(claim)
        self.claims.end(claim, Ending(outcome=RunOutcome.DONE, exit_status=0))

    def die(self) -> None:
        """All runners die with their claims: the kernel closes their locks."""
        for claim in self.held:
            if claim.lock is not None:
                os.close(claim.lock)
        self.held.clear()

    def fail(self, claim: Claim) -> None:
        """A run failed; the second time, its file goes to quarantine."""
        self.held.remove(claim)
        self.claims.end(claim, Ending(outcome=RunOutcome.FAILED, exit_status=1))

    # -- looking -----------------------------------------------------------------------------------------------------

    def look(self, path: str, *, user: str = "erp") -> bytes | None:
        """The content of the file that a user sees at a path, as far as it can be trusted; None where there is none."""
        system = self.system
        item = Union(system.layout, system.disk, system.ledger, system.staging).lookup(user, path)
        return None if item is None else item.spot.local.read_bytes()[: item.size]

    def rows(self) -> list[Arrival]:
        """All that the ledger knows."""
        with self.system.ledger.reading() as connection:
            return arrivals.find(connection)


def _raise(failures: dict[arrivals.ArrivalId, SftpgateError]) -> None:
    for error in failures.values():
        raise error
