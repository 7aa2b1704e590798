"""``sftpgate quarantine`` and ``release``: what an admin decides about files that failed, and what their senders learn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpgate.ledger import reports
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import ArrivalState
from tests.harness.run_commands import Gate


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate whose tool fails on everything that is not good, at once for good."""
    gate = Gate(tmp_path)
    gate.enrols('grep good "$1"', "max_attempts = 1")
    yield gate
    gate.world.close()


def quarantined(gate: Gate) -> Arrival:
    """A file that its tool failed on."""
    arrival = gate.world.send("enrols.csv", b"bad\n")
    assert gate("run", "--all")[0] == 4
    return arrival


def told(gate: Gate) -> list[str]:
    """What the sender can read, the latest last."""
    with gate.world.system.ledger.reading() as connection:
        names = reports.of_owner(connection, "erp")
    return [gate.world.report(name).decode() for name in names]


def test_list(gate: Gate) -> None:
    """What lies in quarantine is listed with its tool, its exit status and its report; exit code 3 where nothing does."""
    assert gate("quarantine", "list") == (3, "", "")
    arrival = quarantined(gate)
    code, output, _ = gate("quarantine", "list", "--json")
    [row] = json.loads(output)
    assert (code, row["arrival"], row["user"], row["tool"], row["attempts"]) == (0, arrival.id, "erp", "enrols", 1)
    assert (row["last_outcome"], row["exit_status"]) == ("failed", 1)
    assert (gate.world.store / row["report"]).is_file()
    assert row["report"] in gate("quarantine", "list")[1]


def test_release(gate: Gate) -> None:
    """A file that is released from quarantine has all its attempts again, and is run by the next pass."""
    arrival = quarantined(gate)
    assert gate("quarantine", "release", arrival.id)[:2] == (0, f"enrols.csv is waiting (arrival {arrival.id})\n")
    assert gate.world.now(arrival).attempts == 0
    code, _, errors = gate("quarantine", "release", arrival.id)
    assert code == 6 and f"arrival {arrival.id} is waiting, not quarantined: see `sftpgate show" in errors
    gate.enrols("true")
    assert gate("run", "--all")[0] == 0
    assert gate.world.now(arrival).state is ArrivalState.DONE


@pytest.mark.promise("P8")
def test_discard_tells_the_sender(gate: Gate) -> None:
    """A file that is discarded is gone, its record stays, and its sender finds a report that says so."""
    arrival = quarantined(gate)
    assert len(told(gate)) == 1
    assert gate("quarantine", "discard", arrival.id)[0] == 0
    assert gate.world.now(arrival).state is ArrivalState.DISCARDED
    assert gate.world.managed("quarantine") == []
    assert any("outcome: removed\n" in text and "administrators" in text for text in told(gate))
    assert len(told(gate)) == 2
    waiting = gate.world.send("enrols.csv", b"x\n")
    assert gate("quarantine", "discard", waiting.id)[0] == 6
    assert gate("discard", waiting.id)[0] == 0
    assert len(told(gate)) == 3


@pytest.mark.parametrize("command", [["release"], ["discard"], ["quarantine", "release"], ["quarantine", "discard"]])
def test_unknown_ids(gate: Gate, command: list[str]) -> None:
    """An id that nobody has is one line that says where ids are listed."""
    code, output, errors = gate(*command, "01K0000000000000000000000X")
    assert (code, output) == (5, "")
    assert "there is no claim or arrival 01K" in errors and "`sftpgate arrivals`" in errors and errors.count("\n") == 1


def test_release_of_a_claim_that_a_process_holds(gate: Gate) -> None:
    """A claim of somebody else's running process is not for others to release."""
    gate.world.send("enrols.csv")
    claim = gate.world.claims.take("enrols")
    assert claim is not None
    code, _, errors = gate("release", claim.token)
    assert code == 5 and "is held by a running process" in errors
    assert gate.world.now(claim.arrival).state is ArrivalState.CLAIMED
