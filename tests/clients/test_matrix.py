"""The matrix: every client by every scenario, one test each. ``-k lftp`` is a column, ``-k overwrite`` a row."""

from __future__ import annotations

from tests.clients.scenarios import Cell, Scenario


def test_client(cell: Cell, scenario: Scenario) -> None:
    """A real client does what the scenario's docstring says, and the store shows it (P1 to P7)."""
    scenario.act(cell)
