"""What only a database server can do to a ledger: be away, come back, and break off in the middle of a commit."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import psycopg
import pytest

from sftpgate.errors import LedgerError, SettingsError
from sftpgate.ledger.database.connection import Ledger, get_fact, set_fact
from tests.harness.postgresql import PostgreSQL


@pytest.fixture
def ledger(postgresql: PostgreSQL) -> Iterator[Ledger]:
    """An empty ledger."""
    made = Ledger(postgresql.new_database())
    made.create()
    yield made
    made.close()


def fact(ledger: Ledger) -> str | None:
    """What the ledger remembers of x."""
    with ledger.reading() as connection:
        return get_fact(connection, "x")


def remember(ledger: Ledger, value: str) -> None:
    """Let the ledger remember something."""
    with ledger.transaction() as connection:
        set_fact(connection, "x", value)


@pytest.mark.promise("P2")
@pytest.mark.parametrize("durable", [True, False])
def test_a_commit_is_durable_where_it_shall_be(postgresql: PostgreSQL, durable: bool) -> None:
    """With full durability a commit waits for the server's disk, whatever its administrator has set for others."""
    url = postgresql.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        name, setting = connection.info.dbname, "off" if durable else "on"
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = {setting}".encode())
    ledger = Ledger(url, durable=durable)
    try:
        with ledger.reading() as connected:
            assert connected.exec_driver_sql("SHOW synchronous_commit").scalar() == ("on" if durable else "off")
    finally:
        ledger.close()


def test_a_server_that_is_away(postgresql: PostgreSQL) -> None:
    """Without its server a ledger fails with one line that says so, and it goes on when the server is back."""
    ledger = Ledger(postgresql.new_database())
    try:
        ledger.create()
        remember(ledger, "before")
        postgresql.stop()
        try:
            with pytest.raises(LedgerError) as reading:
                fact(ledger)
            with pytest.raises(LedgerError) as writing:
                remember(ledger, "never")
            for error in (reading.value, writing.value):
                assert error.temporary and "\n" not in error.message
        finally:
            postgresql.start()
        assert fact(ledger) == "before"
        remember(ledger, "after")
        assert fact(ledger) == "after"
    finally:
        ledger.close()


@pytest.mark.promise("P3")
def test_writers_take_turns(ledger: Ledger) -> None:
    """Of several writers at a time each sees what the one before it wrote: none is refused, and none is lost."""

    def add() -> None:
        with ledger.transaction() as connection:
            set_fact(connection, "x", str(int(get_fact(connection, "x") or "0") + 1))

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(add) for _ in range(40)]:
            done.result()
    assert fact(ledger) == "40"


def test_two_that_make_the_tables(postgresql: PostgreSQL) -> None:
    """Several processes that start on an empty database at the same time do not get in each other's way."""
    url = postgresql.new_database()
    ledgers = [Ledger(url) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(Ledger.create, ledgers))
    finally:
        for each in ledgers:
            each.close()


class Relay(threading.Thread):
    """A way to the server that is cut when it sees a COMMIT: before that is passed on, or when it was answered."""

    def __init__(self, server: Path, directory: Path, *, after: bool) -> None:
        super().__init__()
        self.armed = False
        self._server = str(server / ".s.PGSQL.5432")
        self._after = after
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(directory / ".s.PGSQL.5432"))
        self._listening.listen()
        self._ends: dict[socket.socket, socket.socket] = {}

    def run(self) -> None:
        """Pass on what comes, until there is nobody left to let in."""
        with selectors.DefaultSelector() as ready:
            ready.register(self._listening, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj is not self._listening:
                        self._pass_on(key.fileobj, ready)  # type: ignore[arg-type]  # a socket of ours
                    elif not self._let_in(ready):
                        return

    def _let_in(self, ready: selectors.BaseSelector) -> bool:
        try:
            client, _ = self._listening.accept()
        except OSError:
            return False
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        self._ends |= {client: server, server: client}
        for end in (client, server):
            ready.register(end, selectors.EVENT_READ, data=end is client)
        return True

    def _pass_on(self, source: socket.socket, ready: selectors.BaseSelector) -> None:
        if source not in self._ends:
            return
        target, data = self._ends[source], source.recv(65536)
        cut = self.armed and ready.get_key(source).data and b"COMMIT" in data
        if data and not (cut and not self._after):
            target.sendall(data)
        if cut and self._after:
            target.recv(65536)
        if cut or not data:
            self.armed = self.armed and not cut
            for end in (source, target):
                ready.unregister(end)
                end.close()
                del self._ends[end]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let nobody in any more, and let go of those who are."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self.join(20)
        for end in (self._listening, *self._ends):
            end.close()


@pytest.mark.promise("P2")
@pytest.mark.parametrize("after", [True, False], ids=["answer lost", "commit lost"])
def test_a_connection_that_breaks_in_a_commit(postgresql: PostgreSQL, tmp_path: Path, after: bool) -> None:
    """Where the connection breaks in a commit, the ledger finds out whether it was made, and says the truth."""
    with Relay(postgresql.directory, tmp_path, after=after) as relay:
        ledger = Ledger(postgresql.new_database().replace(str(postgresql.directory), str(tmp_path)))
        try:
            ledger.create()
            remember(ledger, "before")
            relay.armed = True
            if after:
                remember(ledger, "after")
            else:
                with pytest.raises(LedgerError):
                    remember(ledger, "after")
            assert fact(ledger) == ("after" if after else "before")
        finally:
            ledger.close()


@pytest.mark.parametrize(
    ("url", "expected"), [("nonsense", "not a database URL"), ("mysql://x/y", "not supported"), ("", "not a database URL")]
)
def test_urls_that_name_no_ledger(url: str, expected: str) -> None:
    """A URL that is none, or of another database, is a mistake in the settings, and the message says what to write."""
    with pytest.raises(SettingsError, match=expected):
        Ledger(url)
