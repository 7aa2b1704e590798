"""A real ``sftpgate run`` that gets SIGKILL between any two of its steps."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.harness.commands import clean_environment

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.promise("P3", "P4")
@pytest.mark.parametrize("status", [0, 1])
def test_killed_between_any_two_steps(tmp_path: Path, status: int) -> None:
    """Wherever a run is killed, each file is done once, archived once, run twice at most, and nothing is left behind."""
    environment = clean_environment()
    done = subprocess.run(
        [sys.executable, "-m", "tests.runners.kill_driver", str(tmp_path), str(status)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    points = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(points) > 25 and [point["killed"] for point in points] == [True] * (len(points) - 1) + [False]
    for found in points:
        assert [state for state, _ in found["states"]] == ["done", "done"], found
        assert sum(attempts for _, attempts in found["states"]) <= 3 + status, found
        assert found["archives"] == ["first\n", "second\n"] and found["archive_files"] == 2, found
        assert found["done"] == [1, 1] and found["open_runs"] == 0, found
        assert found["missing_reports"] == [] and found["left"] == [], found
        executed = Counter(found["executed"])
        assert set(executed) == {"first", "second"} and executed.total() <= 3 + status, found
