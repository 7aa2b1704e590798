"""What a clock that is set does to locks, partial uploads, local files and what is kept: nothing that loses anything."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import pytest

from sftpgate.app.composition import make_retention
from sftpgate.ledger import arrivals
from sftpgate.policy.lifecycle import ArrivalState
from tests.harness.handover import Gate

JUMPS = [timedelta(hours=4), timedelta(hours=-4), timedelta(days=365), timedelta(days=-365)]


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_a_batch_lock_keeps_its_files(gate: Gate, jump: timedelta) -> None:
    """Files under `alock.txt` stay held when the clock is set, and the lock is stale when its time has really passed."""
    gate.sweeper.run()
    (gate.drop / "alock.txt").write_bytes(b"")
    held = gate.put("a.csv")
    gate.clock.set_by = jump
    gate.sweeper.run()
    assert gate.now(held).state is ArrivalState.HELD
    gate.clock.ahead = timedelta(hours=3, seconds=9) + max(-jump, timedelta(0))
    gate.sweeper.run()
    assert gate.now(held).state is ArrivalState.WAITING


@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_an_interrupted_upload_can_be_resumed(gate: Gate, jump: timedelta) -> None:
    """An interrupted upload is kept for its sender when the clock is set, by a year too."""
    gate.sweeper.run()
    gate.system.staging.interrupt(gate.upload("a.csv", b"x" * 100))
    gate.clock.set_by = jump
    gate.sweeper.run()
    assert gate.system.staging.partial_at("erp", "a.csv") is not None


@pytest.mark.promise("P1")
@pytest.mark.parametrize("jump", JUMPS, ids=str)
def test_a_local_file_is_taken_when_it_is_quiet(gate: Gate, jump: timedelta) -> None:
    """A local file is neither taken before it was quiet, nor left for as long as the clock was set back."""
    gate.sweeper.run()
    (gate.drop / "a.csv").write_bytes(b"a,1\n")
    gate.clock.set_by = jump
    gate.sweeper.run()
    assert (gate.drop / "a.csv").exists()
    gate.clock.ahead = timedelta(seconds=9)
    gate.sweeper.run()
    assert (gate.drop / "a.csv").exists()
    gate.clock.ahead = timedelta(seconds=11)
    gate.sweeper.run()
    assert (gate.store / "a.csv").exists()


def test_what_is_kept_stays(make_gate: Any) -> None:
    """A clock that is a year ahead removes nothing that is kept for thirty days; the same time, passed, does."""
    gate = make_gate(keep_archives="30d")
    gate.sweeper.run()
    gate.put("a.csv", b"1\n")
    gate.put("a.csv", b"2\n")
    retention = make_retention(gate.system)
    gate.clock.set_by = timedelta(days=365)
    gate.sweeper.run()
    assert list(retention.plan()) == []
    gate.clock.ahead = timedelta(days=31)
    assert [doomed.name for doomed in retention.plan()] == [f"archives/{name}" for name in os.listdir(gate.store / "archives")]
    with gate.system.ledger.reading() as connection:
        assert len(arrivals.find(connection)) == 2
