"""Where crash tests keep their files, and the number of points at which they stopped."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def base() -> Iterator[Path]:
    """An empty directory, in memory where the machine has that: what survives is the model's business, not the disk's."""
    memory = Path("/dev/shm")
    directory = tempfile.mkdtemp(prefix="sftpgate-crash-", dir=memory if os.access(memory, os.W_OK) else None)
    yield Path(directory)
    shutil.rmtree(directory, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points there were."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    points = sum(value for report in reports for name, value in report.user_properties if name == "crash_points")
    if points:
        terminalreporter.write_line(f"crash points: {points}")
