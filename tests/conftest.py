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


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--confined``: the gates of tests/protocol are processes that the kernel keeps to their directories."""
    parser.addoption("--confined", action="store_true", help="confine the gates of tests/protocol")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--confined`` the gate is another process: tests that reach into it are left out."""
    if config.getoption("--confined"):
        reaching = [item for item in items if item.get_closest_marker("same_process")]
        config.hook.pytest_deselected(items=reaching)
        items[:] = [item for item in items if item not in reaching]


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
