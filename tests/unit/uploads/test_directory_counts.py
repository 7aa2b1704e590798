"""Directories count where they lie, and there is a last one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sftpgate.errors import QuotaExceeded
from sftpgate.users.registry import UserRegistry
from tests.harness.handover import Gate


class Looks:
    """Counts how often the drop is read."""

    def __init__(self, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = gate.system.disk.directories_in

        def counted(*arguments: Any) -> list[str]:
            self.count += 1
            return original(*arguments)

        monkeypatch.setattr(gate.system.disk, "directories_in", counted)


def make(gate: Gate, *paths: str, user: str = "erp") -> None:
    """MKDIR, one after the other."""
    for path in paths:
        gate.acts.make_directory(gate.sender(user), path, ())


def names(count: int) -> list[str]:
    """So many names."""
    return [f"d{number}" for number in range(count)]


@pytest.mark.promise("P7")
def test_the_last_directory(make_gate: Any) -> None:
    """Exactly max_directories can be made, at any depth; the next is refused with the rule until one was removed."""
    gate = make_gate(max_directories=5)
    make(gate, "a", "a/b", "a/b/c", *names(2))
    with pytest.raises(QuotaExceeded, match=r"5 directories .* the limit is 5.*\(rule: max_directories\)"):
        make(gate, "e")
    gate.acts.remove_directory(gate.sender(), "d0", ())
    gate.clock.ahead += timedelta(seconds=2)
    make(gate, "e")


def test_a_flood_is_refused_without_a_look(make_gate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the drop costs more the more directories there are: it is not read for each that is made or refused."""
    gate = make_gate(max_directories=40)
    looks = Looks(gate, monkeypatch)
    make(gate, *names(20))
    assert looks.count < 20
    make(gate, *names(40)[20:])
    before = looks.count
    for name in names(400)[40:]:
        with pytest.raises(QuotaExceeded):
            make(gate, name)
    assert looks.count - before <= 41  # one count


def test_homes_are_counted_apart(make_gate: Any, tmp_path: Path) -> None:
    """One user's directories take nothing from another one's home, and a home's nothing from the rest of the drop."""
    registry = UserRegistry(tmp_path / "keys")
    for user in ("one", "two"):
        registry.add(user, home=f"home-{user}")
    gate = make_gate(max_directories=3)
    make(gate, *names(3))
    with pytest.raises(QuotaExceeded):
        make(gate, "more")
    for user in ("one", "two"):
        gate.acts.make_home(f"home-{user}")
        make(gate, *(f"home-{user}/{name}" for name in names(3)), user=user)
        with pytest.raises(QuotaExceeded):
            make(gate, f"home-{user}/more", user=user)


@pytest.mark.promise("P7")
def test_several_processes_share_the_limit(tmp_path: Path) -> None:
    """Workers that take turns make no more than the limit together."""
    gates = [Gate(tmp_path / "data", max_directories=20, workers=4) for _ in range(4)]
    made = 0
    for number in range(60):
        try:
            make(gates[number % 4], f"d{number}")
            made += 1
        except QuotaExceeded:
            continue
    assert made == 20
    for gate in gates:
        gate.system.close()
