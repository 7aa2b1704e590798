"""Stop at every operation, recover, and look: nothing half, nothing lost, nothing twice (promises P1 to P4)."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sftpgate.drop import directory_renames
from sftpgate.errors import SftpgateError
from sftpgate.settings.choices import Handover
from tests.crash import oracle
from tests.crash.machine import Clock, CrashDisk, CrashLedger, Machine, Outage, Stopped, release_descriptors
from tests.crash.scenarios import CUT_OFF, LARGE, NEW, OLD, SCENARIOS, THIRD, WITH_CONTRACTS, Scenario
from tests.crash.world import NEVER, Journal, World
from tests.harness.stock_consumer import StockConsumer

Record = Callable[[str, object], None]

OUTAGES = pytest.mark.parametrize("outage", list(Outage), ids=lambda outage: outage.name.lower())

# Recoveries that have most to do: they move several files whose order matters.
LONG_RECOVERIES = [
    "replace",
    "publish_together",
    "batch_over_waiting",
    "rename_over_older",
    "rename_over_newer",
    "rename_directory",
    "withdraw_queue",
    "sweep",
    "claim_in_queue",
    "die_with_a_claim",
    "approval_that_ends",
]

# Scenarios in which files go from the drop to the store, or into the archives, or back.
BETWEEN_DROP_AND_STORE = [
    "batch_lock",
    "batch_over_waiting",
    "rename_away",
    "rename_temporary_over",
    "rename_directory",
    "rename_local",
    "sweep",
]


@pytest.fixture(autouse=True)
def _short_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make three files more than the slice of a directory's rename."""
    monkeypatch.setattr(directory_renames, "SLICE", 2)


class Run:
    """A system on a machine that can be stopped. ``base`` may have a data directory already."""

    def __init__(self, base: Path, journal: Journal, clock: Clock, *, split: bool = False) -> None:
        self.base = base
        self.journal = journal
        self.clock = clock
        self.machine = Machine()
        self.disk = CrashDisk(base, self.machine, split=split)
        self.world: World | None = None
        self.ledger = CrashLedger(f"sqlite:///{base}/data/ledger.db", self.machine)

    def start(self) -> World:
        """Start the system."""
        self.world = World(self.base, self.journal, self.clock, disk=self.disk, ledger=self.ledger)
        return self.world

    def stop_in(self, act: Callable[[], object], stop_at: int | None) -> bool:
        """Do the act, up to the operation ``stop_at``; True where it came to its end before."""
        self.machine.arm(stop_at)
        with contextlib.suppress(Stopped):
            act()
        self.machine.disarm()
        ended, self.machine.stopped = not self.machine.stopped, True
        return ended

    def crash(self, target: Path, outage: Outage) -> None:
        """Leave in ``target`` what survives, and let go of everything, as the kernel does."""
        if self.world is not None:
            self.world.halt()
        self.disk.materialise(target, outage)
        self.ledger.close()
        release_descriptors(self.base)


def stopped_scenario(scenario: Scenario, base: Path, stop_at: int | None, *, split: bool = False) -> tuple[Run, bool]:
    """Do what was before, then the acts of the scenario, up to the operation ``stop_at``; and whether they came to their end."""
    run = Run(base, Journal(contracts=scenario in WITH_CONTRACTS), Clock(), split=split)
    acts = scenario(run.start())
    next(acts)
    run.disk.settle()
    return run, run.stop_in(lambda: list(acts), stop_at)


def recover(base: Path, before: Run) -> World:
    """Start again on what is there, as ``sftpgate serve`` does."""
    world = World(base, before.journal, before.clock, disk=before.disk.after())
    world.sweeper.recover()
    world.system.journal.flush()
    return world


def check(base: Path, before: Run) -> Iterator[str]:
    """Recover, look, sweep, look, do it all again, and see that it changed nothing."""
    try:
        world = recover(base, before)
    except SftpgateError as error:
        yield f"recovery fails, and the server does not start: {error!r}"
        return
    yield from (f"after recovery: {problem}" for problem in oracle.problems(world))
    world.sweep()
    world.system.journal.flush()
    yield from (f"after a sweep: {problem}" for problem in oracle.problems_after_a_sweep(world))
    first = oracle.snapshot(world)
    world.close()
    again = recover(base, before)
    again.sweep()
    again.system.journal.flush()
    changed = sorted(oracle.snapshot(again) ^ first)
    yield from (f"recovering again changed something: {name}: {what}" for name, what in changed)
    again.close()


def stop_everywhere(base: Path, outage: Outage, stopped: Callable[[Path, int], tuple[Run, bool]]) -> tuple[int, list[str]]:
    """Stop at the first operation, at the second, … and at the end; the number of points, and all that was wrong."""
    found: list[str] = []
    number, ended = 0, False
    while not ended:
        number += 1
        place = base / str(number)
        run, ended = stopped(place, number)
        run.crash(place / "after", outage)
        where = "the end" if ended else run.machine.trace[-1]
        found += [f"{number} ({where}): {problem}" for problem in check(place / "after", run)]
        shutil.rmtree(place)
    return number, found


def judge(points: int, found: list[str], record_property: Record) -> None:
    """Count the points, and fail where anything was wrong."""
    record_property("crash_points", points)
    assert not found, f"{len(found)} problems\n" + "\n".join(found)


@pytest.mark.promise("P1", "P2", "P3", "P4")
@OUTAGES
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_point(name: str, outage: Outage, base: Path, record_property: Record) -> None:
    """Nothing is half, lost or twice after a stop at any operation and a recovery, and recovering twice changes nothing more."""
    scenario = SCENARIOS[name]
    judge(*stop_everywhere(base, outage, lambda place, number: stopped_scenario(scenario, place, number)), record_property)


@pytest.mark.promise("P1", "P2", "P3", "P4")
@OUTAGES
@pytest.mark.parametrize("name", BETWEEN_DROP_AND_STORE)
def test_every_point_on_two_filesystems(name: str, outage: Outage, base: Path, record_property: Record) -> None:
    """Nothing is half, lost or twice after a stop at any operation if moves are copies: drop and store on two filesystems."""
    scenario = SCENARIOS[name]
    judge(
        *stop_everywhere(base, outage, lambda place, number: stopped_scenario(scenario, place, number, split=True)),
        record_property,
    )


@pytest.mark.promise("P1", "P2", "P3", "P4")
@OUTAGES
@pytest.mark.parametrize("name", LONG_RECOVERIES)
def test_every_point_of_a_recovery(name: str, outage: Outage, base: Path, record_property: Record) -> None:
    """Nothing is half, lost or twice after a kill that is followed by a stop, also a power cut, at any operation of the
    recovery and of the sweep after it, and another recovery.
    """

    def stopped(place: Path, number: int) -> tuple[Run, bool]:
        first, _ = stopped_scenario(SCENARIOS[name], place / "first", None)
        committed = first.machine.trace.index("ledger commit") + 2
        shutil.rmtree(place / "first")
        first, _ = stopped_scenario(SCENARIOS[name], place / "first", committed)
        first.crash(place / "second", Outage.KILLED)
        run = Run(place / "second", first.journal, first.clock)
        run.disk.inherit(first.disk)
        world = run.start()

        def act() -> None:
            world.sweeper.recover()
            world.sweep()
            world.system.journal.flush()

        return run, run.stop_in(act, number)

    judge(*stop_everywhere(base, outage, stopped), record_property)


@pytest.mark.promise("P1", "P2", "P3")
@OUTAGES
def test_every_point_in_front_of_a_stock_consumer(outage: Outage, base: Path, record_property: Record) -> None:
    """Nothing is half, lost or twice after a stop at any operation in front of a stock consumer, which takes what it finds
    before anybody recovers: every version comes to it, whole; once, where the disk has kept what it was told.
    """

    def versions(consumer: StockConsumer, world: World) -> None:
        world.publish("x.csv", NEW)
        world.publish("x.csv", THIRD)
        consumer.sweep()
        world.system.placer.queues.bring_up()
        world.publish("y.csv", LARGE)

    def stopped(place: Path, number: int) -> tuple[Run, bool]:
        run = Run(place, Journal(handover=Handover.LOCK_TXT), Clock())
        world = run.start()
        world.publish("x.csv", OLD)
        run.disk.settle()
        consumer = StockConsumer(world.data / "store")
        ended = run.stop_in(lambda: versions(consumer, world), number)
        _taken(run.journal, consumer.contents)
        return run, ended

    points, found = 0, list[str]()
    ended = False
    while not ended:
        points += 1
        place = base / str(points)
        run, ended = stopped(place, points)
        acknowledged = {content for content, allowed in run.journal.counts.items() if 0 not in allowed}
        gone = {content for content, allowed in run.journal.counts.items() if 1 not in allowed}
        run.crash(place / "after", outage)
        after = StockConsumer(place / "after" / "data" / "store")
        if outage is Outage.KILLED:
            after.sweep()
        _taken(run.journal, after.contents)
        world = recover(place / "after", run)
        for _ in range(4):
            world.sweep()
            world.system.placer.queues.bring_up()
            after.sweep()
        world.sweep()
        taken = after.contents
        where = "the end" if ended else run.machine.trace[-1]
        found += [f"{points} ({where}): {content[:9]!r} never came" for content in acknowledged if content not in taken]
        found += [f"{points} ({where}): {content[:9]!r} is not whole" for content in taken if content not in run.journal.counts]
        if outage is Outage.KILLED:
            found += [f"{points} ({where}): {content[:9]!r} came again" for content in taken if content in gone]
            found += [f"{points} ({where}): {content[:9]!r} came twice" for content in taken if taken.count(content) > 1]
            found += [f"{points} ({where}): {row.path} is {row.state}" for row in world.rows() if row.state != "taken"]
        world.close()
        shutil.rmtree(place)
    judge(points, found, record_property)


def _taken(journal: Journal, contents: list[bytes]) -> None:
    """Record what a consumer has copied and unlinked."""
    journal.counts |= dict.fromkeys(contents, NEVER)


@pytest.mark.promise("P2", "P4")
@OUTAGES
def test_every_point_of_a_rebuild(outage: Outage, base: Path, record_property: Record) -> None:
    """Nothing is lost or twice after a stop at any operation of the rebuilding of a lost ledger, and another start."""

    def stopped(place: Path, number: int) -> tuple[Run, bool]:
        world = World(place, Journal(), Clock())
        world.publish("queue.csv", OLD)
        world.publish("queue.csv", NEW)
        world.publish("held.csv", CUT_OFF)
        world.publish("claimed.csv", THIRD)
        world.claim("claimed.csv")
        world.close()
        for file in world.data.glob("ledger.db*"):
            file.unlink()
        run = Run(place, world.journal, world.clock)
        run.disk.settle()
        return run, run.stop_in(run.start, number)

    judge(*stop_everywhere(base, outage, stopped), record_property)
