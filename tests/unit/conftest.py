"""What holds for all unit tests: fixtures, and an empty directory to work in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.handover import Gate
from tests.harness.runners import World


@pytest.fixture(scope="session")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(autouse=True)
def _away_from_the_clone(_elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty directory: `make run` leaves a sftpgate.toml, keys and data in the clone."""
    monkeypatch.chdir(_elsewhere)


@pytest.fixture
def make_gate(tmp_path: Path) -> Iterator[Any]:
    """Makes gates with settings of the test's own."""
    made: list[Gate] = []

    def make(**settings: Any) -> Gate:
        made.append(Gate(tmp_path / "data", **settings))
        return made[-1]

    yield make
    for gate in made:
        gate.system.close()


@pytest.fixture
def gate(make_gate: Any) -> Gate:
    """A gate of the usual settings."""
    made: Gate = make_gate()
    return made


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Makes worlds with tools; all of them are closed at the end."""
    made: list[World] = []

    def make(**tools: dict[str, object]) -> World:
        made.append(World(tmp_path / f"world{len(made)}", **tools))
        return made[-1]

    yield make
    for world in made:
        world.close()
