"""Receipts as rows: what senders were told of their files, each with its signature.

A receipt never changes. It has a number of its arrival's, and a place: the directory and the name of its file as the sender sees
them (``places``). All functions take an open connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    tuple_,
)

from sftpgate.ledger.database.prepared import Prepared
from sftpgate.ledger.database.schema import arrivals, receipts, utc_time

_PAGE = 500
_FILE = re.compile(r".+\.(?P<arrival>[0-9A-Z]{26})\.(?P<number>[1-9][0-9]{0,8})-[a-z]+\.json", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One of them. ``record`` is the number of the audit record that it tells of, and ``at`` when that happened. ``body`` is
    JSON, ``signature`` its SSHSIG in armour.
    """

    seq: int = 0  # given by the ledger: the order in which they were written
    arrival: str
    number: int
    owner: str
    directory: str
    name: str
    state: str
    record: int
    at: datetime
    body: str
    signature: str

    @property
    def file(self) -> str:
        """The name under which it is read for ever."""
        return file_name(self.name, self.arrival, self.number, self.state)


_FIELDS = [field.name for field in fields(Receipt)]
ALL = select(*(receipts.c[name] for name in _FIELDS))
FIRST: ColumnElement[int] = literal_column("1")  # the limit of prepared statements that return one row, as a part of them
_LAST_OF = Prepared(
    ALL.where(receipts.c.arrival == bindparam("arrival"))
    .order_by(receipts.c.number.desc())
    .limit(FIRST)
    .offset(literal_column("0"))
)


def add(connection: Connection, written: Sequence[Receipt]) -> None:
    """Record receipts, in their order."""
    if written:
        rows = [{name: getattr(item, name) for name in _FIELDS if name != "seq"} for item in written]
        connection.execute(insert(receipts), [row | {"body_bytes": len(str(row["body"]).encode())} for row in rows])


def of_arrival(connection: Connection, arrival: str) -> list[Receipt]:
    """Return the receipts of an arrival, in order."""
    return [_receipt(row) for row in connection.execute(ALL.where(receipts.c.arrival == arrival).order_by(receipts.c.number))]


def last_of(connection: Connection, arrival: str) -> Receipt | None:
    """Return the newest receipt of an arrival, or None."""
    return one_of_values(_LAST_OF.rows(connection, [{"arrival": arrival}]))


def numbered(connection: Connection, arrival: str, number: int) -> Receipt | None:
    """Return the receipt of an arrival with this number, or None."""
    return one(connection.execute(ALL.where(receipts.c.arrival == arrival, receipts.c.number == number)).first())


def oldest(connection: Connection, limit: int | None = None) -> Iterator[tuple[str, datetime, int]]:
    """Yield file name, time and size of receipts, the oldest first. Those of files that have not come to their end are left out:
    the next one would begin to count anew.
    """
    size = (receipts.c.body_bytes + func.length(receipts.c.signature)).label("size")
    columns = (receipts.c.name, receipts.c.arrival, receipts.c.number, receipts.c.state, receipts.c.at, size)
    is_live = exists().where(arrivals.c.id == receipts.c.arrival, arrivals.c.live == 1)
    query = select(*columns).where(~is_live).order_by(receipts.c.seq).limit(limit)
    for row in connection.execute(query.execution_options(yield_per=_PAGE)):
        yield file_name(row.name, row.arrival, row.number, row.state), row.at, row.size


def total_bytes(connection: Connection) -> int:
    """Return how many bytes all receipts have, with their signatures."""
    size = func.sum(receipts.c.body_bytes + func.length(receipts.c.signature))
    return int(connection.execute(select(func.coalesce(size, 0))).scalar_one())


def remove(connection: Connection, files: Sequence[str]) -> int:
    """Remove receipts by their file names; return how many there were."""
    keys = [key for key in map(key_of, files) if key is not None]
    if not keys:
        return 0
    return connection.execute(delete(receipts).where(tuple_(receipts.c.arrival, receipts.c.number).in_(keys))).rowcount


def file_name(name: str, arrival: str, number: int, state: str) -> str:
    """Return the name under which a receipt is read for ever."""
    return f"{name}.{arrival}.{number}-{state}.json"


def key_of(file: str) -> tuple[str, int] | None:
    """Return arrival and number of the receipt that such a name may be of; None if it is not of that form."""
    match = _FILE.fullmatch(file)
    return None if match is None else (match["arrival"], int(match["number"]))


def one(row: Row[tuple[object, ...]] | None) -> Receipt | None:
    """Return the receipt of a row, or None of none. For this package."""
    return None if row is None else _receipt(row)


def one_of_values(rows: Sequence[Sequence[Any]]) -> Receipt | None:
    """Return the receipt of the first row of a prepared statement, or None of none. For this package."""
    if not rows:
        return None
    values = dict(zip(_FIELDS, rows[0], strict=True))
    return Receipt(**values | {"at": utc_time(values["at"])})


def _receipt(row: Row[tuple[object, ...]]) -> Receipt:
    return Receipt(**row._mapping)  # noqa: SLF001  # the documented way to a row's mapping
