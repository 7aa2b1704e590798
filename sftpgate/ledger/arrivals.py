"""Records of arrivals: one row each, from publication to its end.

A row that says where its file is (``location``) and where it was before (``pending_from``) is the journal of the
hand-over: see ``handover/journal.py``. All functions take an open connection, so that several of them make one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cache
from typing import Any, NewType

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    tuple_,
    union_all,
    update,
)

from sftpgate.errors import UnknownArrival
from sftpgate.ledger.database.prepared import Prepared
from sftpgate.ledger.database.schema import arrivals, microseconds, utc_time
from sftpgate.policy.evidence import Grade
from sftpgate.policy.lifecycle import FINAL_STATES, LIVE_STATES, UNCLAIMED_STATES, ArrivalState, HoldReason
from sftpgate.policy.locations import Location
from sftpgate.policy.restored import COARSEST_NS, is_time_kept

ArrivalId = NewType("ArrivalId", str)

LOCAL_OWNER = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One complete file received, and where it stands. ``path`` is relative to the drop; times are aware UTC; ``sha256``
    is in hex.

    ``hold_detail`` says for people what the check that holds it saw; None if the reason says everything. ``inode`` identifies the
    file on the store's filesystem; 0 if it is not known.
    """

    id: ArrivalId
    owner: str
    home: str = ""
    path: str
    state: ArrivalState
    hold_reason: HoldReason | None = None
    hold_detail: str | None = None
    size: int
    sha256: str
    grade: Grade
    location: Location | None
    pending_from: Location | None = None
    inode: int
    mtime_ns: int
    received_at: datetime
    changed_at: datetime
    source: str
    address: str | None = None
    login: str | None = None
    client: str | None = None
    session: str | None = None
    attempts: int = 0
    not_before: datetime | None = None
    archived_as: str | None = None
    seq: int = 0  # given by the ledger


def _first(count: int, query: Select[Any]) -> Select[Any]:
    """Return the first rows of a query, their number a part of the statement: a prepared one has only the parameters of its
    caller.
    """
    return query.limit(literal_column(str(count))).offset(literal_column("0"))


def _in_states(states: Collection[ArrivalState]) -> ColumnElement[bool]:
    """Return the condition that an arrival is in one of these states, as a part of the statement, or the index of a state is not
    used.
    """
    if len(states) == 1:
        [only] = states
        return literal_column(f"state = '{only}'")
    return literal_column("state IN (" + ", ".join(f"'{state}'" for state in sorted(states)) + ")")


_FIELDS = [field.name for field in fields(Arrival)]
_COLUMNS = [arrivals.c[name] for name in _FIELDS]
_ALL = select(*_COLUMNS)
_PAGE = 500  # rows that are fetched together if there may be a million
_KEPT = frozenset({"seq", "id", "owner", "received_at", "source"})  # what never changes
_LIVE: ColumnElement[bool] = literal_column("live = 1")  # as it stands in the partial index, or the index is not used
_IS_LIVE = _in_states(LIVE_STATES)
_WRITTEN = [name for name in (*_FIELDS, "live") if name != "seq"]
_INSERT = Prepared(insert(arrivals).values({name: bindparam(name) for name in _WRITTEN}))
_UPDATE = Prepared(
    update(arrivals)
    .where(arrivals.c.seq == bindparam("row_seq"))
    .values({name: bindparam(name) for name in _WRITTEN if name not in _KEPT})
)
_SETTLE = Prepared(
    update(arrivals)
    .where(arrivals.c.id == bindparam("row_id"))
    .values(
        pending_from=null(), inode=bindparam("new_inode"), live=case((_IS_LIVE, literal_column("1")), else_=literal_column("0"))
    )
)
_AT_PATH = arrivals.c.path == bindparam("path")
_LIVE_AT = Prepared(_ALL.where(_LIVE, _AT_PATH).order_by(arrivals.c.seq))
_LIVE_AFTER = Prepared(
    _ALL.where(_LIVE, arrivals.c.seq > bindparam("after_seq"))
    .order_by(arrivals.c.seq)
    .limit(bindparam("limit"))
    .offset(literal_column("0"))
)
_FEW = 8  # live arrivals of a path that are read at once, without asking whether they are a queue: nearly no path has more
_FEW_AT = Prepared(_first(_FEW, _ALL.where(_LIVE, _AT_PATH).order_by(arrivals.c.seq)))
_IS_QUEUED = _in_states({ArrivalState.QUEUED})
_BESIDE_QUEUE = _in_states(LIVE_STATES - {ArrivalState.QUEUED})
_ENDS_AT = Prepared(
    _ALL.where(
        arrivals.c.seq.in_(
            union_all(  # each of these is a look or a few into the index arrivals_state
                select(arrivals.c.seq).where(_AT_PATH, _BESIDE_QUEUE),
                select(func.min(arrivals.c.seq)).where(_AT_PATH, _IS_QUEUED),
                select(func.max(arrivals.c.seq)).where(_AT_PATH, _IS_QUEUED),
            )
        )
    ).order_by(arrivals.c.seq)
)
_NEWEST_QUEUED = Prepared(
    _first(1, _ALL.where(_AT_PATH, _IS_QUEUED, arrivals.c.owner == bindparam("owner")).order_by(arrivals.c.seq.desc()))
)
_NEXT_QUEUED = Prepared(
    _first(1, _ALL.where(_AT_PATH, _IS_QUEUED, arrivals.c.seq > bindparam("after_seq")).order_by(arrivals.c.seq))
)
_IS_FINAL = _in_states(FINAL_STATES)
_ENDED_ALIKE = Prepared(
    select(arrivals.c.sha256, arrivals.c.state, arrivals.c.mtime_ns)
    .where(
        arrivals.c.path == bindparam("path"),
        arrivals.c.size == bindparam("size"),
        arrivals.c.mtime_ns >= bindparam("first_ns"),
        arrivals.c.mtime_ns <= bindparam("last_ns"),
        _IS_FINAL,
    )
    .order_by(arrivals.c.seq)
)
_NO_WITNESS = _in_states({ArrivalState.DISCARDED, ArrivalState.LOST})
_SENT_BEFORE = Prepared(
    _first(
        1,
        select(arrivals.c.seq).where(
            arrivals.c.path == bindparam("path"),
            arrivals.c.size == bindparam("size"),
            arrivals.c.sha256 == bindparam("sha256"),
            arrivals.c.owner == bindparam("owner"),
            ~_NO_WITNESS,
        ),
    )
)
_PENDING = Prepared(_ALL.where(arrivals.c.pending_from.is_not(None)).order_by(arrivals.c.seq))


def add(connection: Connection, new: Sequence[Arrival]) -> None:
    """Record new arrivals, in their order."""
    if new:
        _INSERT.run(connection, [_values(item) for item in new])


def save(connection: Connection, changed: Iterable[Arrival]) -> None:
    """Record changes of arrivals that the ledger has."""
    rows = [_values(item) | {"row_seq": item.seq} for item in changed]
    if rows:
        _UPDATE.run(connection, rows)


def forget_all(connection: Connection) -> None:
    """Forget the arrivals of a ledger that was being made anew, and was not finished. What happened stays on the record."""
    connection.execute(delete(arrivals))


def settled(connection: Connection, inodes: Mapping[ArrivalId, int]) -> None:
    """Record that the last moves of these arrivals are durable, and which inodes their files have now."""
    if inodes:
        _SETTLE.run(connection, [{"row_id": arrival, "new_inode": inode} for arrival, inode in inodes.items()])


def live_at(connection: Connection, paths: Iterable[str]) -> list[Arrival]:
    """Return what ``find(live=True, paths=…)`` finds, sooner: path by path, each in order of arrival."""
    return [_of_values(row) for row in _LIVE_AT.rows(connection, ({"path": path} for path in paths))]


def line_at(connection: Connection, paths: Iterable[str], *, owner: str | None = None) -> list[Arrival]:
    """Return what decides about a path: its live arrivals, but of a long queue only the first and the last, and the last of
    ``owner`` if one is given. Path by path, each in order of arrival. However long the queue is, the cost is the same.
    """
    found: list[Arrival] = []
    for path in paths:
        rows = _FEW_AT.rows(connection, [{"path": path}])
        if len(rows) < _FEW:
            found += map(_of_values, rows)
        else:
            found += _line_of_queue(connection, path, owner)
    return found


def _line_of_queue(connection: Connection, path: str, owner: str | None) -> list[Arrival]:
    rows = _ENDS_AT.rows(connection, [{"path": path}])
    if owner is not None:
        rows += _NEWEST_QUEUED.rows(connection, [{"path": path, "owner": owner}])
    line = {item.seq: item for item in map(_of_values, rows)}
    return [line[seq] for seq in sorted(line)]


def next_queued(connection: Connection, path: str, *, after_seq: int) -> Arrival | None:
    """Return the next arrival of the queue of ``path`` behind the one of this number, or None."""
    rows = _NEXT_QUEUED.rows(connection, [{"path": path, "after_seq": after_seq}])
    return _of_values(rows[0]) if rows else None


def live_after(connection: Connection, seq: int, limit: int) -> list[Arrival]:
    """Return what ``find(live=True, after_seq=…, limit=…)`` finds, sooner: for a look at all of them."""
    return [_of_values(row) for row in _LIVE_AFTER.rows(connection, [{"after_seq": seq, "limit": limit}])]


def live_below(connection: Connection, directory: str, *, after: tuple[str, int], limit: int) -> list[Arrival]:
    """Return the first ``limit`` live arrivals below a directory (relative to the drop) behind ``after``, by path and number."""
    key = tuple_(arrivals.c.path, arrivals.c.seq)
    return select_where(
        connection,
        _LIVE,
        arrivals.c.path > directory + "/",
        arrivals.c.path < directory + "0",  # "0" follows "/"
        key > tuple_(literal(after[0]), literal(after[1])),
        limit=limit,
        order_by=(arrivals.c.path, arrivals.c.seq),
    )


def newest_below(connection: Connection, directory: str) -> int:
    """Return the number of the newest live arrival below a directory (relative to the drop); 0 if there is none."""
    below = (arrivals.c.path > directory + "/", arrivals.c.path < directory + "0")  # "0" follows "/"
    return connection.execute(select(func.max(arrivals.c.seq)).where(_LIVE, *below)).scalar() or 0


def newest_of(connection: Connection, path: str, *, owner: str, states: Collection[ArrivalState], limit: int) -> list[Arrival]:
    """Return the last ``limit`` live arrivals of a path and an owner in these states, the newest first."""
    rows = _newest_of(frozenset(states), limit).rows(connection, [{"path": path, "owner": owner}])
    return [_of_values(row) for row in rows]


@cache
def _newest_of(states: frozenset[ArrivalState], limit: int) -> Prepared:
    is_owners = func.coalesce(arrivals.c.owner, literal_column("''")) == bindparam("owner")
    return Prepared(_first(limit, _ALL.where(_LIVE, _AT_PATH, _in_states(states), is_owners).order_by(arrivals.c.seq.desc())))


def pending(connection: Connection) -> list[Arrival]:
    """Return the arrivals whose last move is not known to be durable, in order of arrival."""
    return [_of_values(row) for row in _PENDING.rows(connection, [{}])]


def get(connection: Connection, arrival: ArrivalId) -> Arrival:
    """Return the arrival with this id. Raises UnknownArrival."""
    row = connection.execute(_ALL.where(arrivals.c.id == arrival)).first()
    if row is None:
        raise UnknownArrival(f"there is no arrival {arrival}")
    return _arrival(row)


def replaced_bytes(connection: Connection, owner: str, since: datetime) -> int:
    """Return how many bytes the archives have of files of ``owner`` that were replaced by later ones since then."""
    query = select(func.coalesce(func.sum(arrivals.c.size), 0)).where(
        arrivals.c.owner == owner,
        _in_states({ArrivalState.REPLACED}),
        arrivals.c.archived_as.is_not(None),
        arrivals.c.changed_at >= since,
    )
    return int(connection.execute(query).scalar_one())


def newest_id(connection: Connection) -> str:
    """Return the largest id of an arrival; empty if there is none."""
    return connection.execute(select(func.max(arrivals.c.id))).scalar() or ""


def last_of(connection: Connection, path: str, owner: str, *, limit: int = 1) -> list[Arrival]:
    """Return the last ``limit`` arrivals of ``owner`` at a path, whatever became of them, the newest first. However often
    they sent it, the cost is the same.
    """
    line = (arrivals.c.state, arrivals.c.path, arrivals.c.seq)  # as an index has them, and no other one

    def of_state(state: ArrivalState) -> Select[Any]:
        first, end = (tuple_(literal(state.value), literal(path), literal(seq)) for seq in (0, 2**63 - 1))
        is_owners = func.coalesce(arrivals.c.owner, "") == owner  # the index of an owner's must not look like the better one
        found = select(arrivals.c.seq).where(tuple_(*line) > first, tuple_(*line) < end, is_owners)
        newest = found.order_by(*(column.desc() for column in line)).limit(limit).subquery()
        return select(newest.c.seq)

    return _of_pages(connection, map(of_state, ArrivalState), limit, (arrivals.c.seq.desc(),))


def _of_pages(
    connection: Connection, pages: Iterable[Select[Any]], limit: int, order_by: Sequence[ColumnElement[Any]]
) -> list[Arrival]:
    """Return the first ``limit`` of the arrivals whose numbers these queries find. The numbers are asked for first: in one
    statement with the rest a database may look at all arrivals, and ask of each whether it is among them.
    """
    numbers = list(connection.scalars(union_all(*pages)))
    return select_where(connection, arrivals.c.seq.in_(numbers), limit=limit, order_by=order_by)


def find(
    connection: Connection,
    *,
    live: bool = False,
    paths: Collection[str] | None = None,
    below: str | None = None,
    states: Collection[ArrivalState] | None = None,
    owner: str | None = None,
    owners: Collection[str] | None = None,
    home: str | None = None,
    hold_reason: HoldReason | None = None,
    ids: Collection[str] | None = None,
    pending: bool = False,
    glob: str | None = None,
    archived_as: str | None = None,
    after_seq: int = 0,
    limit: int | None = None,
) -> list[Arrival]:
    """Return the arrivals that fit all that is given, in order of arrival.

    ``live``: whose state is not final, or whose last move is not known to be durable. ``below`` is a directory, relative to
    the drop (empty: all of it); ``glob`` a pattern for the whole path, with ``*`` and ``?``.
    """
    query = _ALL
    if live:
        query = query.where(_LIVE)
    if paths is not None:
        query = query.where(arrivals.c.path.in_(paths))
    if below:
        query = query.where(arrivals.c.path > below + "/", arrivals.c.path < below + "0")  # "0" follows "/"
    if states is not None:
        query = query.where(arrivals.c.state.in_([state.value for state in states]))
    if owner is not None:
        query = query.where(arrivals.c.owner == owner)
    if owners is not None:
        query = query.where(arrivals.c.owner.in_(owners))
    if home is not None:
        query = query.where(arrivals.c.home == home)
    if hold_reason is not None:
        query = query.where(arrivals.c.hold_reason == hold_reason.value)
    if ids is not None:
        query = query.where(arrivals.c.id.in_(ids))
    if pending:
        query = query.where(arrivals.c.pending_from.is_not(None))
    if glob is not None:
        query = query.where(arrivals.c.path.like(like_pattern(glob), escape="\\"))
    if archived_as is not None:
        query = query.where(arrivals.c.archived_as == archived_as)
    if after_seq:
        query = query.where(arrivals.c.seq > after_seq)
    query = query.order_by(arrivals.c.seq)
    if limit is not None:
        query = query.limit(limit)
    return [_arrival(row) for row in connection.execute(query)]


def newest(
    connection: Connection,
    *,
    states: Collection[ArrivalState] | None = None,
    owner: str | None = None,
    glob: str | None = None,
    since: datetime | None = None,
    limit: int,
) -> list[Arrival]:
    """Return the ``limit`` arrivals that were received last of those that fit all that is given, the newest first. ``glob`` is a
    pattern for the whole path, with ``*`` and ``?``.

    Costs what it returns, however many records there are; only ``glob`` looks at all that fit the rest.
    """
    wanted: list[ColumnElement[bool]] = []
    if owner is not None:
        wanted.append(arrivals.c.owner == owner)
    if since is not None:
        wanted.append(arrivals.c.received_at >= since)
    if glob is not None:
        wanted.append(arrivals.c.path.like(like_pattern(glob), escape="\\"))
    order = (arrivals.c.received_at.desc(), arrivals.c.seq.desc())

    def of_state(state: ArrivalState) -> Select[Any]:  # a look into the index arrivals_newest, or arrivals_newest_of
        page = select(arrivals.c.seq).where(_in_states({state}), *wanted).order_by(*order).limit(limit).subquery()
        return select(page.c.seq)

    return _of_pages(connection, map(of_state, states or ArrivalState), limit, order)


def held_for(connection: Connection, reason: HoldReason, *, after_seq: int, limit: int) -> list[Arrival]:
    """Return arrivals that are held for a reason, in their order, at most ``limit`` of those behind ``after_seq``."""
    held = (_in_states({ArrivalState.HELD}), arrivals.c.hold_reason == reason.value, arrivals.c.seq > after_seq)
    return select_where(connection, *held, order_by=(arrivals.c.seq,), limit=limit)


def owners_held(connection: Connection, reason: HoldReason, *, home: str) -> list[str]:
    """Return whose files of this home are held for this reason, sorted."""
    is_held = _in_states({ArrivalState.HELD})
    query = select(arrivals.c.owner).where(is_held, arrivals.c.hold_reason == reason.value, arrivals.c.home == home)
    return sorted(connection.scalars(query.distinct()))


def paths_in(connection: Connection, directory: str, *, owner: str, after: str = "", limit: int | None = None) -> list[str]:
    """Return the first ``limit`` paths behind ``after`` of an owner's live arrivals that are in ``directory`` itself
    (relative to the drop; empty: its top), sorted. Costs what is live there, however many records there are.
    """
    top = directory + "/" if directory else ""
    path = arrivals.c.path
    # An owner has a million records that are at their end: the index of those must not look like the better one.
    is_owners = func.coalesce(arrivals.c.owner, "") == owner
    query = select(path).where(_LIVE, path > max(top, after), is_owners, path.not_like(_escaped(top) + "%/%", escape="\\"))
    if top:
        query = query.where(path < directory + "0")  # "0" follows "/"
    return list(connection.scalars(query.distinct().order_by(path).limit(limit)))


def live_paths_of_stem(connection: Connection, stem: str) -> list[str]:
    """Return the paths of live arrivals that begin with ``stem`` and a dot, and go no directory deeper."""
    path = arrivals.c.path
    return sorted(set(connection.scalars(select(path).where(_LIVE, path > stem + ".", path < stem + "/"))))  # "/" follows "."


def select_where(
    connection: Connection,
    *conditions: ColumnElement[bool],
    limit: int | None,
    order_by: Sequence[ColumnElement[Any]] = (arrivals.c.seq,),
) -> list[Arrival]:
    """Return the arrivals that fit all conditions, in order of arrival unless told otherwise. For other modules of this
    package.
    """
    query = _ALL.where(*conditions).order_by(*order_by).limit(limit)
    return [_arrival(row) for row in connection.execute(query)]


def each_where(
    connection: Connection, *conditions: ColumnElement[bool], order_by: Sequence[ColumnElement[Any]]
) -> Iterator[Arrival]:
    """Return the same for any number of them: they are read as they are consumed."""
    query = _ALL.where(*conditions).order_by(*order_by).execution_options(yield_per=_PAGE)
    return (_arrival(row) for row in connection.execute(query))


def moved(arrival: Arrival, to: Location | None, **changes: object) -> Arrival:
    """Return ``arrival`` with its file at ``to``, the move still to be made. Two such changes in a row, before the file was
    moved, are one move.
    """
    origin = arrival.pending_from or arrival.location
    return replace(arrival, location=to, pending_from=None if origin == to else origin, **changes)  # type: ignore[arg-type]  # dataclasses.replace has no types for **


def _values(item: Arrival) -> dict[str, object]:
    """Return the columns of an arrival as the database has them."""
    values: dict[str, object] = {name: getattr(item, name) for name in _FIELDS}
    values["live"] = int(item.state in LIVE_STATES or item.pending_from is not None)
    values["mtime_ns"] = storable_time(item.mtime_ns)
    values["state"], values["grade"] = item.state.value, item.grade.value
    values["hold_reason"] = None if item.hold_reason is None else item.hold_reason.value
    values["received_at"], values["changed_at"] = microseconds(item.received_at), microseconds(item.changed_at)
    values["not_before"] = None if item.not_before is None else microseconds(item.not_before)
    return values


def storable_time(time_ns: int) -> int:
    """Return ``time_ns`` as the ledger can hold it: a file's time may lie after the year 2262."""
    return max(-(2**63), min(time_ns, 2**63 - 1))


def _arrival(row: Row[tuple[object, ...]]) -> Arrival:
    return _named(dict(row._mapping))  # noqa: SLF001  # the documented way to a row's mapping


def _of_values(row: Sequence[Any]) -> Arrival:
    """Return the arrival of a row of a prepared statement."""
    values = dict(zip(_FIELDS, row, strict=True))
    for name in ("received_at", "changed_at", "not_before"):
        if values[name] is not None:
            values[name] = utc_time(values[name])
    return _named(values)


def _named(values: dict[str, Any]) -> Arrival:
    values["state"] = ArrivalState(values["state"])
    values["grade"] = Grade(values["grade"])
    if values["hold_reason"] is not None:
        values["hold_reason"] = HoldReason(values["hold_reason"])
    return Arrival(**values)


def like_pattern(glob: str) -> str:
    """Return the LIKE pattern of a glob, with a backslash as escape."""
    return _escaped(glob).replace("*", "%").replace("?", "_")


def _escaped(text: str) -> str:
    """Return ``text`` for LIKE, standing for itself."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def ended_alike(connection: Connection, path: str, size: int, mtime_ns: int) -> dict[str, ArrivalState]:
    """Return how the files of this path, size and time, as exact as a backup keeps it, came to their end: the last one's
    state, by SHA-256; one that was processed counts before others.
    """
    time_ns = storable_time(mtime_ns)
    values = {"path": path, "size": size, "first_ns": time_ns, "last_ns": storable_time(time_ns + COARSEST_NS)}
    found: dict[str, ArrivalState] = {}
    for sha256, state, recorded_ns in _ENDED_ALIKE.rows(connection, [values]):
        if is_time_kept(recorded_ns, time_ns) and found.get(sha256) is not ArrivalState.DONE:
            found[sha256] = ArrivalState(state)
    return found


def sent_before(connection: Connection, path: str, *, owner: str, size: int, sha256: str) -> bool:
    """Return whether ``owner`` has sent this content under this path before. What an administrator discarded does not count."""
    values = {"path": path, "owner": owner, "size": size, "sha256": sha256}
    return bool(_SENT_BEFORE.rows(connection, [values]))


def archives_of(connection: Connection, owner: str, *, after: str = "", limit: int | None = None) -> list[str]:
    """Return the first ``limit`` names behind ``after`` in the archives of the files of ``owner``, sorted."""
    name = arrivals.c.archived_as
    query = select(name).where(arrivals.c.owner == owner, name.is_not(None), name > after).order_by(name).limit(limit)
    return list(connection.execute(query).scalars())


def archive_owner(connection: Connection, name: str) -> str | None:
    """Return whose file is archived as ``name``, or None."""
    return connection.execute(select(arrivals.c.owner).where(arrivals.c.archived_as == name)).scalar()


def queued_paths(connection: Connection) -> list[str]:
    """Return the paths of which files wait in a queue, sorted."""
    query = select(arrivals.c.path).where(arrivals.c.state == ArrivalState.QUEUED.value).distinct().order_by(arrivals.c.path)
    return list(connection.execute(query).scalars())


def last_taken_at(connection: Connection, path: str) -> datetime | None:
    """Return when a plain program was last noticed to have taken a file of this path; None if it never was."""
    query = select(arrivals.c.changed_at).where(_in_states({ArrivalState.TAKEN}), arrivals.c.path == path)
    return connection.execute(query.order_by(arrivals.c.seq.desc()).limit(1)).scalar()  # they are taken in their order


def with_files(connection: Connection) -> Iterator[Arrival]:
    """Yield every arrival that has a file, the oldest first; they are read as they are consumed."""
    return each_where(connection, arrivals.c.location.is_not(None), order_by=(arrivals.c.seq,))


def doubly_located(connection: Connection) -> list[tuple[str, int]]:
    """Return the places that more than one live arrival claims to be at, with their number: there must be none."""
    states = [state.value for state in LIVE_STATES]
    query = select(arrivals.c.location, func.count()).where(_LIVE, arrivals.c.state.in_(states)).group_by(arrivals.c.location)
    return [(where, count) for where, count in connection.execute(query.having(func.count() > 1))]


def usage(connection: Connection, owner: str) -> tuple[int, int]:
    """Return how many files of ``owner`` no runner has claimed yet, and how many bytes they have."""
    query = select(func.count(), func.coalesce(func.sum(arrivals.c.size), 0)).where(
        _LIVE, arrivals.c.owner == owner, arrivals.c.state.in_([state.value for state in UNCLAIMED_STATES])
    )
    files, size = connection.execute(query).one()
    return files, int(size)
