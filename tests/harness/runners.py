"""A data directory with tools, senders and runners, and a clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sftpgate.app.composition import build
from sftpgate.app.runs.claims import make_claims
from sftpgate.ledger import arrivals, runs
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.audit import event_log
from sftpgate.ledger.runs import Run
from sftpgate.runners.claims import Claim, Claims
from sftpgate.runners.runner import PassResult, Runner, RunResult
from sftpgate.settings.tree import Settings
from sftpgate.site import Site
from tests.harness.senders import begin, make_sender, publish


@dataclass
class Clock:
    """Stands still. Somebody may set it, which no time passes for."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    passed: float = 1000.0

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)
        self.passed += timedelta(**duration).total_seconds()

    def set_by(self, difference: timedelta) -> None:
        self.now += difference

    def uptime(self) -> float:
        return self.passed


@dataclass
class Notes:
    """What an audience was told."""

    started_runs: list[Claim] = field(default_factory=list)
    results: list[RunResult] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    at_start: Callable[[], None] = lambda: None

    def started(self, claim: Claim) -> None:
        self.started_runs.append(claim)
        self.at_start()

    def finished(self, result: RunResult) -> None:
        self.results.append(result)

    def skipped(self, tool: str, because_of: str) -> None:
        self.left_out.append((tool, because_of))

    @property
    def paths(self) -> list[str]:
        return [result.arrival.path for result in self.results]


class World:
    """One gate without its server. ``tools`` are tables as in the settings, ``settings`` other keys of them."""

    def __init__(self, directory: Path, *, settings: dict[str, object] | None = None, **tools: dict[str, object]) -> None:
        self.directory = directory
        self._more = settings or {}
        self.clock = Clock()
        self.system = self.open(**tools)
        self.store = self.system.layout.store

    def open(self, **tools: dict[str, object]) -> Site:
        """The parts of a process, on the same data."""
        values: dict[str, object] = {
            "data_dir": self.directory / "data",
            "keys_dir": self.directory / "keys",
            "settle_seconds": 0,
            "durability": "relaxed",
            "tools": tools,
            **self._more,
        }
        return build(Settings.model_validate(values), clock=self.clock, uptime=self.clock.uptime)

    def close(self) -> None:
        self.system.close()

    @property
    def claims(self) -> Claims:
        return make_claims(self.system)

    def send(self, path: str, content: bytes = b"a,b\n1,2\n", *, user: str = "erp") -> Arrival:
        """One finished upload."""
        sender = make_sender(user, session=f"{self.clock():%H%M%S%f}")
        return publish(self.system, begin(self.system, sender, path, content))

    async def run(
        self, *tools: str, limit: int | None = None, started: Callable[[Runner], None] = lambda _: None
    ) -> tuple[Notes, PassResult]:
        """One pass. ``started`` is called when a run has begun."""
        notes = Notes()
        runner = Runner(self.claims, self.system.settings.tools, notes)
        notes.at_start = lambda: started(runner)
        return notes, await runner.run(tools or list(self.system.settings.tools), limit=limit)

    def pass_over(self, *tools: str, limit: int | None = None) -> Notes:
        """One pass, from a test that is not asynchronous."""
        return asyncio.run(self.run(*tools, limit=limit))[0]

    def now(self, arrival: Arrival) -> Arrival:
        """The record of an arrival as it is now."""
        with self.system.ledger.reading() as connection:
            return arrivals.get(connection, arrival.id)

    def runs_of(self, arrival: Arrival) -> list[Run]:
        with self.system.ledger.reading() as connection:
            return runs.of_arrival(connection, arrival.id)

    def history(self, arrival: Arrival) -> list[str]:
        with self.system.ledger.reading() as connection:
            return [event.event for event in event_log.history(connection, arrival.id)]

    def report(self, name: str | None) -> bytes:
        assert name is not None
        return (self.store / "reports" / name).read_bytes()

    def archives(self) -> list[str]:
        return sorted(path.name for path in (self.store / "archives").iterdir())

    def in_store(self) -> list[str]:
        """The files that are to be seen at the top of the store."""
        return sorted(path.name for path in self.store.iterdir() if path.is_file())

    def managed(self, area: str) -> list[str]:
        """The names in one of our own directories, without locks and notes of other kinds."""
        return sorted(path.name for path in (self.store / ".sftpgate" / area).iterdir())


def shell(script: str, **more: object) -> dict[str, object]:
    """A tool that runs a shell script on ``a.csv``; ``$1`` is the file."""
    return {"file": "a.csv", "command": ["/bin/sh", "-c", script, "sh", "{file}"], **more}


def is_running(pid: int) -> bool:
    """Whether a process runs; one that nobody has collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
