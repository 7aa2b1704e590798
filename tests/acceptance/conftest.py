"""The command line on a data directory of a test's own, and senders without a network."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.app.composition import build
from sftpgate.settings.tree import Settings
from tests.harness.command_line import TOOLS, Cli
from tests.harness.senders import Senders


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """The command line, with two tools: ``users`` takes the latest file, ``enrols`` every one in order."""
    (tmp_path / "sftpgate.toml").write_text(TOOLS, encoding="utf-8")
    environment = {"SFTPGATE_DATA_DIR": str(tmp_path / "data"), "SFTPGATE_KEYS_DIR": str(tmp_path / "keys")}
    return Cli(tmp_path, environment)


@pytest.fixture
def senders(cli: Cli) -> Iterator[Senders]:
    """Senders to the data directory of ``cli``."""
    settings = Settings(data_dir=cli.data, keys_dir=cli.directory / "keys", tools=tomllib.loads(TOOLS)["tools"])
    system = build(settings)
    try:
        yield Senders(system)
    finally:
        system.close()
