"""Runs whose commands fill the disk of the gate: a real filesystem of some megabytes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.policy.lifecycle import ArrivalState
from sftpgate.policy.runs import RunOutcome
from tests.harness.accounts import needs_root
from tests.harness.runners import World, shell

pytestmark = needs_root

FILLS = "head -c 20000000 /dev/zero | tr '\\0' x | fold -w 100"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory on a disk of six megabytes."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", str(tmp_path)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a filesystem")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    ("script", "outcome", "state"),
    [
        (f"{FILLS}; echo; echo '!!! broken'", RunOutcome.FAILED, ArrivalState.WAITING),
        (f"{FILLS}; echo; echo fine", RunOutcome.DONE, ArrivalState.DONE),
        (f'{FILLS} > "$SFTPGATE_TRYBACK" 2> /dev/null; echo fine', RunOutcome.NOT_THE_FILE, ArrivalState.WAITING),
    ],
)
def test_a_command_fills_the_disk(small_disk: Path, script: str, outcome: RunOutcome, state: ArrivalState) -> None:
    """What a command says at its end counts; if that finds no room, the file is not to blame. The run is on the record, with a
    report, and the disk has room again.
    """
    world = World(small_disk, a=shell(script, failed_output="^!!!"))
    try:
        arrival = world.send("a.csv")
        [result] = world.pass_over().results
        assert (result.outcome, world.now(arrival).state) == (outcome, state)
        assert b"this server's disk is full" in world.report(result.report)
        after = world.send("b.csv", bytes(1_000_000))
        assert after.state is ArrivalState.WAITING
    finally:
        world.close()
