"""The number of points at which crash tests stopped."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many points there were."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    points = sum(value for report in reports for name, value in report.user_properties if name == "crash_points")
    if points:
        terminalreporter.write_line(f"crash points: {points}")
