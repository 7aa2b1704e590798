"""Records of runs: one row for each execution of a tool on an arrival."""

from __future__ import annotations

from sqlalchemy import Connection, or_, select

from sftpgate.ledger.schema import runs


def reports_of(connection: Connection, owner: str) -> list[str]:
    """The names in the reports of the runs on files of ``owner``, rejected lines included, sorted."""
    rows = connection.execute(select(runs.c.report, runs.c.tryback).where(runs.c.owner == owner))
    return sorted(name for row in rows for name in row if name is not None)


def report_owner(connection: Connection, name: str) -> str | None:
    """Whose report or rejected lines ``name`` is, or None."""
    return connection.execute(select(runs.c.owner).where(or_(runs.c.report == name, runs.c.tryback == name))).scalar()
