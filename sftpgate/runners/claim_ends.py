"""How a claim ends: the report, the new state of the arrival, and the place of its file, in one change.

The report and the rejected lines are durable before the change commits, so the ledger never names a report that is not there. A
report that cannot be written (a full disk) does not keep a run from being recorded: to run a tool twice on one file is worse.

``prepare`` writes them before the change, so that a long report keeps nobody from the store; all else runs inside a
``changes.Change``. Everything blocks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import BinaryIO

from sftpgate.errors import NoSpace, SftpgateError
from sftpgate.handover.changes import Change
from sftpgate.handover.placement.placer import Placer
from sftpgate.handover.resources import Resources
from sftpgate.ledger import claims, runs
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit.actor import Actor
from sftpgate.ledger.claims import ClaimRecord
from sftpgate.ledger.runs import NO_REPORTS, ReportNames
from sftpgate.logs import get_logger
from sftpgate.policy.lifecycle import Area, ArrivalEvent, ArrivalState
from sftpgate.policy.locations import location
from sftpgate.policy.outcome import NOTHING_STATED, Statement
from sftpgate.policy.phrases import Sentence, sentence
from sftpgate.policy.pointers import is_queued
from sftpgate.policy.runs import RunOutcome, attempts_after, event_after, wait_seconds
from sftpgate.policy.stamps import split_suffix
from sftpgate.runners.outputs import (
    MAX_OUTPUT_BYTES,
    beyond,
    hides_something,
    public_lines,
    text_of,
    to_be_read_twice,
    whole_lines,
)
from sftpgate.runners.rejected_rows import given_back, most_given_back, rejected_rows
from sftpgate.runners.reports import Papers, ReportFacts, Reports
from sftpgate.runners.run_directories import RunDirectory
from sftpgate.settings.choices import Language, Report, RowNumbers
from sftpgate.settings.tools import ToolSettings

log = get_logger("runner")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimEnd:
    """How the run of a claim ended.

    ``report`` and ``tryback`` are contents from elsewhere, closed in the end; else those in the run's directory count.
    ``statement`` is what the run says of itself.
    """

    outcome: RunOutcome
    statement: Statement = NOTHING_STATED
    exit_status: int | None = None
    notices: tuple[Sentence, ...] = ()
    report: BinaryIO | None = None
    tryback: BinaryIO | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What became of a claimed arrival, and the names in ``reports`` of what was kept of the run."""

    arrival: Arrival
    ended_at: datetime
    report: str | None
    tryback: str | None
    output: str | None  # the whole output, for the admin alone


class Endings:
    """Ends claims inside a change."""

    def __init__(
        self,
        resources: Resources,
        placer: Placer,
        tools: Mapping[str, ToolSettings],
        actor: Actor,
        language_of: Callable[[str], Language],
    ) -> None:
        self._resources = resources
        self._language_of = language_of
        self._placer = placer
        self._tools = tools
        self._actor = actor
        self._reports = Reports(resources)

    def prepare(self, item: Arrival, record: ClaimRecord, ending: ClaimEnd) -> Papers | None:
        """Return the report and the rejected lines of a claim that is about to end, written outside of the change that ends it.

        None if there are none: what was given back unused has no report, and with a full disk there may be none either.
        """
        if ending.outcome is RunOutcome.RELEASED:
            return None
        directory = RunDirectory(self._resources, record.token, item)
        try:
            directory.ensure()
            with contextlib.ExitStack() as files:
                body = ending.report or directory.written_output()
                lines = ending.tryback or directory.written_tryback()
                body, lines = (
                    file and files.enter_context(to_be_read_twice(files.enter_context(file))) for file in (body, lines)
                )
                return self._written(directory, item, record, ending, body, lines)
        except SftpgateError as error:
            self._say_not_written(item, record, error)
            return self._without_output(directory, item, record, ending) if isinstance(error, NoSpace) else None

    def _without_output(self, directory: RunDirectory, item: Arrival, record: ClaimRecord, ending: ClaimEnd) -> Papers | None:
        """Return the report alone, for a disk that is full: what the command wrote is lost, and makes room for it, and for the
        record of the run.
        """
        lost = sentence("this server's disk is full: what the command wrote is lost")
        try:
            directory.discard_papers()
            return self._written(directory, item, record, replace(ending, notices=(*ending.notices, lost)), None, None)
        except SftpgateError as error:
            self._say_not_written(item, record, error)
            return None

    def _written(
        self,
        directory: RunDirectory,
        item: Arrival,
        record: ClaimRecord,
        ending: ClaimEnd,
        output: BinaryIO | None,
        tryback: BinaryIO | None,
    ) -> Papers:
        """Return the papers of a run: what the sender reads of the output, its rejected rows, and the whole output, if that
        is more.
        """
        tool = self._tools.get(record.tool)
        name = item.path.rpartition("/")[2]
        wanted = {row.line for row in ending.statement.rejected_rows} - {0}
        row_numbers = tool.row_numbers if tool else RowNumbers.LINES
        rows = rejected_rows(directory, wanted, row_numbers)
        made = (
            None if tryback else list(given_back(directory, rows, header=tool.header if tool else True, row_numbers=row_numbers))
        )
        most = most_given_back(item.size)
        lines = whole_lines(tryback, most) if tryback else made or None
        notices = [*ending.notices, *ending.statement.notices, *directory.alterations()]
        if output is not None and (dropped := beyond(output, MAX_OUTPUT_BYTES)):
            text = "the output was longer than {limit} bytes: {dropped} bytes more were dropped"
            notices.append(sentence(text, limit=MAX_OUTPUT_BYTES, dropped=dropped))
        if tryback is not None and (dropped := beyond(tryback, most)):
            text = "the file of rejected rows was longer than {limit} bytes: {dropped} bytes more were dropped"
            notices.append(sentence(text, limit=most, dropped=dropped))
        notices += _what_is_missing(rows, wanted, ending.statement, given_back=bool(made))
        stem, suffix = split_suffix(name)
        facts = ReportFacts(
            tool=record.tool,
            arrival=item,
            started_at=record.claimed_at,
            ended_at=self._resources.clock(),
            outcome=ending.outcome,
            exit_status=ending.exit_status,
            attempt=item.attempts,
            max_attempts=tool.max_attempts if tool else None,
            notices=tuple(notices),
            statement=ending.statement,
            rows=rows,
            tryback=f"{stem}_tryback_…{suffix}" if lines else "",
            queued=is_queued(item.path, self._placer.rules.pointers()),
            language=self._language_of(item.owner),
        )
        encoding = tool.encoding if tool else ""
        is_summary = tool is None or tool.report is Report.SUMMARY
        told = facts.for_the_sender() if is_summary else facts
        body: Iterable[bytes] = ()
        whole: Iterable[bytes] | None = None
        if output is not None:
            hides = is_summary and hides_something(output, encoding)
            body = public_lines(output, encoding) if hides else text_of(output, encoding)
            whole = chain([facts.header()], text_of(output, encoding)) if hides else None
        return self._reports.prepare(
            directory.disk_path, name, facts.ended_at, report=chain([told.header()], body), tryback=lines, output=whole
        )

    def discard(self, papers: Papers | None) -> None:
        """Remove papers of a claim that did not end after all."""
        if papers is not None:
            self._reports.discard(papers)

    def end(self, change: Change, item: Arrival, record: ClaimRecord, ending: ClaimEnd, papers: Papers | None) -> Finished:
        """End the claim of ``item``, which is claimed, and bring up the next of its queue."""
        names = self._publish(item, record, papers)
        claims.remove(change.connection, item.id)
        runs.finish(
            change.connection,
            record.token,
            ended_at=change.now,
            outcome=ending.outcome,
            exit_status=ending.exit_status,
            statement=ending.statement,
            names=names,
        )
        change.note(
            "run.ended",
            item,
            actor=self._actor,
            tool=record.tool,
            run=record.token,
            outcome=ending.outcome.value,
            exit_status=ending.exit_status,
            report=names.report,
            rejected=ending.statement.rejected,
        )
        ended = self.place(change, item, record.tool, ending.outcome)
        log.info(
            "run.ended",
            tool=record.tool,
            arrival=item.id,
            path=item.path,
            user=item.owner,
            outcome=ending.outcome,
            exit_status=ending.exit_status,
            attempt=item.attempts,
            state=ended.state,
            rejected=ending.statement.rejected,
            report=names.report,
            seconds=round((change.now - record.claimed_at).total_seconds(), 3),
        )
        return Finished(arrival=ended, ended_at=change.now, report=names.report, tryback=names.tryback, output=names.output)

    def place(self, change: Change, item: Arrival, tool: str, outcome: RunOutcome) -> Arrival:
        """Bring the file to where the end of its run puts it, and bring up the next of its queue."""
        placed = self._placed(change, item, self._tools.get(tool), outcome)
        self._placer.queues.advance(change, item.path)
        return placed

    def gone(self, change: Change, item: Arrival, token: str, outcome: RunOutcome) -> None:
        """End the claim of an arrival whose file is gone, as the change has found and recorded."""
        claims.remove(change.connection, item.id)
        runs.finish(change.connection, token, ended_at=change.now, outcome=outcome)
        self._placer.queues.advance(change, item.path)

    # -- the file ----------------------------------------------------------------------------------------------------

    def _placed(self, change: Change, item: Arrival, tool: ToolSettings | None, outcome: RunOutcome) -> Arrival:
        where = location(Area.STORE, item.path)
        others = [other for other in change.line_at(item.path) if other.id != item.id]
        event = event_after(
            outcome,
            attempts=item.attempts,
            max_attempts=tool.max_attempts if tool else None,
            occupied=any(other.state is ArrivalState.WAITING for other in others),
            queued=is_queued(item.path, self._placer.rules.pointers()),
        )
        if event is ArrivalEvent.RETURNED and self._resources.disk.is_dir(self._resources.layout.disk_path(where)):
            event = ArrivalEvent.QUARANTINED  # somebody made a directory of that name: there is no way back
        if event in (ArrivalEvent.DONE, ArrivalEvent.REPLACED):
            return change.archive(item, event, actor=self._actor)
        if event is ArrivalEvent.QUARANTINED:
            return change.event(item, event, actor=self._actor, location=location(Area.QUARANTINE, item.id))
        if event is ArrivalEvent.QUEUED:
            where = location(Area.QUEUE, item.id)
        else:
            change.keep_unknown(where, item.path)
        seconds = wait_seconds(
            outcome, retry_delay=tool.retry_delay if tool else 0.0, tries=runs.tries_without_blame(change.connection, item.id)
        )
        return change.event(
            item,
            event,
            actor=self._actor,
            location=where,
            attempts=attempts_after(outcome, attempts=item.attempts, max_attempts=tool.max_attempts if tool else None),
            not_before=change.now + timedelta(seconds=seconds) if seconds else None,
        )

    # -- the report --------------------------------------------------------------------------------------------------

    def _publish(self, item: Arrival, record: ClaimRecord, papers: Papers | None) -> ReportNames:
        if papers is None:
            return NO_REPORTS
        try:
            return self._reports.publish(papers)
        except SftpgateError as error:
            self._say_not_written(item, record, error)
            return NO_REPORTS

    def _say_not_written(self, item: Arrival, record: ClaimRecord, error: SftpgateError) -> None:
        log.error("report.not_written", tool=record.tool, arrival=item.id, path=item.path, reason=error.message)


def _what_is_missing(
    rows: Mapping[int, bytes], wanted: set[int], statement: Statement, *, given_back: bool
) -> Iterator[Sentence]:
    """Return sentences on rejected rows that the sender is not given, so that nobody takes those that are given for all."""
    missing = sorted(wanted - set(rows))
    if len(missing) == 1:
        yield sentence("the file has no line {line}, or it is too long to be given back", line=missing[0])
    elif missing:
        text = "the file has no line {line}, or it is too long to be given back, and the same with {more} more"
        yield sentence(text, line=missing[0], more=len(missing) - 1)
    others = max(statement.rejected or 0, len(statement.rejected_rows)) - len(statement.rejected_rows)
    others += sum(not row.line for row in statement.rejected_rows)
    if given_back and others:
        text = "the file of rejected rows does not have all: of {others} nobody knows the line, or they are too many"
        yield sentence(text, others=others)
