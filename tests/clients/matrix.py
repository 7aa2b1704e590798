"""The matrix as a Markdown table: what the last complete run showed, with the clients' versions.

``conftest.py`` collects the results and calls :func:`write` at the end of a run in which every cell was tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from docs.generate import CLIENTS as DOCUMENT
from docs.generate import replaced
from tests.clients.drivers.base import Capability, Client
from tests.clients.scenarios import Scenario

Results = Mapping[tuple[str, str], bool]  # (client, scenario) → passed; cells that do not apply are absent


def not_applicable(client: Client, scenario: Scenario) -> str:
    """Say why a cell does not apply; empty if it does."""
    lacks = dict(client.lacks) if client.appends else {Capability.APPEND: f"{client.title} cannot append", **client.lacks}
    return "; ".join(dict.fromkeys(lacks[need] for need in sorted(scenario.needs) if need in lacks))


def render(clients: Sequence[Client], scenarios: Sequence[Scenario], results: Results) -> str:
    """Return the table: scenarios down, clients across, the reasons for every "n/a" below."""
    reasons: dict[str, int] = {}

    def cell(client: Client, scenario: Scenario) -> str:
        if reason := not_applicable(client, scenario):
            return f"n/a <sup>{reasons.setdefault(reason, len(reasons) + 1)}</sup>"
        return {True: "ok", False: "**FAIL**", None: "not run"}[results.get((client.name, scenario.name))]

    head = [
        "| | " + " | ".join(f"{client.title} {client.version()}" for client in clients) + " |",
        "|---|" + "---|" * len(clients),
    ]
    rows = [f"| {scenario.title} | " + " | ".join(cell(client, scenario) for client in clients) + " |" for scenario in scenarios]
    notes = [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join([*head, *rows, "", *notes])


def write(clients: Sequence[Client], scenarios: Sequence[Scenario], results: Results, document: Path = DOCUMENT) -> None:
    """Write the table into the document."""
    text = replaced(document.read_text(encoding="utf-8"), "matrix", render(clients, scenarios, results))
    document.write_text(text, encoding="utf-8")
