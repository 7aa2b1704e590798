"""Statements of the hand-over's hot path: compiled once for each kind of database, and run on the driver's own cursor.

SQLAlchemy takes about ten times as long to run a statement as SQLite does, which counts if a statement is run for
every file. What is lost: its conversion of values. Who runs a prepared statement gives values as the database has them
(``schema.microseconds``), and gets rows of such values.

Errors of the driver become LedgerError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ClauseElement, Connection

from sftpgate.errors import LedgerError
from sftpgate.ledger.database.engines import driver

Values = Mapping[str, object]


class Prepared:
    """One statement. Its parameters are named; any thread, any connection."""

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, Sequence[str] | None]] = {}

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Run it once for each of ``rows``."""
        text, names = self._text(connection)
        try:
            if len(rows) == 1:
                driver(connection).execute(text, _parameters(names, rows[0]))
            else:
                driver(connection).cursor().executemany(text, [_parameters(names, row) for row in rows])
        except connection.dialect.loaded_dbapi.Error as error:
            raise LedgerError(f"the ledger cannot be used: {error}") from error

    def rows(self, connection: Connection, values: Iterable[Values]) -> list[Sequence[Any]]:
        """Return the rows that it finds, for each of ``values`` in turn."""
        text, names = self._text(connection)
        try:
            cursor = driver(connection).cursor()
            found: list[Sequence[Any]] = []
            for row in values:
                cursor.execute(text, _parameters(names, row))
                found += cursor.fetchall()
            return found
        except connection.dialect.loaded_dbapi.Error as error:
            raise LedgerError(f"the ledger cannot be used: {error}") from error

    def _text(self, connection: Connection) -> tuple[str, Sequence[str] | None]:
        dialect = connection.dialect
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled = self._statement.compile(dialect=dialect)
            names = getattr(compiled, "positiontup", None)  # None for drivers that take parameters by name
            found = self._compiled[dialect.name] = str(compiled), names
        return found


def _parameters(names: Sequence[str] | None, row: Values) -> Any:  # what the driver's style of parameters is
    return row if names is None else tuple(row[name] for name in names)
