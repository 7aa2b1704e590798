"""A system on a directory of its own, with a clock that the test sets, and uploads without a network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sftpgate.cli.compose import System, build
from sftpgate.cli.gate import make_edits
from sftpgate.errors import SftpgateError
from sftpgate.intake.edits import Edits
from sftpgate.intake.publish import Publisher
from sftpgate.intake.sweep import Sweeper, SweepRules
from sftpgate.intake.uploads import Sender, SessionTrace, Upload
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.settings import Settings
from sftpgate.store.disk import Disk
from sftpgate.users.registry import UserRegistry


@dataclass
class Clock:
    """The real time, and what the test adds to it: time that passes (``ahead``), and what somebody sets the clock by."""

    ahead: timedelta = field(default_factory=timedelta)
    set_by: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        """The time."""
        return datetime.now(UTC) + self.ahead + self.set_by

    def uptime(self) -> float:
        """What nobody can set."""
        return (datetime.now(UTC) + self.ahead).timestamp()


class Gate:
    """The hand-over of one system."""

    def __init__(self, directory: Path, disk: Disk | None = None, **settings: Any) -> None:
        self.clock = Clock()
        tools = {"queue": {"file": "q.csv", "command": ["true"], "arrivals": "queue"}}
        usual: dict[str, Any] = {"data_dir": directory, "durability": "relaxed", "settle_seconds": 10, "tools": tools}
        self.system: System = build(Settings(**(usual | settings)), disk=disk, clock=self.clock, uptime=self.clock.uptime)
        self.publisher = Publisher(self.system.moves, self.system.placer, self.system.staging)
        self.edits: Edits = make_edits(self.system, self.publisher, UserRegistry(directory.parent / "keys"))
        rules = SweepRules(
            settle_seconds=self.system.settings.settle_seconds, partial_ttl=timedelta(days=1), homes=lambda: ["home"]
        )
        self.sweeper = Sweeper(self.system.moves, self.system.placer, self.system.staging, self.edits, rules)
        self.drop = self.system.layout.drop
        self.store = self.system.layout.store

    def sender(self, user: str = "erp", home: str = "") -> Sender:
        """A user's session."""
        return Sender(user=user, home=home, address="192.0.2.1", login="password", client="test", session="s")

    def upload(self, path: str, content: bytes, *, user: str = "erp", home: str = "") -> Upload:
        """An open upload with content in it."""
        upload = self.system.staging.create(self.sender(user, home), path, SessionTrace())
        if content:
            upload.write(self.system.disk, 0, content)
        return upload

    def put(self, path: str, content: bytes = b"a,1\n", *, user: str = "erp", home: str = "") -> Arrival:
        """A finished upload. Raises what the client would be told."""
        [outcome] = self.publisher.commit([self.upload(path, content, user=user, home=home)])
        if isinstance(outcome, SftpgateError):
            raise outcome
        return self.now(outcome)

    def now(self, arrival: Arrival) -> Arrival:
        """What the ledger says of an arrival now."""
        with self.system.ledger.reading() as connection:
            return arrivals.get(connection, arrival.id)

    def read(self, path: str) -> bytes | None:
        """What runners find at a path."""
        file = self.store / path
        return file.read_bytes() if file.exists() else None

    def archived(self) -> list[bytes]:
        """The contents in the archives."""
        return sorted(file.read_bytes() for file in (self.store / "archives").iterdir())


@pytest.fixture
def make_gate(tmp_path: Path) -> Iterator[Any]:
    """Makes gates with settings of the test's own."""
    made: list[Gate] = []

    def make(**settings: Any) -> Gate:
        made.append(Gate(tmp_path / "data", **settings))
        return made[-1]

    yield make
    for gate in made:
        gate.system.close()


@pytest.fixture
def gate(make_gate: Any) -> Gate:
    """A gate of the usual settings."""
    made: Gate = make_gate()
    return made
