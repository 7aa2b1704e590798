"""The record of what happened: one event a row, never changed (promise P8).

Every event is a link of a chain of hashes (``chain``), so a change of the record itself is found. Events are written in the
transaction of what they tell about; those of connections and logins come later, in batches (``trail``). Old ones are
removed from the beginning only, by ``prune_before``, which leaves an anchor.

Text from strangers is data: it is shortened, and characters that do not print become escapes.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    union_all,
)

from sftpgate.ledger.arrivals import like_pattern
from sftpgate.ledger.audit import chain
from sftpgate.ledger.audit.actor import SYSTEM, Actor, sender
from sftpgate.ledger.database.prepared import Prepared
from sftpgate.ledger.database.schema import events, microseconds, utc_time
from sftpgate.logs import printable

Detail = str | int | float | bool | None

PRUNE_LIMIT = 10_000  # records removed in one transaction: publishers wait for it
_MAX_TEXT = 1000  # characters of a detail: a path has at most 4096 bytes, and its end says little
_MAX_ACTOR = 100
_LOCAL_KINDS = ("cli", "runner")  # of actors with a local account
_MAX_ADDRESS = 64

_FIELDS = ("seq", "at", "event", "actor", "address", "arrival", "details", "hash")
_INSERT = Prepared(insert(events).values({name: bindparam(name) for name in _FIELDS}))
_COLUMNS = (events.c.seq, events.c.at, events.c.event, events.c.actor, events.c.address, events.c.arrival, events.c.details)
_BEFORE = Prepared(
    select(*_COLUMNS)
    .where(events.c.arrival == bindparam("arrival"), events.c.seq < bindparam("before"))
    .order_by(events.c.seq.desc())
    .limit(literal_column("1"))
    .offset(literal_column("0"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, and who did it."""

    at: datetime
    event: str
    actor: Actor
    address: str | None = None
    arrival: str | None = None
    details: dict[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An event as it is on the record: its number, and its link of the chain."""

    seq: int
    event: Event
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events to look for: those that fit all that is given. ``event`` is a pattern with ``*`` and ``?``, ``user`` an SFTP
    user or a local account, ``arrival`` the beginning of an id.
    """

    user: str | None = None
    address: str | None = None
    event: str | None = None
    arrival: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def record(connection: Connection, happened: Sequence[Event]) -> None:
    """Add events to the record, in their order."""
    if not happened:
        return
    ends = chain.ends(connection)
    seq, value = ends.head_seq, ends.head_hash
    rows = []
    for item in happened:
        seq += 1
        actor, details = _text(str(item.actor), _MAX_ACTOR), _details(item.details)
        address = None if item.address is None else _text(item.address, _MAX_ADDRESS)
        at = microseconds(item.at)
        value = chain.digest(value, seq, at, item.event, actor, address, item.arrival, details)
        rows.append(dict(zip(_FIELDS, (seq, at, item.event, actor, address, item.arrival, details, value), strict=True)))
    _INSERT.run(connection, rows)
    chain.advance(connection, seq, value)


def history(connection: Connection, arrival: str) -> list[Event]:
    """Return everything that happened to an arrival, in order."""
    query = select(*_COLUMNS).where(events.c.arrival == arrival).order_by(events.c.seq)
    return [_event(*row) for _, *row in connection.execute(query)]


def before(connection: Connection, arrival: str, seq: int) -> Event | None:
    """Return the last event of an arrival before the record numbered ``seq``; None if there is none."""
    rows = _BEFORE.rows(connection, [{"arrival": arrival, "before": seq}])
    return None if not rows else _event(utc_time(rows[0][1]), *rows[0][2:])


def arrivals_since(connection: Connection, seq: int) -> list[str]:
    """Return the arrivals that events after the record numbered ``seq`` speak of, each once."""
    query = select(events.c.arrival).where(events.c.seq > seq, events.c.arrival.is_not(None)).distinct()
    return [str(found) for found in connection.scalars(query)]


def doubt_of(connection: Connection, arrival: str) -> str:
    """Return what spoke against an arrival's being complete when it came; empty if the record has nothing of it."""
    return next((str(event.details["why"]) for event in history(connection, arrival) if "why" in event.details), "")


def named_since(connection: Connection, arrival: str, path: str) -> int:
    """Return the number of the record since which an arrival has ``path``: when it came, or was renamed to it last. Records
    are numbered in their order, whatever the clock does. 0 if the record is gone.
    """
    query = select(*_COLUMNS).where(events.c.arrival == arrival).order_by(events.c.seq.desc())
    since = 0
    for seq, *values in connection.execute(query):
        if _event(*values).details.get("path") != path:
            break
        since = seq
    return since


def search(connection: Connection, wanted: Wanted, *, last: int | None = None) -> Iterator[Record]:
    """Yield the events that fit, in order, one page in memory at a time; ``last``: only so many of the newest."""
    query = select(*_COLUMNS, events.c.hash).where(*_conditions(wanted))
    if wanted.user is not None:
        query = _of_actors(query, _actors(connection, wanted.user), wanted, last)
    elif last is not None:
        query = _newest(query, wanted, last)
    # "+ 0" if times are asked for: in the order of the numbers a database would look at all of them
    query = query.order_by(literal_column("seq" if (wanted.since, wanted.until) == (None, None) else "seq + 0"))
    with connection.execute(query.execution_options(yield_per=chain.PAGE)) as found:
        for seq, *values, value in found:
            yield Record(seq=seq, event=_event(*values), hash=value)


def between(connection: Connection, *, after: int, up_to: int, named: Collection[str], limit: int) -> list[Record]:
    """Return the first ``limit`` records of events with these names, numbered above ``after`` and not above ``up_to``, in
    order. A name may be a pattern with ``*`` and ``?``.
    """
    globs = [name for name in named if "*" in name or "?" in name]
    is_called = or_(
        events.c.event.in_(sorted(set(named) - set(globs))),
        *(events.c.event.like(like_pattern(glob), escape="\\") for glob in sorted(globs)),
    )
    is_wanted = (events.c.seq > after, events.c.seq <= up_to, is_called)
    query = select(*_COLUMNS, events.c.hash).where(*is_wanted).order_by(events.c.seq).limit(limit)
    return [Record(seq=seq, event=_event(*values), hash=value) for seq, *values, value in connection.execute(query)]


def prune_before(
    connection: Connection,
    cutoff: datetime,
    *,
    up_to: int | None = None,
    limit: int = PRUNE_LIMIT,
    at: datetime | None = None,
) -> int:
    """Remove records from the beginning, up to the first one that is not older than ``cutoff``, and at most ``limit``; returns
    how many. If it is ``limit``, there may be more: call again, in another transaction. Those numbered above ``up_to`` stay:
    somebody has to read them yet (``feed.read_by_all``).

    The chain stays verifiable: its anchor says where it begins now, and a new record (of the time ``at``, or now) says what was
    removed. So do not prune more often than about daily: each time adds a record.
    """
    first = chain.ends(connection).anchor_seq
    query = select(events.c.seq, events.c.at, events.c.hash).where(events.c.seq > first).order_by(events.c.seq).limit(limit)
    if up_to is not None:
        query = query.where(events.c.seq <= up_to)
    old = list(takewhile(lambda row: row.at < cutoff, connection.execute(query)))
    if not old:
        return 0
    anchor = old[-1]
    connection.execute(delete(events).where(events.c.seq <= anchor.seq))
    chain.set_anchor(connection, anchor.seq, anchor.hash)
    details: dict[str, Detail] = {"removed": len(old), "up_to": anchor.seq, "until": anchor.at.isoformat(), "hash": anchor.hash}
    record(connection, [Event(at=at or datetime.now(UTC), event=chain.PRUNED, actor=SYSTEM, details=details)])
    return len(old)


def _newest(query: Select[Any], wanted: Wanted, last: int) -> Select[Any]:
    """Return a query for the last records of those that ``query`` finds: by their times if times are asked for, or a user, since
    an index has them in this order; else by their numbers.
    """
    is_by_time = (wanted.since, wanted.until, wanted.user) != (None, None, None)
    order = (events.c.at.desc(), events.c.seq.desc()) if is_by_time else (events.c.seq.desc(),)
    return select(query.order_by(*order).limit(last).subquery())


def _of_actors(query: Select[Any], actors: Collection[str], wanted: Wanted, last: int | None) -> Select[Any]:
    """Return a query for the records of these actors; with ``last``, only so many of the newest. Each actor is a look into the
    index events_actor.
    """
    if last is None:
        return query.where(events.c.actor.in_(sorted(actors)))
    pages = [_newest(query.where(events.c.actor == actor), wanted, last) for actor in sorted(actors)]
    found = union_all(*pages).subquery()
    return select(select(found).order_by(found.c.at.desc(), found.c.seq.desc()).limit(last).subquery())


def _actors(connection: Connection, user: str) -> set[str]:
    """Return how the record may name a user: as a sender, and each local account of that name that is on it."""
    found = {user, str(sender(user))}
    for kind in _LOCAL_KINDS:
        start, end = f"{kind}:{user}(", f"{kind}:{user})"  # ")" follows "("
        while account := connection.scalar(select(func.min(events.c.actor)).where(events.c.actor > start, events.c.actor < end)):
            found.add(account)
            start = account
    return found


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.address is not None:
        found.append(events.c.address == wanted.address)
    if wanted.event is not None:
        found.append(events.c.event.like(like_pattern(wanted.event), escape="\\"))
    if wanted.arrival is not None:
        prefix = wanted.arrival.strip().upper()
        found += [events.c.arrival >= prefix, events.c.arrival < prefix + "~"]
    if wanted.since is not None:
        found.append(events.c.at >= wanted.since)
    if wanted.until is not None:
        found.append(events.c.at < wanted.until)
    return found


def _event(at: datetime, event: str, actor: str, address: str | None, arrival: str | None, details: str) -> Event:
    return Event(at=at, event=event, actor=Actor.parse(actor), address=address, arrival=arrival, details=json.loads(details))


def _details(details: dict[str, Detail]) -> str:
    """Return JSON in ASCII: any text of a client's can be stored by any database, and shown anywhere."""
    short = {name: value[:_MAX_TEXT] if isinstance(value, str) else value for name, value in details.items()}
    return json.dumps(short)


def _text(text: str, length: int) -> str:
    return printable(text[:length])
