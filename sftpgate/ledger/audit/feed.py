"""The feed: events of the record as followers read them, each from where it was, none twice and none left out.

A follower is somebody who does something about what has happened: who tells a sender, who asks whether a file is late. It has a
name, and its position, the number of the last event that it has dealt with, is a row of the ledger. It reads a batch behind its
position, and moves on in the transaction in which it records what it did:

    batch = feed.read(connection, "receipts", events=RECEIPT_EVENTS)
    with ledger.transaction() as connection:
        …                                # record what follows from batch.records
        feed.move_on(connection, batch)

What it promises: a follower that dies anywhere has either dealt with a batch and moved on, or has done neither. Records are
numbered without gaps in the order of their commits (``chain``), so no event ever appears behind a position. If two processes
follow under one name, the second to move on fails, and its transaction with it. What it does not: what a follower does outside of
the ledger (a file, a mail) cannot be in its transaction. It records that this is due, and does it afterwards, again if need be.

Batches are bounded by the events that fit and by those that are looked at, so that a transaction is short whatever came in
between. Old events are not removed before every follower has read them, but for a follower that is far behind (``read_by_all``):
its next batch says how many it has missed, and it has to look at the state of things instead. Everything blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select, update

from sftpgate.errors import FollowerMoved, UnknownFollower
from sftpgate.ledger.audit import chain, event_log
from sftpgate.ledger.audit.event_log import Record
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.database.schema import events as records
from sftpgate.ledger.database.schema import followers
from sftpgate.policy.lags import Lag

BATCH = 100  # events that fit, in one batch: publishers wait for its transaction
LOOKED_AT = 10_000  # events that one batch looks at, whether they fit or not; above BATCH, or it would be the limit

# How long past their time old events stay for a follower that has not read them. Longer than a summer's holiday, after which
# somebody sees that a follower does not move; short beside the three years that events are kept by default.
GRACE = timedelta(days=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a follower reads at a time: the events that fit, in order, up to the one numbered ``end``. ``begin`` is where it was.

    ``missed`` events behind its position were removed before it read them, whether they would have fitted or not.
    """

    follower: str
    begin: int
    end: int
    records: tuple[Record, ...]
    missed: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing has happened since: there is nothing to do and nowhere to move on to."""
        return self.end == self.begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """Where a follower is. ``behind``: how many events there are behind its position."""

    name: str
    position: int
    behind: int
    moved_at: datetime


def join(connection: Connection, name: str, *, at: datetime, from_beginning: bool = False) -> None:
    """Let a follower begin with what happens from now on, or with the oldest event that is there. One that is known already stays
    where it is.
    """
    if connection.execute(select(followers.c.name).where(followers.c.name == name)).first() is None:
        ends = chain.ends(connection)
        position = ends.anchor_seq if from_beginning else ends.head_seq
        connection.execute(insert(followers).values(name=name, position=position, moved_at=at))


def leave(connection: Connection, name: str) -> None:
    """Forget a follower: nothing is kept for it any more. One that is not known is forgotten already."""
    connection.execute(delete(followers).where(followers.c.name == name))


def all_followers(connection: Connection) -> list[Follower]:
    """Return all followers, by name."""
    head = chain.ends(connection).head_seq
    query = select(followers.c.name, followers.c.position, followers.c.moved_at).order_by(followers.c.name)
    return [
        Follower(name=name, position=position, behind=head - position, moved_at=moved_at)
        for name, position, moved_at in connection.execute(query)
    ]


def lags(connection: Connection) -> list[Lag]:
    """Return how far each follower is behind, by name."""
    return [
        Lag(name=each.name, events=each.behind, since=_oldest_unread(connection, each.position) if each.behind else None)
        for each in all_followers(connection)
    ]


def read(connection: Connection, name: str, *, events: Collection[str], limit: int = BATCH) -> Batch:
    """Return the next batch of a follower: at most ``limit`` events whose names are in ``events``, which may be patterns with
    ``*`` and ``?``. It may be without records and still have an ``end`` to move on to. Raises UnknownFollower.
    """
    begin = _position(connection, name)
    ends = chain.ends(connection)
    first = max(begin, ends.anchor_seq)
    end = max(first, min(ends.head_seq, first + LOOKED_AT))
    found = event_log.between(connection, after=first, up_to=end, named=events, limit=limit)
    if len(found) == limit:
        end = found[-1].seq
    return Batch(follower=name, begin=begin, end=end, records=tuple(found), missed=first - begin)


def move_on(connection: Connection, batch: Batch, *, at: datetime) -> None:
    """Record that all of a batch is dealt with, in the transaction that records what was done. Raises FollowerMoved if somebody
    else has dealt with it meanwhile: this transaction must not commit then.
    """
    is_where_it_was = (followers.c.name == batch.follower) & (followers.c.position == batch.begin)
    moved = connection.execute(update(followers).where(is_where_it_was).values(position=batch.end, moved_at=at))
    if moved.rowcount != 1:
        raise FollowerMoved(f"{batch.follower} is not at {batch.begin} any more: another process has read on")


def follow(
    ledger: Ledger,
    name: str,
    deal_with: Callable[[Connection, Batch], None],
    *,
    events: Collection[str],
    clock: Callable[[], datetime],
    limit: int = BATCH,
    batches: int | None = None,
) -> int:
    """Read on until nothing is left, or for so many ``batches``, and deal with each in a transaction of its own; returns how many
    events were dealt with. For followers whose work is records alone. ``deal_with`` must be quick: publishers wait for it. It is
    not called for a batch that has no records and has missed none.

    Raises UnknownFollower, FollowerMoved, and whatever ``deal_with`` raises: the batch is read again next time.
    """
    count = 0
    while batches is None or batches > 0:
        with ledger.reading() as connection:
            batch = read(connection, name, events=events, limit=limit)
        if batch.is_empty:
            break
        with ledger.transaction() as connection:
            if batch.records or batch.missed:
                deal_with(connection, batch)
            move_on(connection, batch, at=clock())
        count += len(batch.records)
        batches = None if batches is None else batches - 1
    return count


def read_by_all(connection: Connection, cutoff: datetime) -> int | None:
    """Return the number of the last event that may be removed for all that followers still have to read; None if there are none.

    A follower that is behind keeps events for ``GRACE`` past ``cutoff``, the time before which they may go. After that they go
    unread: a follower that never comes back must not keep the record growing for ever.
    """
    slowest = connection.execute(select(func.min(followers.c.position))).scalar()
    if slowest is None:
        return None
    is_kept = (records.c.seq > slowest, records.c.at >= cutoff - GRACE)
    first_kept = connection.execute(select(records.c.seq).where(*is_kept).order_by(records.c.seq).limit(1)).scalar()
    return chain.ends(connection).head_seq if first_kept is None else int(first_kept) - 1


def _oldest_unread(connection: Connection, position: int) -> datetime | None:
    query = select(records.c.at).where(records.c.seq > position).order_by(records.c.seq).limit(1)
    return connection.execute(query).scalar()


def _position(connection: Connection, name: str) -> int:
    position = connection.execute(select(followers.c.position).where(followers.c.name == name)).scalar()
    if position is None:
        raise UnknownFollower(f"nobody follows the record under the name {name}")
    return int(position)
