"""Where senders read receipts: directories and names of files, as they see them below the drop.

The newest receipt of a place is what a sender reads as ``NAME.json``. All functions take an open connection, and cost as much as
they return, however many receipts there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, literal_column, select

from sftpgate.ledger.database.prepared import Prepared
from sftpgate.ledger.database.schema import receipts
from sftpgate.ledger.receipts.records import ALL, FIRST, Receipt, file_name, one_of_values

_NEWEST_AT = Prepared(
    ALL.where(*(receipts.c[name] == bindparam(name) for name in ("owner", "directory", "name")))
    .order_by(receipts.c.seq.desc())
    .limit(FIRST)
    .offset(literal_column("0"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedReceipt:
    """What a listing says of a receipt."""

    seq: int
    file: str
    at: datetime
    body_bytes: int
    signature_bytes: int


def newest_at(connection: Connection, owner: str, directory: str, name: str) -> Receipt | None:
    """Return the newest receipt of a user about files of this place, or None."""
    place = {"owner": owner, "directory": directory, "name": name}
    return one_of_values(_NEWEST_AT.rows(connection, [place]))


def names_in(connection: Connection, owner: str, directory: str, *, after: str = "", limit: int) -> list[str]:
    """Return the first ``limit`` names behind ``after`` of files in a directory that a user has receipts about, sorted. Costs as
    much as there are names, however many receipts each has.
    """
    found: list[str] = []
    least = func.min(receipts.c.name)
    while len(found) < limit:
        here = (receipts.c.owner == owner, receipts.c.directory == directory, receipts.c.name > after)
        following = connection.execute(select(least).where(*here)).scalar()
        if following is None:
            break
        found.append(following)
        after = following
    return found


def directories_below(connection: Connection, owner: str, directory: str) -> list[str]:
    """Return the names of the directories right below ``directory`` in which a user has receipts, sorted."""
    top = f"{directory}/" if directory else ""
    found: list[str] = []
    after = top
    while True:
        below = (receipts.c.owner == owner, receipts.c.directory > after)
        following = connection.execute(select(func.min(receipts.c.directory)).where(*below)).scalar()
        if following is None or not following.startswith(top):
            return found
        found.append(following.removeprefix(top).partition("/")[0])
        after = f"{top}{found[-1]}0"  # "0" follows "/": past all that is deeper


def is_directory(connection: Connection, owner: str, directory: str) -> bool:
    """Return whether a user has receipts in a directory, or below it."""
    in_it = (receipts.c.owner == owner, receipts.c.directory == directory)
    if connection.execute(select(receipts.c.seq).where(*in_it).limit(1)).first() is not None:
        return True
    below = (receipts.c.owner == owner, receipts.c.directory > f"{directory}/", receipts.c.directory < f"{directory}0")
    return connection.execute(select(receipts.c.seq).where(*below).limit(1)).first() is not None


def entries_in(
    connection: Connection, owner: str, directory: str, name: str, *, after: int = 0, limit: int
) -> list[ListedReceipt]:
    """Return the first ``limit`` receipts behind number ``after`` about files of a place, in the order in which they came."""
    query = (
        select(
            receipts.c.seq,
            receipts.c.name,
            receipts.c.arrival,
            receipts.c.number,
            receipts.c.state,
            receipts.c.at,
            receipts.c.body_bytes,
            func.length(receipts.c.signature).label("signature_bytes"),
        )
        .where(receipts.c.owner == owner, receipts.c.directory == directory, receipts.c.name == name, receipts.c.seq > after)
        .order_by(receipts.c.seq)
        .limit(limit)
    )
    return [
        ListedReceipt(
            seq=row.seq,
            file=file_name(row.name, row.arrival, row.number, row.state),
            at=row.at,
            body_bytes=row.body_bytes,
            signature_bytes=row.signature_bytes,
        )
        for row in connection.execute(query)
    ]
