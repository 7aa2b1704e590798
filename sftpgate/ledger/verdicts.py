"""What contracts say of contents: one row for each content, contract and file that it was compared with.

A verdict is of a content, not of an arrival: the same file again has the same one. All functions take an open connection.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from sftpgate.contracts.objections import Objection
from sftpgate.ledger.database.schema import verdicts


def find(connection: Connection, sha256: str, contract: str, against: str) -> tuple[Objection, ...] | None:
    """Return the objections of a contract to a content, none if it is good; None if it was not judged yet.

    ``contract`` is a digest, ``against`` the SHA-256 of the file that it is compared with (empty: none).
    """
    query = select(verdicts.c.objections).where(
        verdicts.c.sha256 == sha256, verdicts.c.contract == contract, verdicts.c.against == against
    )
    found = connection.execute(query).scalar()
    return None if found is None else _read(found)


def _read(text: str) -> tuple[Objection, ...]:
    return tuple(Objection(code=code, line=line, count=count, details=details) for code, line, count, details in json.loads(text))


def latest(connection: Connection, sha256: str) -> tuple[Objection, ...]:
    """Return the objections of the latest verdict on a content, whichever contract it is of; none if there is none."""
    query = select(verdicts.c.objections).where(verdicts.c.sha256 == sha256).order_by(verdicts.c.judged_at.desc()).limit(1)
    found = connection.execute(query).scalar()
    return _read(found) if found is not None else ()


def contracts_asked(connection: Connection, sha256: str) -> set[str]:
    """Return the digests of the contracts that were asked about a content."""
    return set(connection.scalars(select(verdicts.c.contract).where(verdicts.c.sha256 == sha256).distinct()))


def record(
    connection: Connection, sha256: str, contract: str, against: str, objections: Sequence[Objection], *, at: datetime
) -> None:
    """Record a verdict, in the place of an earlier one of the same content, contract and comparison."""
    key = {"sha256": sha256, "contract": contract, "against": against}
    connection.execute(delete(verdicts).where(*(verdicts.c[name] == value for name, value in key.items())))
    rows = [[each.code, each.line, each.count, dict(each.details)] for each in objections]
    connection.execute(insert(verdicts).values({**key, "objections": json.dumps(rows, ensure_ascii=False), "judged_at": at}))


def prune(connection: Connection, before: datetime) -> int:
    """Remove verdicts of before a time, and return how many. What they are needed for again is judged again."""
    return int(connection.execute(delete(verdicts).where(verdicts.c.judged_at < before)).rowcount)
