"""One server for a test process, the cells that apply, and the table of results at the end of a complete run."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import matrix
from tests.clients.drivers.base import Client
from tests.clients.drivers.registry import CLIENTS
from tests.clients.scenarios import SCENARIOS, Cell, Scenario
from tests.clients.servers import Openssh, Server, Sftpgate

CELL_TIMEOUT_SECONDS = 240  # above COMMAND_TIMEOUT_SECONDS of one command; a 64 MiB cell takes some seconds

_results = pytest.StashKey[dict[tuple[str, str], bool]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--reference``: the same cells against OpenSSH."""
    parser.addoption("--reference", action="store_true", help="run the client matrix against OpenSSH's sshd, for comparison")


def pytest_configure(config: pytest.Config) -> None:
    """A place for the results; and an interrupt signal that children do not inherit as ignored, as a background job's do."""
    config.stash[_results] = {}
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _server_class(config: pytest.Config) -> type[Server]:
    return Openssh if config.getoption("--reference") else Sftpgate


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All clients by all scenarios."""
    if {"client", "scenario"} <= set(metafunc.fixturenames):
        cells = [
            pytest.param(client, scenario, id=f"{client.name}-{scenario.name}", marks=pytest.mark.timeout(CELL_TIMEOUT_SECONDS))
            for client in CLIENTS
            for scenario in SCENARIOS
        ]
        metafunc.parametrize(("client", "scenario"), cells)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Cells that do not apply are not tests (the table gives their reason); the reference runs nothing but cells."""
    lacks = _server_class(config).lacks
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or not {"client", "scenario"} <= set(callspec.params):
            (dropped if config.getoption("--reference") else kept).append(item)
            continue
        client, scenario = callspec.params["client"], callspec.params["scenario"]
        item.user_properties.append(("cell", [client.name, scenario.name]))
        applies = not matrix.not_applicable(client, scenario) and not scenario.needs & set(lacks)
        (kept if applies else dropped).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


# -- fixtures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server under test, with one account."""
    running = _server_class(pytestconfig)(tmp_path_factory.mktemp("server"))
    try:
        running.start()
        yield running
    finally:
        running.stop()
    shutil.rmtree(running.directory, ignore_errors=True)  # 64 MiB for each client


@pytest.fixture
def cell(request: pytest.FixtureRequest, client: Client, scenario: Scenario, server: Server, tmp_path: Path) -> Iterator[Cell]:
    """One client against the server."""
    if missing := client.missing():
        message = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    assert server.exit_status() is None, f"the server ended before this cell: status {server.exit_status()}"
    start = server.log.stat().st_size
    stem = f"{client.name}-{scenario.name}-0".replace("_", "-")  # no stem is the beginning of another
    yield Cell(client=client, server=server, stem=stem, path=tmp_path)
    with server.log.open("rb") as log:
        log.seek(start)
        sys.stderr.write(log.read().decode("utf-8", "replace"))  # pytest shows it with a failure
    assert server.exit_status() is None, f"the server ended by itself or by a stranger's signal: status {server.exit_status()}"
    shutil.rmtree(tmp_path, ignore_errors=True)


# -- results ---------------------------------------------------------------------------------------------------------


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Collect results where the reports arrive: in the one process, or in the controller of several."""
    if not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(_Recorder(session.config), "clients-recorder")


class _Recorder:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A cell passed when its call passed and nothing else failed."""
        for name, value in report.user_properties:
            if name == "cell" and isinstance(value, list) and not report.skipped and (report.when == "call" or report.failed):
                client, scenario = value
                results = self._config.stash[_results]
                results[client, scenario] = report.passed and results.get((client, scenario), True)

    def pytest_sessionfinish(self) -> None:
        """Write the table when every cell was tried against sftpgate, and only then."""
        results = self._config.stash[_results]
        wanted = {(client.name, row.name) for client in CLIENTS for row in SCENARIOS if not matrix.not_applicable(client, row)}
        if results.keys() >= wanted and not self._config.getoption("--reference"):
            matrix.write(CLIENTS, SCENARIOS, results)
