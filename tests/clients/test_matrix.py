"""The matrix: every client by every scenario, one test each. ``-k lftp`` is a column, ``-k overwrite`` a row."""

from __future__ import annotations

import pytest

from tests.clients.scenarios import Cell, Scenario


@pytest.mark.promise("P1", "P2", "P3", "P4", "P5", "P6", "P7")
def test_client(cell: Cell, scenario: Scenario) -> None:
    """A real client does what the scenario's docstring says, and the store shows it."""
    scenario.act(cell)
