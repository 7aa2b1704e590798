"""A system on a directory of its own, with a clock that the test sets, and uploads without a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sftpgate.app.composition import build
from sftpgate.app.upkeep import make_sender_acts
from sftpgate.contracts.judges import Judges
from sftpgate.drop.sender_acts import SenderActs
from sftpgate.errors import SftpgateError
from sftpgate.ledger import arrivals
from sftpgate.ledger.arrivals import Arrival
from sftpgate.settings.tree import Settings
from sftpgate.site import Site
from sftpgate.store.disk import Disk
from sftpgate.upkeep.sweep import Sweeper, SweepRules
from sftpgate.uploads.publisher import Publisher
from sftpgate.uploads.terms import Sender
from sftpgate.uploads.upload import Upload
from sftpgate.users.registry import UserRegistry
from tests.harness.senders import begin, make_sender

JUDGES = Judges()  # one process for all guards of a test process that nobody stops: a judge keeps nothing of a file


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
        places = {"data_dir": directory, "keys_dir": directory.parent / "keys"}
        usual: dict[str, Any] = places | {"durability": "relaxed", "settle_seconds": 10, "tools": tools}
        self.system: Site = build(Settings(**(usual | settings)), disk=disk, clock=self.clock, uptime=self.clock.uptime)
        self.publisher = Publisher(self.system.resources, self.system.journal, self.system.placer, self.system.staging)
        self.acts: SenderActs = make_sender_acts(self.system, self.publisher, UserRegistry(directory.parent / "keys"))
        rules = SweepRules(
            settle_seconds=self.system.settings.settle_seconds, partial_ttl=timedelta(days=1), homes=lambda: ["home"]
        )
        self.sweeper = Sweeper(
            self.system.resources, self.system.journal, self.system.placer, self.system.staging, self.acts, rules
        )
        self.drop = self.system.layout.drop
        self.store = self.system.layout.store

    def sender(self, user: str = "erp", home: str = "") -> Sender:
        """A user's session."""
        return make_sender(user, home, address="192.0.2.1", client="test", session="s")

    def upload(self, path: str, content: bytes, *, user: str = "erp", home: str = "") -> Upload:
        """An open upload with content in it."""
        return begin(self.system, self.sender(user, home), path, content)

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
