"""Writes receipts: a follower of the record that says to each sender what has become of its files.

What it guarantees: for each event that changes how a file stands for its sender (``policy/receipts.py``) there is one receipt,
numbered without gaps, in the order of the record, signed, and never changed. Receipts and the follower's position are
one transaction, so a kill anywhere leaves both or neither, and a receipt never says what the ledger does not.

Receipts are rows of the ledger, not files: a receipt costs no flush of its own, and there is no moment at which one
exists whose record does not. What a sender reads below ``/receipts`` is made of these rows (``drop/receipt_files.py``).

What it does not: tell of events that were removed before it read them; then it goes on with the next. Files of local programs
have no sender to tell, and a user who wants no receipts gets none. Everything blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache

from sftpgate.ids import Clock
from sftpgate.ledger import arrivals, runs, verdicts
from sftpgate.ledger.arrivals import LOCAL_OWNER, Arrival
from sftpgate.ledger.audit import event_log, feed
from sftpgate.ledger.audit.event_log import Record
from sftpgate.ledger.audit.feed import Batch
from sftpgate.ledger.database.connection import Connection, Ledger
from sftpgate.ledger.database.identity import identity
from sftpgate.ledger.receipts import places, records
from sftpgate.ledger.receipts.records import Receipt
from sftpgate.ledger.runs import Run
from sftpgate.logs import get_logger
from sftpgate.policy.disclosure import public_text
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.names import join
from sftpgate.policy.phrases import Sentence, Words, recognised
from sftpgate.policy.receipts import EVENTS, LastReceipt, ReceiptState, RecordedEvent, is_news, standing
from sftpgate.upkeep.receipts.form import Facts, body_of, make
from sftpgate.upkeep.receipts.references import References
from sftpgate.users.host_keys.signatures import Signer

log = get_logger("receipts")

NAME = "receipts"  # as which it follows the record
BATCH = 50  # events in one transaction: publishers wait for it
# How far the record may go on without a word for us before our position is moved: each move is a commit. Far below the days for
# which old events wait for us.
IDLE_EVENTS = 1000
IDLE_TIME = timedelta(minutes=10)  # nor for how long; below UNREAD of policy/lags.py, after which we are said to stand still


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRules:
    """What the writer asks others. ``wants``: whether a user is to have receipts; ``signer``: the key in use."""

    wants: Callable[[str], bool]
    signer: Callable[[], Signer]


class Receipts:
    """The follower. One instance at a time writes to a ledger (``app/serving/followers.py``)."""

    def __init__(self, ledger: Ledger, clock: Clock, references: References, rules: ReceiptRules) -> None:
        self._ledger = ledger
        self._clock = clock
        self._references = references
        self._rules = rules
        self._has_joined = False
        self._idle: tuple[int, datetime] | None = None  # where we are while nothing is news, and since when

    def step(self) -> bool:
        """Write the receipts of the next events; return whether there may be more to write."""
        if not self._has_joined:
            with self._ledger.transaction() as connection:
                feed.join(connection, NAME, at=self._clock())
            self._has_joined = True
        with self._ledger.reading() as connection:
            batch = feed.read(connection, NAME, events=EVENTS, limit=BATCH)
            if batch.is_empty or (not (batch.records or batch.missed) and not self._is_passed_over(batch)):
                return False
            unsigned = list(self._of_batch(connection, batch))
        signer = self._rules.signer() if unsigned else None
        written = [replace(each, signature=signer.sign(each.body.encode())) for each in unsigned if signer is not None]
        with self._ledger.transaction() as connection:
            records.add(connection, written)
            feed.move_on(connection, batch, at=self._clock())
        self._say(batch, written)
        return len(batch.records) == BATCH  # else the next ones are written together, in one commit, a moment later

    def leave(self) -> bool:
        """Follow the record no more: nobody wants receipts. Whoever joins again begins with what happens then."""
        with self._ledger.transaction() as connection:
            feed.leave(connection, NAME)
        self._has_joined = False
        return False

    def _is_passed_over(self, batch: Batch) -> bool:
        """Return whether a batch without news has grown so long, or so old, that it is time to move on: what came before our
        first look, we cannot know the age of. Each move is a commit.
        """
        now, is_first_look = self._clock(), self._idle is None
        if self._idle is None or self._idle[0] != batch.begin:
            self._idle = (batch.begin, now)
        return is_first_look or batch.end - batch.begin >= IDLE_EVENTS or abs(now - self._idle[1]) >= IDLE_TIME

    def _say(self, batch: Batch, written: list[Receipt]) -> None:
        if batch.missed:
            log.warning("receipts.missed", events=batch.missed, reason="they were removed before they were read")
        for each in written:
            log.debug("receipt.written", arrival=each.arrival, user=each.owner, receipt=each.file)

    def _of_batch(self, connection: Connection, batch: Batch) -> Iterator[Receipt]:
        """Yield the receipts of a batch, in order, not signed yet."""
        known: dict[str, Arrival] = {
            item.id: item for item in arrivals.find(connection, ids={_arrival_of(each) for each in batch.records})
        }
        gate = identity(connection) or ""
        last: dict[str, Receipt | None] = {}
        came: dict[tuple[str, str], int] = {}  # by sender and path, the number of the arrival that came there last
        wants = cache(self._rules.wants)  # which reads a file
        for record in batch.records:
            item = known.get(_arrival_of(record))
            if item is None or item.owner == LOCAL_OWNER or not wants(item.owner):
                continue
            previous = last[item.id] if item.id in last else records.last_of(connection, item.id)
            made = self._of_record(connection, gate, item, record, previous, came)
            last[item.id] = made or previous
            if made is not None:
                yield made

    def _of_record(
        self,
        connection: Connection,
        gate: str,
        item: Arrival,
        record: Record,
        previous: Receipt | None,
        came: dict[tuple[str, str], int],
    ) -> Receipt | None:
        """Return the receipt that tells of a record, or None if it is no news for the sender."""
        run = _ended_with(connection, record)
        told = None if previous is None else _told(previous)
        happened = _happened(connection, item, record, run)
        found = standing(happened, told)
        if found is None or not is_news(found, happened.path, told):
            return None
        reference = (
            self._reference(connection, item, record, happened.path, came) if previous is None else _reference_of(previous)
        )
        is_objected_to = found.state is ReceiptState.HELD and happened.reason is HoldReason.CONTRACT
        facts = Facts(
            gate=gate,
            arrival=item,
            path=happened.path,
            record=record,
            standing=found,
            reference=reference,
            run=run if found.state in (ReceiptState.PROCESSED, ReceiptState.QUARANTINED) else None,
            objections=verdicts.latest(connection, item.sha256) if is_objected_to else (),
        )
        return make(facts, previous)

    def _reference(
        self, connection: Connection, item: Arrival, record: Record, path: str, came: dict[tuple[str, str], int]
    ) -> str | None:
        """Return the sender's reference for a file that has no receipt yet; ``path`` is as the sender sees it."""
        place = (item.owner, path)
        if place not in came:
            directory, _, name = path.rpartition("/")
            before = places.newest_at(connection, item.owner, directory, name)
            earlier = [] if before is None else arrivals.find(connection, ids=[before.arrival])
            came[place] = max((each.seq for each in earlier), default=0)
        where = str(record.event.details.get("path", item.path))
        found = self._references.of(connection, item, where, since=came[place])
        came[place] = max(came[place], item.seq)
        return found


def _happened(connection: Connection, item: Arrival, record: Record, run: Run | None) -> RecordedEvent:
    details = record.event.details
    reason = details.get("reason")
    held = HoldReason(str(reason)) if reason is not None else None
    detail = str(details.get("detail", ""))
    return RecordedEvent(
        event=record.event.event,
        path=_as_seen(str(details.get("path", item.path)), item.home),
        state=ArrivalState(str(details.get("state", item.state))),
        reason=held,
        detail=detail,
        is_own_lock=held is not HoldReason.BATCH_LOCK or _has_lock(connection, item, detail),
        outcome=None if run is None else run.outcome,
        because=_public((run.because if run is not None else None) or str(details.get("because", ""))),
    )


def _as_seen(path: str, home: str) -> str:
    """Return a path of the drop as a sender with this home sees it."""
    return path.removeprefix(f"{home}/") if home else path


def _public(because: str) -> Words:
    """Return a reason as far as a sender may know it, without the full stop that a sentence around it has."""
    words = recognised(because) if because else ""
    return words if isinstance(words, Sentence) else public_text(words).rstrip(". ")


def _has_lock(connection: Connection, item: Arrival, name: str) -> bool:
    """Return whether a batch lock of this name is the sender's own."""
    found = arrivals.last_of(connection, join(item.home, name), item.owner)
    return any(each.state is ArrivalState.IGNORED for each in found)


def _ended_with(connection: Connection, record: Record) -> Run | None:
    """Return the run whose end this event follows from: its end is the record right before it of the same arrival."""
    before = event_log.before(connection, _arrival_of(record), record.seq)
    if before is None or before.event != "run.ended":
        return None
    ended = before.details.get("run")
    return next((run for run in runs.of_arrival(connection, _arrival_of(record)) if run.id == ended), None)


def _arrival_of(record: Record) -> str:
    return record.event.arrival or ""


def _told(receipt: Receipt) -> LastReceipt:
    body = body_of(receipt)
    text = body["text"]
    english = str(text["en"]) if isinstance(text, dict) else ""
    return LastReceipt(state=ReceiptState(receipt.state), code=str(body["code"]), path=str(body["path"]), text=english)


def _reference_of(receipt: Receipt) -> str | None:
    reference = body_of(receipt).get("reference")
    return reference if isinstance(reference, str) else None
