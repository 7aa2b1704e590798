"""What holds for all tests: no skips in CI, and no deadlines for Hypothesis."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.harness.commands import Interpreters
from tests.harness.postgresql import PostgreSQL, programs

# A loaded machine is slow at times, and that is no bug; pytest-timeout ends what hangs.
hypothesis.settings.register_profile("sftpgate", deadline=None, print_blob=True)
hypothesis.settings.load_profile("sftpgate")

MANY_DESCRIPTORS = 300
REFUSE_SKIPS = os.environ.get("CI") == "true"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where gates and commands run: ``--confined``, ``--new-interpreters``."""
    parser.addoption("--confined", action="store_true", help="confine the gates of tests/protocol")
    parser.addoption("--new-interpreters", action="store_true", help="start a new interpreter for each command of sftpgate")


def pytest_configure(config: pytest.Config) -> None:
    """``--new-interpreters``: commands of sftpgate start as they do for people."""
    Interpreters.always_new = config.getoption("--new-interpreters")


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


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Descriptors that tests leave open do not add up: an ordinary user may have 1,024 of them."""
    if _descriptors() > MANY_DESCRIPTORS:
        gc.collect()  # parts that know each other are collected late
        assert _descriptors() <= MANY_DESCRIPTORS, "this test, or one before it, leaves descriptors open"


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


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


@pytest.fixture
def base() -> Iterator[Path]:
    """An empty directory, in memory if the machine has that."""
    memory = Path("/dev/shm")
    directory = tempfile.mkdtemp(prefix="sftpgate-test-", dir=memory if os.access(memory, os.W_OK) else None)
    yield Path(directory)
    shutil.rmtree(directory, ignore_errors=True)
