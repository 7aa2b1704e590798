"""Files that a backup brought back into the drop."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from sftpgate.store.disk import Disk
from sftpgate.store.spots import Spot


class Counting(Disk):
    """A disk that says which files were opened for reading."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def open_read(self, spot: Spot) -> int:
        """As the disk does it."""
        self.opened.append(spot.name)
        return super().open_read(spot)


def test_a_restored_file_is_read_once(make_gate: Any) -> None:
    """P4: a processed file that comes back stays where it is, sweep after sweep, and its content is read by the first one only;
    once it is touched, it is a new one.
    """
    disk = Counting()
    gate = make_gate(disk=disk)

    def bring() -> None:
        (gate.drop / "x.csv").write_bytes(b"a,1\n")
        os.utime(gate.drop / "x.csv", (1_700_000_000, 1_700_000_000))

    bring()
    gate.clock.ahead = timedelta(minutes=1)
    assert gate.sweeper.run().taken == 1
    (gate.store / "x.csv").unlink()  # a plain program took it
    gate.sweeper.run()
    bring()
    disk.opened.clear()
    assert [gate.sweeper.run().restored for _ in range(3)] == [1, 1, 1]
    assert disk.opened == ["x.csv"]
    (gate.drop / "x.csv").touch()
    assert gate.sweeper.run().taken == 1
