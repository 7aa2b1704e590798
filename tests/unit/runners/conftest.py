"""Worlds for the tests of runners."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.runners.world import World


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
