"""The chain of events: each record's hash covers the hash before it, so that no record changes, goes or comes unseen.

The hash is SHA-256 over the canonical form of a record (``digest``). One row of the table ``chain`` has the head, which
is the last record's number and hash, and the anchor: the last record that was removed at the beginning because of its
age. Writing transactions take turns (``engines``), so the order of records is the order of commits, whichever process
writes.

What it promises: a record that was changed, removed or put in, and a tail that was cut off, are found. What it does not:
whoever can write the database can make a whole new chain. Against that, keep the head elsewhere (``sftpgate audit
--head``; the log has it at each stop) and check it later (``sftpgate verify --audit-head``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import BigInteger, Connection, Row, bindparam, insert, inspect, select, type_coerce, update

from sftpgate.ledger.database.prepared import Prepared
from sftpgate.ledger.database.schema import chain, events

GENESIS = "0" * 64  # stands before the first record
PRUNED = "audit.pruned"
PAGE = 1000

_ROW = 1
_ENDS = Prepared(
    select(chain.c.head_seq, chain.c.head_hash, chain.c.anchor_seq, chain.c.anchor_hash).where(chain.c.id == bindparam("row"))
)
_ADVANCE = Prepared(
    update(chain).where(chain.c.id == bindparam("row")).values(head_seq=bindparam("new_seq"), head_hash=bindparam("new_hash"))
)
_RECORDS = select(
    events.c.seq,
    type_coerce(events.c.at, BigInteger).label("at"),  # as it is stored: microseconds
    events.c.event,
    events.c.actor,
    events.c.address,
    events.c.arrival,
    events.c.details,
    events.c.hash,
).order_by(events.c.seq)
_HASH = update(events).where(events.c.seq == bindparam("row_seq")).values(hash=bindparam("new_hash"))


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of the chain. Numbers are 0 and hashes GENESIS if there is no record, and if none was removed."""

    head_seq: int
    head_hash: str
    anchor_seq: int
    anchor_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The first record that does not fit. ``problem`` says how."""

    seq: int
    problem: str


def digest(
    previous: str, seq: int, at: int, event: str, actor: str, address: str | None, arrival: str | None, details: str
) -> str:
    """Return the hash of a record, in hex: SHA-256 over the JSON list of the hash before it and all its fields, ASCII only,
    without blanks. ``at`` in microseconds since 1970.
    """
    canonical = json.dumps([previous, seq, at, event, actor, address, arrival, details], separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def ends(connection: Connection) -> Ends:
    """Return both ends. In a transaction that writes, nobody else appends before its end."""
    [row] = _ENDS.rows(connection, [{"row": _ROW}])
    return Ends(*row)


def advance(connection: Connection, seq: int, value: str) -> None:
    """Record that the chain ends with this record now."""
    _ADVANCE.run(connection, [{"row": _ROW, "new_seq": seq, "new_hash": value}])


def set_anchor(connection: Connection, seq: int, value: str) -> None:
    """Record that all records up to this one were removed."""
    connection.execute(update(chain).where(chain.c.id == _ROW).values(anchor_seq=seq, anchor_hash=value))


def begin(connection: Connection) -> int:
    """Make the chain, of the records that are there already (from an earlier version of the ledger); returns how many."""
    previous, last, count = GENESIS, 0, 0
    while rows := connection.execute(_RECORDS.where(events.c.seq > last).limit(PAGE)).all():
        hashes = []
        for row in rows:
            previous = _hash_of(previous, row)
            hashes.append({"row_seq": row.seq, "new_hash": previous})
        connection.execute(_HASH, hashes)
        last, count = rows[-1].seq, count + len(rows)
    connection.execute(insert(chain).values(id=_ROW, head_seq=last, head_hash=previous, anchor_seq=0, anchor_hash=GENESIS))
    return count


def is_there(connection: Connection) -> bool:
    """Return whether the ledger has a chain: one of an earlier version has none until it is upgraded."""
    return inspect(connection).has_table(chain.name)


def verify(
    connection: Connection, *, noted: tuple[int, str] | None = None, progress: Callable[[str, int], None] | None = None
) -> Break | None:
    """Return the first place where the chain is broken, or None. ``noted``: a head (number and hash) that was kept elsewhere and
    must still be in the chain. Reads every record, a page at a time.
    """
    with connection.execute(_RECORDS.execution_options(yield_per=PAGE)) as records:
        return _first_break(ends(connection), records, noted, progress)


def _first_break(
    there: Ends,
    records: Iterable[Row[tuple[object, ...]]],
    noted: tuple[int, str] | None,
    progress: Callable[[str, int], None] | None,
) -> Break | None:
    seq, value, count = there.anchor_seq, there.anchor_hash, 0
    anchored = there.anchor_seq == 0
    for row in records:
        if problem := _problem(row, seq, value):
            return Break(seq=row.seq, problem=problem)
        if noted is not None and noted[0] == row.seq and noted[1] != row.hash:
            return Break(seq=row.seq, problem="it is not the record that the noted head names: the chain was written anew")
        anchored = anchored or (row.event == PRUNED and json.loads(row.details).get("up_to") == there.anchor_seq)
        seq, value, count = row.seq, row.hash, count + 1
        if progress is not None:
            progress("records checked", count)
    return _problem_at_the_ends(there, seq, value, anchored, noted)


def _problem(row: Row[tuple[object, ...]], last_seq: int, last_hash: str) -> str | None:
    if row.seq <= last_seq:
        return "it is of the time before the chain's beginning, which was removed: it was put in"
    if _hash_of(last_hash, row) == row.hash:
        return None
    if row.seq > last_seq + 1:
        return f"records before it, after {last_seq}, are missing, or it was changed"
    return "its hash does not fit: it, or its hash, was changed"


def _problem_at_the_ends(there: Ends, seq: int, value: str, anchored: bool, noted: tuple[int, str] | None) -> Break | None:
    if seq < there.head_seq:
        return Break(seq=seq + 1, problem=f"records are missing at the end: {there.head_seq} is the last one, {seq} is there")
    if (seq, value) != (there.head_seq, there.head_hash):
        return Break(seq=there.head_seq + 1, problem="it comes after the recorded end of the chain: it was put in")
    if not anchored:
        return Break(seq=there.anchor_seq, problem="records up to it are missing, and no record says that they were pruned")
    if noted is not None and noted[0] > there.head_seq:
        return Break(seq=noted[0], problem=f"the noted head is not there: the chain ends at {there.head_seq}")
    return None


def _hash_of(previous: str, row: Row[tuple[object, ...]]) -> str:
    return digest(previous, row.seq, row.at, row.event, row.actor, row.address, row.arrival, row.details)
