"""Gates for the protocol tests: one of the usual settings, or one of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.harness.apart import running_confined
from tests.harness.gates import Gate, Start, make_keys, running


@pytest.fixture(scope="session")
def gate_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Host keys and users: generating an RSA key takes longer than most tests."""
    directory = tmp_path_factory.mktemp("keys")
    make_keys(directory)
    return directory


@pytest.fixture
def start(base: Path, gate_keys: Path, request: pytest.FixtureRequest) -> Start:
    """Starts a gate with settings of the test's own; again on what an earlier one left."""
    run = running_confined if request.config.getoption("--confined") else running

    def started(**settings: Any) -> AbstractAsyncContextManager[Gate]:
        return run(base, gate_keys, **settings)

    return started


@pytest.fixture
async def gate(start: Start) -> AsyncIterator[Gate]:
    """A gate with the usual settings."""
    async with start() as running_gate:
        yield running_gate
