"""Asks the contracts of tools: each file is judged in a process of its own, and what that says is the verdict on its content.

A file whose tool has a contract is held as *being checked* until its verdict is in the ledger; then it is placed anew, which
publishes it or holds it for what is wrong. So a crash at any moment leaves a held file without a verdict, which is judged at the
next look. Files are judged one after the other, in the order in which they came, by one process of all that share the store:
a small file does not overtake a large one of its queue.

A judge that dies, runs out of memory or time has not said that a file is good: the file is held, with that as the reason. A judge
that cannot be started says nothing; the file goes on being checked. Everything blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from sftpgate.contracts.judges import Answer, JudgeFailed, Judges, NotStarted
from sftpgate.contracts.objections import Objection
from sftpgate.errors import NoSuchFile, SftpgateError, ShuttingDown
from sftpgate.handover.contracts.conversions import Conversions, Scratch
from sftpgate.handover.journal import Journal
from sftpgate.handover.placement.contract_verdicts import FAILED, ContractTerms, is_final
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals, runs, verdicts
from sftpgate.ledger.arrivals import Arrival, ArrivalId
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.contracts import approvals
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.locations import Location
from sftpgate.policy.pointers import tool_for
from sftpgate.settings.contracts import Mode
from sftpgate.store.digest import sha256_of

log = get_logger("guard")

JUDGE_SECONDS = 600.0  # of a judge, which ends itself then: longer than its processor time (CPU_SECONDS), on a busy machine
_AT_ONCE = 50  # files that are looked up together


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What would become of a file. ``tool`` is the one that would get it, None: no one; ``answer`` is None if that has no
    contract; ``holds``: the file would be held.
    """

    tool: str | None
    answer: Answer | None = None
    holds: bool = False


class Guard:
    """Judges files by the contracts of their tools. Guards may share their ``judges``; ``stop`` then ends them for all."""

    def __init__(self, resources: Resources, journal: Journal, placer: Placer, judges: Judges | None = None) -> None:
        self._resources = resources
        self._journal = journal
        self._placer = placer
        self._judges = judges or Judges()
        self._conversions = Conversions(resources, journal, placer)
        self._is_stopped = False

    @property
    def is_needed(self) -> bool:
        """Whether any tool has a contract."""
        return bool(self._placer.rules.contracts)

    def stop(self) -> None:
        """End a judge that is at work, and judge nothing more: its file goes on being checked. Any thread may call this."""
        self._is_stopped = True
        self._judges.stop()

    def judge_held(self) -> int:
        """Judge the files that are held until they are judged, the oldest first, and place each anew; return how many.

        Does nothing while another process is at it. Raises LedgerError and StorageError.
        """
        if not self.is_needed or self._is_stopped:
            return 0
        count = 0
        with self._resources.disk.locked(self._resources.layout.guard_lock, wait=False) as mine:
            if not mine:
                return 0
            for item in self._unjudged():
                if not self.judge(item):
                    break  # the next one would overtake it
                count += 1
                self._place(item)
        return count

    def end_approvals(self) -> int:
        """Hold again what people had let go for a time that is over (``Placer.end_approvals``); return how many files."""
        with self._resources.ledger.reading() as connection:
            if not self._placer.approvals.overdue(connection):
                return 0
        with self._journal.change() as change:
            return self._placer.end_approvals(change)

    def altered(self) -> list[ArrivalId]:
        """Return approved files that wait with another content than was approved: somebody changed them on this machine.

        Reads them, so it is asked outside of a change. Raises LedgerError and StorageError.
        """
        with self._resources.ledger.reading() as connection:
            approved = {each.arrival for each in approvals.unused(connection)}
            waiting = [
                item for item in (arrivals.get(connection, each) for each in approved) if item.state is ArrivalState.WAITING
            ]
        return [item.id for item in waiting if not self._has_its_content(item)]

    def _has_its_content(self, item: Arrival) -> bool:
        with ExitStack() as opened:
            fd = None if item.location is None else self._open(item.location, opened)
            return fd is None or sha256_of(fd) == item.sha256  # one that is gone is noticed elsewhere

    def judge(self, item: Arrival) -> bool:
        """Record the verdict on a file, unless it is known; return False if it could not be judged now. Raises LedgerError and
        StorageError.

        ``item`` is an arrival, or a local file that is to become one: it lies at its ``location``, or else its ``pending_from``.
        """
        with self._resources.ledger.reading() as connection:
            terms = self._placer.verdicts.terms_of(connection, item.path)
            known = None if terms is None else verdicts.find(connection, item.sha256, terms.digest, terms.against)
            if terms is None or (known is not None and is_final(known)):
                return True
            processed = runs.processed_by(connection, terms.tool, runs.HISTORY_FILES)
        if not self._is_there(item):
            return True  # it is gone, and nobody's business any more
        if terms.contract.convert and not item.seq:
            return True  # no arrival yet: it is judged, and converted, where it is held
        return self._verdict(item, terms, processed, keeping=True) is not None

    def judge_now(self, item: Arrival) -> tuple[Objection, ...]:
        """Judge a file that has just come, before its turn, and return what its contract holds it for; none if that is not
        known. It is placed at once, unless an earlier file is still being checked: then it waits for its turn, as every file
        does. Raises LedgerError and StorageError.
        """
        if not self.judge(item):
            return ()
        with self._resources.ledger.reading() as connection:
            first = arrivals.held_for(connection, HoldReason.UNCHECKED, after_seq=0, limit=1)
            found = self._placer.verdicts.of(connection, arrivals.get(connection, item.id)).objections
        if first and first[0].id == item.id:
            self._place(item)
        return found if is_final(found) else ()

    def _is_there(self, item: Arrival) -> bool:
        where = item.location or item.pending_from
        return where is not None and self._journal.contents.exists(where)

    def rehearse(self, item: Arrival, path: str) -> Rehearsal:
        """Return what the contract of its tool says of a file, were it at ``path``. It is the verdict that it would get, and is
        recorded as that. Raises LedgerError, StorageError, and ShuttingDown after ``stop``.
        """
        tool = tool_for(path, self._placer.rules.pointers())
        with self._resources.ledger.reading() as connection:
            terms = self._placer.verdicts.terms_of(connection, path)
            processed = [] if terms is None else runs.processed_by(connection, terms.tool, runs.HISTORY_FILES)
        if terms is None:
            return Rehearsal(tool=tool)
        answer = self._verdict(item, terms, processed)
        if answer is None and self._is_stopped:
            raise ShuttingDown()
        answer = answer or _failed(item, "it could not be started")
        return Rehearsal(tool=tool, answer=answer, holds=bool(answer.objections) and terms.contract.mode is not Mode.WARN)

    def _verdict(
        self, item: Arrival, terms: ContractTerms, processed: Sequence[runs.ProcessedFile], *, keeping: bool = False
    ) -> Answer | None:
        """Let a process judge, and record what it says; None if there is no file any more, or no process could be started.
        ``keeping``: what it was converted to takes the file's place.
        """
        where = item.location or item.pending_from
        with ExitStack() as opened:
            content = self._open(where, opened) if where is not None else None
            if content is None:
                return None
            before = processed[0].location if processed else None
            last = self._open(Location(before), opened) if before is not None else None
            scratch = Scratch(self._resources, opened) if terms.contract.convert else None
            answer = self._ask(item, terms, processed, content, last, scratch)
            if answer is None and terms.contract.mode is Mode.WARN and not self._is_stopped:
                answer = _failed(item, "it could not be started")  # which holds nothing
            if answer is not None:
                self._record(item, terms, answer)
                if keeping and scratch is not None and answer.converted_from:
                    self._conversions.keep(item, scratch, answer, to=terms.contract.encoding)
        return answer

    def _record(self, item: Arrival, terms: ContractTerms, answer: Answer) -> None:
        sha256 = answer.converted_sha256 or item.sha256  # a file that is converted is never handed over as it came
        with self._resources.ledger.transaction() as connection:
            verdicts.record(connection, sha256, terms.digest, terms.against, answer.objections, at=self._resources.clock())
        codes = ", ".join(each.code for each in answer.objections)
        log.info("contract.judged", arrival=item.id, path=item.path, tool=terms.tool, objections=codes or "none")

    def _unjudged(self) -> Iterator[Arrival]:
        last = 0
        while True:
            with self._resources.ledger.reading() as connection:
                rows = arrivals.held_for(connection, HoldReason.UNCHECKED, after_seq=last, limit=_AT_ONCE)
            if not rows:
                return
            last = rows[-1].seq
            yield from rows

    def _place(self, item: Arrival) -> None:
        """Place a judged file anew. One that cannot be placed must not keep others back: the sweeper tries again."""
        with self._journal.change() as change:
            now = change.get(item.id)
            if now.state is not ArrivalState.HELD or now.hold_reason is not HoldReason.UNCHECKED:
                return
            try:
                self._placer.reconsider(change, now, actor=SYSTEM)
            except SftpgateError as error:
                change.note("arrival.release_failed", now, actor=SYSTEM, error=error.message)

    def _open(self, where: Location, opened: ExitStack) -> int | None:
        """Return a descriptor, closed with ``opened``; None if nothing is there any more.

        Raises StorageError: what cannot be read now, nothing is judged without.
        """
        try:
            fd = self._journal.contents.open(where)
        except NoSuchFile:
            return None
        opened.callback(os.close, fd)
        return fd

    def _ask(
        self,
        item: Arrival,
        terms: ContractTerms,
        processed: Sequence[runs.ProcessedFile],
        content: int,
        last: int | None,
        scratch: Scratch | None,
    ) -> Answer | None:
        """Let a process judge; None if it could not be started. What failed is said as an objection."""
        job = {
            "contract": terms.contract.model_dump(mode="json"),
            "processed": [[file.sha256, file.at.isoformat()] for file in processed],
            "now": self._resources.clock().isoformat(),
        }
        named = {"content": content, "last": last, "scratch": None if scratch is None else scratch.fd}
        files = {name: fd for name, fd in named.items() if fd is not None}
        try:
            answer = self._judges.ask(job, files, seconds=JUDGE_SECONDS)
        except NotStarted as error:
            log.error("contract.not_judged", arrival=item.id, path=item.path, reason=str(error))
            return None
        except JudgeFailed as error:
            log.error("contract.judge_died", arrival=item.id, path=item.path, reason=str(error.__cause__ or error))
            return _failed(item, str(error))
        if answer.sha256 != item.sha256:
            return _failed(item, "the file is not the one that arrived any more")
        return answer


def _failed(item: Arrival, reason: str) -> Answer:
    return Answer(sha256=item.sha256, rows=0, objections=(Objection(code=FAILED, details={"reason": reason}),))
