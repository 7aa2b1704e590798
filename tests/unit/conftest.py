"""What holds for all unit tests: they do not see the settings, keys and data of the clone that they run in."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(autouse=True)
def _away_from_the_clone(_elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty directory: `make run` leaves a sftpgate.toml, keys and data in the clone."""
    monkeypatch.chdir(_elsewhere)
