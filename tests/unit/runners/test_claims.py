"""The protocol of claims: who holds what, for how long, and how it comes back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update

from sftpgate.app.runs.claims import make_claims
from sftpgate.errors import ClaimLost, StorageError, UnknownTool
from sftpgate.ledger.database.schema import claims as claims_table
from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import Host, Lease, RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.runners.claims import LEASE, Claim
from sftpgate.runners.heartbeat import claimed
from sftpgate.runners.run_locks import is_alive, start_of, this_host
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from tests.harness.runners import World, shell

MakeWorld = Callable[..., World]

DONE = ClaimEnd(outcome=RunOutcome.DONE)
FAILED = ClaimEnd(outcome=RunOutcome.FAILED)

# A process that claims, says so, and then lives until its input ends: what a runner looks like from outside.
HOLDER = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tests.harness.runners import World, shell
world = World(Path(sys.argv[1]), a=shell("exit 0", arrivals="queue", max_attempts=3))
claim = world.claims.take("a", lease=timedelta(hours=1))
print(claim.token, flush=True)
sys.stdin.read()
"""


def take(world: World, tool: str = "a", *, live: bool = True) -> Claim:
    """A claim, which there must be."""
    claim = world.claims.take(tool, live=live)
    assert claim is not None
    return claim


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A world with a tool that takes ``a.csv``, every arrival of it."""
    return make_world(a=shell("exit 0", arrivals="queue", max_attempts=3))


@pytest.mark.promise("P4")
def test_claim_moves_the_file(world: World) -> None:
    """A claimed file is not in the store any more, and the runner has it under its own name."""
    arrival = world.send("a.csv", b"mine\n")
    claim = take(world)
    assert (world.in_store(), claim.path.name, claim.path.read_bytes()) == ([], "a.csv", b"mine\n")
    now = world.now(arrival)
    assert (now.state, now.location, now.attempts) == (ArrivalState.CLAIMED, f"claims/{arrival.id}", 1)


@pytest.mark.promise("P4")
def test_one_claim_of_a_tool_at_a_time(world: World) -> None:
    """While a tool has a file, nobody gets another one for it."""
    world.send("a.csv")
    world.send("a.csv")
    claim = take(world)
    other = make_claims(world.open(a=shell("exit 0", arrivals="queue")))
    assert world.claims.take("a") is None and other.take("a") is None
    world.claims.end(claim, DONE)
    assert other.take("a") is not None


def test_unknown_and_disabled_tools(make_world: MakeWorld) -> None:
    """A tool that is not in the settings is an error that names those that are; a disabled one gets nothing."""
    world = make_world(a=shell("exit 0", enabled=False))
    world.send("a.csv")
    assert world.claims.take("a") is None
    with pytest.raises(UnknownTool, match=r"no tool 'b' in the settings \(there: a\)"):
        world.claims.take("b")


@pytest.mark.promise("P4")
def test_dead_runner_gives_back_at_once(world: World) -> None:
    """The claim of a runner that was killed comes back at once on its host, long before its lease ends; attempts count."""
    arrival = world.send("a.csv", b"again\n")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(world.directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert holder.stdout is not None
    token = holder.stdout.readline().decode().strip()
    assert token
    assert world.claims.take("a") is None
    assert world.claims.return_dead() == []
    holder.kill()
    holder.communicate()
    claim = take(world)
    assert (claim.arrival.id, claim.arrival.attempts, claim.path.read_bytes()) == (arrival.id, 2, b"again\n")
    died, running = world.runs_of(arrival)
    assert (died.id, died.outcome, running.outcome) == (token, RunOutcome.DIED, None)
    assert b"notice: the runner (pid " in world.report(died.report)
    assert world.managed("runs") == [claim.token]


@pytest.mark.promise("P4")
def test_lock_outlives_the_runner_in_its_command(world: World) -> None:
    """What inherited a claim's lock still counts as the runner, so no second command starts beside it."""
    world.send("a.csv")
    claim = take(world)
    assert claim.lock is not None
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[claim.lock])
    os.close(claim.lock)  # the runner dies, the command does not
    assert world.claims.return_dead() == []
    child.communicate()
    [returned] = world.claims.return_dead()
    assert returned.state is ArrivalState.WAITING


@pytest.mark.promise("P4")
def test_dead_claims_end_in_quarantine(world: World) -> None:
    """An arrival whose runners die comes back a bounded number of times."""
    arrival = world.send("a.csv")
    for _ in range(3):
        lock = take(world).lock
        assert lock is not None
        os.close(lock)
        world.claims.return_dead()
    assert world.now(arrival).state is ArrivalState.QUARANTINED
    assert world.claims.take("a") is None
    assert [run.outcome for run in world.runs_of(arrival)] == [RunOutcome.DIED] * 3


@pytest.mark.promise("P4")
def test_claim_of_another_host_comes_back_after_its_lease(world: World) -> None:
    """Whether a runner of another host lives cannot be seen: its claim is its until its lease ends."""
    arrival = world.send("a.csv")
    claim = take(world)
    elsewhere = replace(this_host(), name="elsewhere", boot="another", machine="another")
    with world.system.ledger.transaction() as connection:
        connection.execute(update(claims_table).values(host=str(elsewhere)))
    world.clock.advance(seconds=LEASE.total_seconds() - 1)
    assert world.claims.return_dead() == []
    assert claim.lock is not None
    world.clock.advance(seconds=2)
    os.close(claim.lock)
    [returned] = world.claims.return_dead()
    assert (returned.id, returned.state) == (arrival.id, ArrivalState.WAITING)
    with pytest.raises(ClaimLost):
        world.claims.extend(claim)


@pytest.mark.promise("P4")
def test_claim_from_before_a_reboot_is_dead(world: World) -> None:
    """Nobody survives a restart of the machine, so claims of an earlier boot come back at once."""
    world.send("a.csv")
    claim = take(world)
    here = this_host()
    with world.system.ledger.transaction() as connection:
        connection.execute(update(claims_table).values(host=str(replace(here, boot="earlier"))))
    if not here.machine:
        pytest.skip("this machine has no machine-id")
    assert claim.lock is not None
    os.close(claim.lock)
    assert len(world.claims.return_dead()) == 1


def test_lease_of_a_script(world: World) -> None:
    """A script's claim holds until its lease ends, can be extended before, and is lost afterwards, come back or not."""
    arrival = world.send("a.csv")
    claim = world.claims.take("a", lease=timedelta(minutes=1), live=False)
    assert claim is not None and claim.lock is None
    world.clock.advance(seconds=50)
    assert world.claims.return_dead() == []
    world.claims.extend(world.claims.find(claim.token), timedelta(minutes=1))
    world.clock.advance(seconds=50)
    assert world.claims.find(claim.token).arrival.id == arrival.id
    world.clock.advance(seconds=11)
    with pytest.raises(ClaimLost, match="expired at"):
        world.claims.find(claim.token)
    with pytest.raises(ClaimLost, match="expired at"):
        world.claims.end(claim, DONE)
    assert world.now(arrival).state is ArrivalState.CLAIMED
    [returned] = world.claims.return_dead()
    assert (returned.state, returned.attempts) == (ArrivalState.WAITING, 1)
    assert b"notice: the lease of the claim ended" in world.report(world.runs_of(arrival)[0].report)


@pytest.mark.promise("P4")
def test_claim_of_a_script_ends_with_its_process(world: World) -> None:
    """A claim made for a script comes back at once when the script is gone, before its lease ends."""
    arrival = world.send("a.csv")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as script:
        claim = world.claims.take("a", live=False, script=script.pid)
        assert claim is not None and world.claims.find(claim.token).arrival.id == arrival.id
        assert world.claims.return_dead() == []
        script.kill()
    assert [item.id for item in world.claims.return_dead()] == [arrival.id]
    [run] = world.runs_of(arrival)
    assert f"(pid {script.pid} on".encode() in world.report(run.report)
    with pytest.raises(ClaimLost):
        world.claims.end(claim, ClaimEnd(outcome=RunOutcome.DONE))


@pytest.mark.promise("P4")
def test_a_process_id_that_was_given_again(world: World) -> None:
    """Another process that got the id of a script does not keep its claim alive; and the lease of a living one ends."""
    assert is_alive(os.getpid(), start_of(os.getpid()))
    assert is_alive(os.getpid(), 0)
    assert not is_alive(os.getpid(), start_of(os.getpid()) - 1)
    arrival = world.send("a.csv")
    assert world.claims.take("a", live=False, script=os.getpid(), lease=timedelta(minutes=1)) is not None
    world.clock.advance(minutes=1)
    assert [item.id for item in world.claims.return_dead()] == [arrival.id]
    [run] = world.runs_of(arrival)
    assert b"notice: the lease of the script" in world.report(run.report)


def test_claim_of_a_process_is_not_for_scripts(world: World) -> None:
    """The token of a running process's claim is refused to anybody else, and so is one that nobody has."""
    world.send("a.csv")
    claim = take(world)
    with pytest.raises(ClaimLost, match="held by a running process"):
        world.claims.find(claim.token)
    with pytest.raises(ClaimLost, match="there is no claim"):
        world.claims.find("01K0000000000000000000000X")


def test_release_counts_no_attempt(world: World) -> None:
    """A claim that is released leaves no report, and the file waits as if nobody had had it."""
    arrival = world.send("a.csv")
    claim = take(world, live=False)
    finished = world.claims.end(claim, ClaimEnd(outcome=RunOutcome.RELEASED))
    assert (finished.report, finished.arrival.attempts, world.in_store()) == (None, 0, ["a.csv"])
    assert world.runs_of(arrival)[0].outcome is RunOutcome.RELEASED
    assert list((world.store / "reports").iterdir()) == []


def test_claim_ends_once(world: World) -> None:
    """A claim that has ended cannot end again, and the second try changes nothing."""
    arrival = world.send("a.csv")
    claim = take(world, live=False)
    world.claims.end(claim, DONE)
    with pytest.raises(ClaimLost):
        world.claims.end(claim, FAILED)
    assert world.now(arrival).state is ArrivalState.DONE
    assert len(world.archives()) == 1


@pytest.mark.promise("P4")
def test_end_of_a_lost_claim_changes_nothing(world: World) -> None:
    """A runner whose claim was given to another one cannot decide about the file any more."""
    arrival = world.send("a.csv")
    first = world.claims.take("a", lease=timedelta(seconds=1), live=False)
    assert first is not None
    world.clock.advance(seconds=2)
    second = take(world, live=False)
    assert second.arrival.id == arrival.id
    with pytest.raises(ClaimLost):
        world.claims.end(first, DONE)
    assert world.now(arrival).state is ArrivalState.CLAIMED
    assert second.path.exists()


def test_claims_of_a_lost_ledger(world: World) -> None:
    """A file that lies among the claimed ones, of which the ledger has no claim, comes back once nobody holds its lock."""
    arrival = world.send("a.csv")
    claim = take(world)
    with world.system.ledger.transaction() as connection:
        connection.execute(delete(claims_table))
    assert world.claims.return_dead() == []
    assert claim.lock is not None
    os.close(claim.lock)
    assert [item.id for item in world.claims.return_dead()] == [arrival.id]
    assert world.in_store() == ["a.csv"]


def test_claimed_file_that_vanished(world: World) -> None:
    """A claim whose file somebody removed from our own directory ends, is on the record as lost, and frees the tool."""
    arrival, following = world.send("a.csv"), world.send("a.csv")
    claim = take(world)
    (world.store / ".sftpgate/claims" / arrival.id).unlink()
    with pytest.raises(ClaimLost, match="its file is gone"):
        world.claims.end(claim, DONE)
    assert take(world).arrival.id == following.id
    assert world.now(arrival).state is ArrivalState.LOST
    with world.system.ledger.reading() as connection:
        assert len(connection.execute(select(claims_table)).all()) == 1


def test_claims_of_what_is_not_claimed_are_forgotten(world: World) -> None:
    """A claim that speaks of an arrival which is not claimed any more keeps nobody from anything, and is removed."""
    arrival = world.send("a.csv")
    take(world, live=False)
    with world.system.ledger.transaction() as connection:
        row = dict(connection.execute(select(claims_table)).one()._mapping)
        connection.execute(insert(claims_table).values(row | {"arrival": "X" * 26, "token": "Y" * 26}))
    world.claims.return_dead()
    with world.system.ledger.reading() as connection:
        assert [row.arrival for row in connection.execute(select(claims_table))] == [arrival.id]


def test_directories_of_the_dead_are_removed(world: World) -> None:
    """What a crash leaves of a run's directory is removed by the next return of the dead; those in use are not."""
    world.send("a.csv")
    claim = take(world)
    stale = world.store / ".sftpgate/runs/01K0000000000000000000000X"
    (stale / "deep").mkdir(parents=True)
    (stale / "deep" / "file").write_text("x")
    world.claims.return_dead()
    assert world.managed("runs") == [claim.token]


class FullDisk(Disk):
    """A disk on which no run can be prepared."""

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        if operation == "make_dir" and isinstance(disk_paths[0], DiskPath) and "/runs/" in disk_paths[0].path:
            raise StorageError("no room for a run")


def test_claim_that_cannot_be_prepared_is_given_back(world: World) -> None:
    """A claim whose directory cannot be made is released: a full disk says nothing against the file."""
    arrival = world.send("a.csv")
    system, disk = world.system, FullDisk()
    with pytest.raises(StorageError):
        make_claims(replace(system, resources=replace(system.resources, disk=disk))).take("a")
    assert (world.now(arrival).state, world.now(arrival).attempts) == (ArrivalState.WAITING, 0)


# -- async with ------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P4")
async def test_python_protocol(world: World) -> None:
    """``async with claimed`` archives the file at its end, with what was written to ``claim.output`` as the report."""
    arrival = world.send("a.csv", b"1\n2\n")
    async with claimed(make_claims(world.system), "a") as claim:
        assert claim is not None
        claim.output.write_text(f"{len(claim.path.read_bytes())} bytes\n")
        async with claimed(make_claims(world.system), "a") as second:
            assert second is None
    assert world.now(arrival).state is ArrivalState.DONE
    assert world.report(world.runs_of(arrival)[0].report).endswith(b"\n\n4 bytes\n")
    async with claimed(make_claims(world.system), "a") as claim:
        assert claim is None


async def test_exception_is_a_failed_attempt(world: World) -> None:
    """An exception in the block goes through, the file waits for the next attempt, and the report has the traceback."""
    arrival = world.send("a.csv")
    with pytest.raises(ZeroDivisionError):
        async with claimed(make_claims(world.system), "a"):
            _ = 1 / 0
    assert (world.now(arrival).state, world.now(arrival).attempts) == (ArrivalState.WAITING, 1)
    assert b"ZeroDivisionError" in world.report(world.runs_of(arrival)[0].report)


async def test_cancellation_gives_the_file_back(world: World) -> None:
    """A block that is cancelled gives the file back before the cancellation goes on."""
    arrival = world.send("a.csv")
    begun = asyncio.Event()

    async def work() -> None:
        async with claimed(make_claims(world.system), "a"):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.now(arrival).state is ArrivalState.WAITING
    assert world.runs_of(arrival)[0].outcome is RunOutcome.INTERRUPTED


JUMPS = [timedelta(hours=1), timedelta(hours=-1), timedelta(days=365), timedelta(days=-365)]


@pytest.mark.promise("P4")
@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_a_clock_that_is_set_takes_no_claim_away(world: World, jump: timedelta) -> None:
    """Whatever the clock is set to, a living script keeps its file for as long as its lease is, and no longer."""
    arrival = world.send("a.csv")
    claim = world.claims.take("a", live=False, script=os.getpid(), lease=timedelta(minutes=10))
    assert claim is not None
    world.clock.set_by(jump)
    assert world.claims.return_dead() == []
    world.claims.extend(world.claims.find(claim.token), timedelta(minutes=10))
    world.clock.set_by(jump)
    world.clock.advance(seconds=599)
    assert world.claims.find(claim.token).arrival.id == arrival.id
    assert world.claims.return_dead() == []
    world.clock.advance(seconds=1)
    assert [item.id for item in world.claims.return_dead()] == [arrival.id]


HERE, OTHER_BOOT, ELSEWHERE = (Host("h", "m", "boot"), Host("h", "m", "before"), Host("x", "y", "z"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.promise("P4")
@pytest.mark.parametrize(
    ("claim_host", "until", "uptime", "ended"),
    [
        (HERE, NOW - timedelta(days=365), 999.0, False),  # the clock was set forward
        (HERE, NOW + timedelta(days=365), 1000.0, True),  # the clock was set back
        (OTHER_BOOT, NOW - timedelta(days=365), 599.0, False),  # the machine came up with a clock that is ahead
        (OTHER_BOOT, NOW + timedelta(days=365), 600.0, True),  # or that is behind
        (ELSEWHERE, NOW, 0.0, True),
        (ELSEWHERE, NOW + timedelta(seconds=1), 10.0**9, False),
    ],
)
def test_when_a_lease_has_ended(claim_host: Host, until: datetime, uptime: float, ended: bool) -> None:
    """Within a boot its own clock decides, after a restart a lease holds once more, and elsewhere the time that is shared."""
    lease = Lease(until=until, until_uptime=1000.0, seconds=600.0)
    assert lease.has_ended(claim_host, HERE, now=NOW, uptime=uptime) is ended


def test_a_lease_of_an_earlier_version() -> None:
    """A claim that was made before leases had a boot clock ends by the wall clock."""
    assert Lease(until=NOW).has_ended(HERE, HERE, now=NOW, uptime=0.0)
    assert not Lease(until=NOW + timedelta(seconds=1)).has_ended(HERE, HERE, now=NOW, uptime=10.0**9)
