"""Who reads a file while it is replaced reads one whole version of it."""

from __future__ import annotations

import threading

from sftpgate.store.depot import Depot, depot_path
from tests.unit.intake.conftest import Gate

VERSIONS = [b"%d\n" % number * 20_000 for number in range(40)]


def test_a_runner_that_reads_while_the_file_is_replaced(gate: Gate) -> None:
    """P1: whenever a plain program opens the named file, it is there, and it reads one version of it to the end."""
    seen: list[bytes] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            seen.append((gate.store / "a.csv").read_bytes())

    gate.put("a.csv", VERSIONS[0])
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for version in VERSIONS[1:]:
            gate.put("a.csv", version)
    finally:
        ended.set()
        reader.join(20)
    assert seen and set(seen) <= set(VERSIONS)


def test_a_descriptor_keeps_its_version(gate: Gate) -> None:
    """P1: a user or runner that has begun to read goes on with what it began, though the file was replaced meanwhile."""
    gate.put("a.csv", VERSIONS[1])
    depot = Depot(gate.system.layout, gate.system.disk)
    with open(depot.open_read(depot_path("a.csv")), "rb") as file:
        half = file.read(10_000)
        gate.put("a.csv", VERSIONS[2])
        assert half + file.read() == VERSIONS[1]
    assert gate.read("a.csv") == VERSIONS[2]
