"""The form of a receipt, version 1: what stands in it, and under which names (docs/receipts/receipt-v1.schema.json).

The form is a promise to programs that we will never see: names and meanings stay, new ones may be added, and whatever would
break a reader is another version. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sftpgate.contracts.objections import Objection
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit.event_log import Record
from sftpgate.ledger.receipts.records import Receipt
from sftpgate.ledger.runs import Run
from sftpgate.policy.disclosure import public_text
from sftpgate.policy.phrases import in_language, recognised
from sftpgate.policy.receipts import FileStatement
from sftpgate.settings.choices import Language

FORMAT = "sftpgate-receipt"
VERSION = 1
MOST_ROWS = 100  # rejected rows that are listed; the report and the file of rejected rows have more


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a receipt is made of. ``path`` is as the sender sees it below the drop. ``run``: the one that ended with this."""

    gate: str
    arrival: Arrival
    path: str
    record: Record
    standing: FileStatement
    reference: str | None = None
    run: Run | None = None
    objections: Sequence[Objection] = ()


def make(facts: Facts, previous: Receipt | None) -> Receipt:
    """Return the receipt of ``facts`` behind the ``previous`` one of its arrival, not signed yet."""
    directory, _, name = facts.path.rpartition("/")
    unsigned = Receipt(
        arrival=facts.arrival.id,
        number=1 if previous is None else previous.number + 1,
        owner=facts.arrival.owner,
        directory=directory,
        name=name,
        state=facts.standing.state.value,
        record=facts.record.seq,
        at=facts.record.event.at,
        body="",
        signature="",
    )
    return _with_body(unsigned, facts, previous)


def body_of(receipt: Receipt) -> dict[str, object]:
    """Return what a receipt says."""
    found: dict[str, object] = json.loads(receipt.body)
    return found


def digest_of(receipt: Receipt) -> str:
    """Return the SHA-256 of a receipt's body, in hex: what the next one names."""
    return hashlib.sha256(receipt.body.encode()).hexdigest()


def _with_body(unsigned: Receipt, facts: Facts, previous: Receipt | None) -> Receipt:
    item, standing = facts.arrival, facts.standing
    body = {
        "format": FORMAT,
        "version": VERSION,
        "receipt": unsigned.file,
        "gate": facts.gate,
        "user": item.owner,
        "arrival": item.id,
        "number": unsigned.number,
        "previous": None if previous is None else digest_of(previous),
        "name": unsigned.name,
        "path": facts.path,
        "size": item.size,
        "sha256": item.sha256,
        "received_at": _time(item.received_at),
        "at": _time(facts.record.event.at),
        "state": standing.state.value,
        "code": standing.code,
        "final": standing.final,
        "action": standing.action.value,
        "text": _texts(standing),
        "reference": facts.reference,
        "problems": [_problem(each) for each in facts.objections],
        "run": None if facts.run is None else _run(facts.run),
        "record": {"number": facts.record.seq, "hash": facts.record.hash},
    }
    return replace(unsigned, body=json.dumps(body, ensure_ascii=False, indent=1) + "\n")


def _texts(standing: FileStatement) -> dict[str, str]:
    return {
        language.value: " ".join(text.in_language(language) for text in standing.texts)
        for language in (Language.ENGLISH, Language.FRENCH)
    }


def _problem(found: Objection) -> dict[str, object]:
    return {
        "code": found.code,
        "line": found.line,
        "count": found.count,
        "text": {language.value: found.sentence(language) for language in Language},
        "advice": {language.value: found.advice(language) for language in Language},
    }


def _run(run: Run) -> dict[str, object]:
    return {
        "tool": run.tool,
        "attempt": run.attempt,
        "started_at": _time(run.started_at),
        "ended_at": None if run.ended_at is None else _time(run.ended_at),
        "rows": run.rows,
        "accepted": run.accepted,
        "rejected": run.rejected,
        "rejected_rows": [_row(line, reason) for line, reason in run.rejected_rows[:MOST_ROWS]],
        "report": run.report,
        "tryback": run.tryback,
    }


def _row(line: int, reason: str) -> dict[str, object]:
    words = recognised(reason)
    return {
        "line": line or None,
        "reason": {language.value: public_text(in_language(words, language)) for language in Language},
    }


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
