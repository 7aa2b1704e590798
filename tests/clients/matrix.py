"""The matrix as a Markdown table: what the last complete run showed, with the clients' versions.

``conftest.py`` collects the results and calls :func:`write` at the end of a run in which every cell was tried. A generator of
documents calls :func:`summary` for the sentence and :func:`table` for the table of that run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.clients.drivers.base import Capability, Client
from tests.clients.scenarios import Scenario

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/client-matrix.md"
BEGIN, END = "<!-- matrix: begin -->", "<!-- matrix: end -->"

Results = Mapping[tuple[str, str], bool]  # (client, scenario) → passed; cells that do not apply are absent

_INTRODUCTION = """\
# Clients

Real clients against sftpgate, written by the last complete run of `make clients`; [clients.md](clients.md) has a recipe for each.
A cell is ok when the client reported success and exactly the right bytes were in the right place of the store, with nothing left
beside them. n/a: the client cannot do this at all.
"""


def not_applicable(client: Client, scenario: Scenario) -> str:
    """Why a cell does not apply; empty where it does."""
    lacks = dict(client.lacks) if client.appends else {Capability.APPEND: f"{client.title} cannot append", **client.lacks}
    return "; ".join(dict.fromkeys(lacks[need] for need in sorted(scenario.needs) if need in lacks))


def render(clients: Sequence[Client], scenarios: Sequence[Scenario], results: Results) -> str:
    """The document: scenarios down, clients across, the reasons for every "n/a" below."""
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
    return "\n".join([_INTRODUCTION, BEGIN, *head, *rows, "", *notes, END, ""])


def write(clients: Sequence[Client], scenarios: Sequence[Scenario], results: Results, document: Path = DOCUMENT) -> None:
    """Write the document."""
    document.write_text(render(clients, scenarios, results), encoding="utf-8")


def table(document: Path = DOCUMENT) -> str:
    """The table of the last complete run, as Markdown."""
    return document.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def summary(document: Path = DOCUMENT) -> str:
    """One sentence with the clients and the numbers of the last complete run."""
    lines = table(document).splitlines()
    clients = [name.strip() for name in lines[0].strip("|").split("|")[1:]]
    cells = [cell.strip() for line in lines[2:] if line.startswith("|") for cell in line.strip("|").split("|")[1:]]
    passed, failed = cells.count("ok"), sum(cell == "**FAIL**" for cell in cells)
    absent = sum(bool(re.match("n/a", cell)) for cell in cells)
    outcome = "all pass" if not failed else f"{failed} fail"
    return f"{', '.join(clients)}: {passed + failed} combinations of client and scenario, {outcome}; {absent} do not apply."
