"""Reports of what contracts say of files that they do not hold: rehearsals, and those that go on with a warning.

A follower of the record: it hears of such a file by an event, writes a report to staging, and one change gives the report its
name and moves on. A crash before that change leaves a staging file that expires, and the event is read again. A rehearsal is
judged here, by the process that judges every file. What local programs deposited has no sender to warn; a rehearsal of theirs
has its report for the administrators. Everything blocks, for as long as a verdict takes.
"""

from __future__ import annotations

from sftpgate.contracts.difference import Counts
from sftpgate.errors import UnknownArrival
from sftpgate.handover.guard import Guard, Rehearsal
from sftpgate.handover.journal import Journal
from sftpgate.handover.placement.placer import WARNED
from sftpgate.handover.resources import Resources
from sftpgate.ledger import arrivals, verdicts
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival, ArrivalId
from sftpgate.ledger.audit import event_log, feed
from sftpgate.ledger.audit.event_log import Record
from sftpgate.ledger.database.connection import Connection
from sftpgate.logs import get_logger
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import ArrivalEvent, ArrivalState
from sftpgate.policy.names import NameRules
from sftpgate.policy.phrases import phrase, recognised
from sftpgate.policy.rehearsals import RehearsalRules
from sftpgate.runners.reports import about_arrival, as_text
from sftpgate.settings.choices import Language
from sftpgate.upkeep.notices import Notices, in_words

log = get_logger("notices")

FOLLOWER = "verdict reports"
_COME = frozenset({"arrival.received", f"arrival.{ArrivalEvent.SET_ASIDE.value.replace(' ', '_')}"})  # into the folder
_EVENTS = frozenset({WARNED, *_COME})
_AT_ONCE = 1  # event of one batch: a rehearsal does not wait until others are judged, too
_SHOWN = 200  # characters of a group's name

Lines = list[tuple[str, str]]


class VerdictReports:
    """Tells senders what is wrong with files that are not held for it. One instance per process."""

    def __init__(
        self,
        resources: Resources,
        journal: Journal,
        notices: Notices,
        guard: Guard,
        names: NameRules,
        rules: RehearsalRules,
    ) -> None:
        self._resources = resources
        self._journal = journal
        self._notices = notices
        self._guard = guard
        self._names = names
        self._rules = rules

    def join(self) -> None:
        """Begin with what happens from now on, unless that was begun before."""
        with self._resources.ledger.reading() as connection:
            known = {follower.name for follower in feed.all_followers(connection)}
        if FOLLOWER not in known:
            with self._resources.ledger.transaction() as connection:
                feed.join(connection, FOLLOWER, at=self._resources.clock())

    def write_new(self) -> int:
        """Write the reports that are due, and return how many. Raises FollowerMoved if another process writes them."""
        written = 0
        while True:
            with self._resources.ledger.reading() as connection:
                batch = feed.read(connection, FOLLOWER, events=_EVENTS, limit=_AT_ONCE)
                about = [(record, item) for record in batch.records if (item := _found(connection, record)) is not None]
            if batch.is_empty:
                return written
            due = [(item, text, called) for record, item in about for text, called in self._texts(record, item)]
            if due:
                written += self._report(batch, *due[0])
            else:
                with self._resources.ledger.transaction() as connection:
                    feed.move_on(connection, batch, at=self._resources.clock())

    def _report(self, batch: feed.Batch, item: Arrival, text: str, called: str) -> int:
        with self._notices.staged(text) as disk_path, self._journal.change() as change:
            name = self._notices.publish(change, item, disk_path, called=called)
            feed.move_on(change.connection, batch, at=change.now)
        log.info("sender.told", arrival=item.id, path=item.path, user=item.owner, report=name)
        return 1

    def _texts(self, record: Record, item: Arrival) -> list[tuple[str, str]]:
        """Return the report that an event calls for, with what it is called after; none if it calls for none."""
        language, name = self._notices.language_of(item.owner), item.path.rpartition("/")[2]
        if record.event.event == WARNED:
            if item.owner == LOCAL_OWNER:
                return []
            with self._resources.ledger.reading() as connection:
                wrong = in_words(verdicts.latest(connection, item.sha256), language)
            return [(_of_warning(item, wrong, language), name)]
        in_earnest = self._rules.rehearsed(item.path, item.home)
        is_there = item.state is ArrivalState.IGNORED and item.path == record.event.details.get("path")
        if in_earnest is None or not is_there or not self._names.eligible(item.path):
            return []
        found = self._guard.rehearse(item, in_earnest)
        with self._resources.ledger.reading() as connection:
            doubt = event_log.doubt_of(connection, item.id) if item.grade is Grade.SUSPECT else ""
        return [(_of_rehearsal(item, in_earnest, found, doubt, language), f"{self._rules.folder}_{name}")]


def _found(connection: Connection, record: Record) -> Arrival | None:
    try:
        return arrivals.get(connection, ArrivalId(record.event.arrival or ""))
    except UnknownArrival:
        return None


def _of_warning(item: Arrival, wrong: list[str], language: Language) -> str:
    return as_text(
        [
            *about_arrival(item, language),
            (phrase("outcome", language), phrase("accepted, with warnings", language)),
            *((phrase("what is wrong", language), said) for said in wrong),
            (
                phrase("what next", language),
                phrase("The file goes on: at this time, what is wrong with it is only reported.", language),
            ),
        ]
    )


def _of_rehearsal(item: Arrival, in_earnest: str, found: Rehearsal, doubt: str, language: Language) -> str:
    """Return the report. ``doubt``: what speaks against the upload's being complete, which would hold the file first."""
    answer = found.answer
    lines: Lines = [
        *about_arrival(item, language),
        (phrase("tool", language), found.tool or ""),
        (phrase("outcome", language), _outcome(found, language, is_doubtful=bool(doubt))),
    ]
    if doubt:
        interrupted = phrase("The upload looks interrupted: {doubt}.", language, doubt=recognised(doubt))
        lines.append((phrase("what is wrong", language), interrupted))
    if answer is not None:
        if answer.converted_from:
            lines.append((phrase("notice", language), _conversion(answer.converted_from, language)))
        lines.append((phrase("rows", language), str(answer.rows)))
        lines += [(phrase("what is wrong", language), said) for said in in_words(answer.objections, language)]
        if answer.difference is not None:
            lines.append((phrase("difference", language), _counts(answer.difference, language)))
        lines += [
            (phrase("difference", language), f"{group[:_SHOWN]}: {_counts(counts, language)}") for group, counts in answer.groups
        ]
    next_step = phrase(
        "It was a rehearsal: nothing is done with the file, and it is removed by itself. In earnest, send it to {path}.",
        language,
        path=in_earnest.removeprefix(f"{item.home}/") if item.home else in_earnest,
    )
    return as_text([*lines, (phrase("what next", language), next_step)])


def _outcome(found: Rehearsal, language: Language, *, is_doubtful: bool) -> str:
    if found.tool is None:
        return phrase("rehearsal: no tool takes a file of this name", language)
    if found.holds or is_doubtful:
        return phrase("rehearsal: the file would be held", language)
    if found.answer is None:
        return phrase("rehearsal: the file would go on unchecked, its tool has no contract", language)
    if found.answer.objections:
        return phrase("rehearsal: the file would go on, with warnings", language)
    return phrase("rehearsal: nothing is wrong with the file", language)


def _conversion(encoding: str, language: Language) -> str:
    return phrase(
        "The file would be converted from {encoding}; its original would be kept in /archives.", language, encoding=encoding
    )


def _counts(counts: Counts, language: Language) -> str:
    return phrase(
        "of {of} rows of the last processed file {removed} are gone and {changed} changed; {added} are new",
        language,
        of=counts.of,
        removed=counts.removed,
        changed=counts.changed,
        added=counts.added,
    )
