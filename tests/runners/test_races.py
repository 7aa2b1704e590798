"""Runners that race for a thousand files."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.ledger import arrivals
from sftpgate.policy.lifecycle import ArrivalState
from tests.harness.run_commands import Gate

FILES = 1000
ROUND = 25  # runs of one process: it ends, and the other one gets its chance at the lock


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate with a thousand files that wait for a tool that says which ones it got."""
    gate = Gate(tmp_path)
    gate.tools(
        "[tools.enrols]\nfile = 'enrols*.csv'\n"
        f"command = ['/bin/sh', '-c', 'cat \"$1\" >> {tmp_path}/record', 'sh', '{{file}}']\n"
    )
    for number in range(FILES):
        gate.world.send(f"enrols{number}.csv", b"%d\n" % number)
    yield gate
    gate.world.close()


def racer(gate: Gate) -> subprocess.Popen[bytes]:
    """A process that starts one pass after the other, each of a few runs, until a stop file is there."""
    pass_ = f'"$@" run --all --limit {ROUND} --verbose || test $? -eq 3 || exit 1'
    return subprocess.Popen(
        ["/bin/sh", "-c", f"until test -e stop; do {pass_}; done", "sh", *gate.command()],
        cwd=gate.directory,
        env=gate.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.promise("P3", "P4")
def test_two_runners_race_for_a_thousand_files(gate: Gate) -> None:
    """Two runners that start over and over process each of a thousand files exactly once, in order, and archive each."""
    racers = [racer(gate) for _ in range(2)]
    try:
        while sum(1 for _ in (gate.world.store / "archives").iterdir()) < FILES:
            assert all(each.poll() is None for each in racers), [each.communicate() for each in racers]
            subprocess.run([*gate.command(), "run", "enrols"], cwd=gate.directory, env=gate.environment, check=False)
    finally:
        (gate.directory / "stop").touch()
        outputs = [each.communicate(timeout=100) for each in racers]
    assert [errors for _, errors in outputs] == [b"", b""]
    assert (gate.directory / "record").read_text().split() == [str(number) for number in range(FILES)]
    with gate.world.system.ledger.reading() as connection:
        rows = arrivals.find(connection, owner="erp")
    assert Counter((row.state, row.attempts) for row in rows) == {(ArrivalState.DONE, 1): FILES}
    names = {row.archived_as for row in rows}
    contents = sorted(int((gate.world.store / "archives" / str(name)).read_text()) for name in names)
    assert contents == list(range(FILES))
    assert sum(1 for _ in (gate.world.store / "reports").iterdir()) == FILES
