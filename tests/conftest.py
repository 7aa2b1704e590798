"""What holds for all tests: no skips in CI, and no deadlines for Hypothesis."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from tests.postgresql import PostgreSQL, programs

# A loaded machine is slow at times, and that is no bug; pytest-timeout ends what hangs.
hypothesis.settings.register_profile("sftpgate", deadline=None, print_blob=True)
hypothesis.settings.load_profile("sftpgate")

REFUSE_SKIPS = os.environ.get("CI") == "true"


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    if REFUSE_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped, and CI refuses skips: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: .ci/run installs every program that a test needs."""
    report = yield
    _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself."""
    report = yield
    _refuse(report)
    return report


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server; one for all tests of a process."""
    bin_dir = programs()
    if bin_dir is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    server = PostgreSQL(bin_dir)
    try:
        server.start()
        yield server
    finally:
        server.remove()
