"""What waited in a backup that was brought back is held: it may have been processed since."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sftpgate.app.arrivals import release, release_restored
from sftpgate.app.composition import build
from sftpgate.app.runs.claims import make_claims
from sftpgate.app.upkeep import say_restored
from sftpgate.ledger import arrivals, claims
from sftpgate.ledger.audit.actor import command
from sftpgate.ledger.database import identity as records
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.upkeep.brought_back import hold_restored
from sftpgate.upkeep.verify import verify
from tests.harness.handover import Gate

TOOLS = {
    "users": {"file": "users.csv", "command": ["true"]},
    "enrols": {"file": "enrols.csv", "command": ["true"], "arrivals": "queue"},
}


def _standing(gate: Any) -> list[tuple[str, str, str | None]]:
    with gate.system.ledger.reading() as connection:
        return [(row.path, row.state.value, row.hold_reason) for row in arrivals.find(connection)]


def _fill(gate: Any) -> None:
    """Let files wait, be queued, claimed, held for several reasons, and lie in the drop."""
    gate.put("users.csv")
    for content in (b"1\n", b"2\n"):
        gate.put("enrols.csv", content)
    gate.put("part.csv", b"x" * 65536)
    gate.put("_aside.csv")
    gate.put("alock.txt", b"")
    gate.put("set.csv")


def _copy_back(tmp_path: Path) -> None:
    """Put a copy in the place of a gate, as tar or rsync makes one."""
    (tmp_path / "data").rename(tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "data")


WAYS = {
    "tar": "tar -C data -cf data.tar . && rm -r data && mkdir data && tar -C data -xpf data.tar",
    "rsync": "rsync -aH data/ other && rm -r data && rsync -aH other/ data",
    "cp": "cp -a data other && rm -r data && cp -a other data",
}


@pytest.mark.promise("P4")
@pytest.mark.parametrize("way", WAYS)
def test_each_usual_way_is_known(make_gate: Any, tmp_path: Path, way: str) -> None:
    """A gate that was kept and brought back by tar, rsync or cp, into the very place that was emptied, holds what waited."""
    if shutil.which(way) is None:
        pytest.skip(f"{way} is not installed")
    gate = make_gate(tools=TOOLS)
    _fill(gate)
    gate.system.close()
    subprocess.run(["sh", "-ec", WAYS[way]], cwd=tmp_path, check=True)
    again = make_gate(tools=TOOLS)
    again.sweeper.recover()
    assert _standing(again) == HELD
    assert verify(again.system.resources, again.system.journal, content=True) == []


HELD = [
    ("users.csv", "held", "restored"),
    ("enrols.csv", "held", "restored"),
    ("enrols.csv", "held", "restored"),
    ("part.csv", "held", "incomplete?"),
    ("_aside.csv", "ignored", None),
    ("alock.txt", "ignored", None),
    ("set.csv", "held", "restored"),
]


@pytest.mark.promise("P4", "P8")
def test_everything_that_could_go_on_is_held(make_gate: Any, tmp_path: Path) -> None:
    """In a copy, what waits, is queued or claimed, or is held for something that ends by itself, is held; no runner and no
    sweep gets it, and what people decide about stays as it is.
    """
    gate = make_gate(tools=TOOLS)
    _fill(gate)
    assert make_claims(gate.system).take("users") is not None
    gate.system.close()
    _copy_back(tmp_path)
    again = make_gate(tools=TOOLS)
    again.sweeper.recover()
    assert _standing(again) == HELD
    again.sweeper.run()
    (again.drop / "alock.txt").rename(tmp_path / "alock.txt")
    again.sweeper.run()
    assert [row for row in _standing(again) if row[0] != "alock.txt"] == [row for row in HELD if row[0] != "alock.txt"]
    assert make_claims(again.system).take("users") is None
    with again.system.ledger.reading() as connection:
        assert claims.tokens(connection) == set()
    assert verify(again.system.resources, again.system.journal, content=True) == []


@pytest.mark.promise("P4")
def test_what_is_released_goes_where_it_would_go_now(make_gate: Any, tmp_path: Path) -> None:
    """What an admin releases is held by a batch lock that is there, and waits in its order if there is none."""
    gate = make_gate(tools=TOOLS)
    _fill(gate)
    gate.system.close()
    _copy_back(tmp_path)
    again = make_gate(tools=TOOLS)
    release_restored(again.system, command())
    assert {reason for path, _, reason in _standing(again) if path in ("users.csv", "enrols.csv", "set.csv")} == {"batch-lock"}
    again.acts.remove(again.sender(), "alock.txt", [])
    assert _standing(again) == [
        ("users.csv", "waiting", None),
        ("enrols.csv", "waiting", None),
        ("enrols.csv", "queued", None),
        ("part.csv", "held", "incomplete?"),
        ("_aside.csv", "ignored", None),
        ("alock.txt", "withdrawn", None),
        ("set.csv", "waiting", None),
    ]
    assert verify(again.system.resources, again.system.journal, content=True) == []


@pytest.mark.promise("P3", "P4")
def test_a_resend_takes_the_place_of_what_is_held(make_gate: Any, tmp_path: Path) -> None:
    """A file that is sent again after the restore goes on, and the one from the backup is kept in the archives."""
    gate = make_gate(tools=TOOLS)
    gate.put("users.csv", b"a,1\n")
    gate.system.close()
    _copy_back(tmp_path)
    again = make_gate(tools=TOOLS)
    again.put("users.csv", b"a,2\n")
    assert _standing(again) == [("users.csv", "replaced", "restored"), ("users.csv", "waiting", None)]
    assert again.archived() == [b"a,1\n"]


def test_a_change_of_owner_is_no_copy(make_gate: Any, tmp_path: Path) -> None:
    """What sets change times (chown, chmod) on all files, and a store that merely starts again, leaves what waits waiting."""
    gate = make_gate()
    gate.put("x.csv")
    gate.system.close()
    for path in [tmp_path / "data", *(tmp_path / "data").rglob("*")]:
        os.chown(path, os.geteuid(), os.getegid())
    again = make_gate()
    assert _standing(again) == [("x.csv", "waiting", None)]


@pytest.mark.promise("P4")
def test_a_hold_that_is_cut_off_goes_on(make_gate: Any, tmp_path: Path) -> None:
    """A start that was killed before all was held is completed by the next one, and one that ended is not done again."""
    gate = make_gate()
    gate.put("x.csv")
    with gate.system.ledger.transaction() as connection:
        records.set_restored(connection, "a test")
    gate.system.close()
    again = make_gate()
    assert _standing(again) == [("x.csv", "held", "restored")]
    [item] = release_restored(again.system, command())
    assert item.state.value == "waiting"
    assert hold_restored(again.system.resources, again.system.journal) == 0
    again.system.close()
    assert _standing(make_gate()) == [("x.csv", "waiting", None)]


@pytest.mark.promise("P4")
def test_a_gate_that_was_set_back_in_place(gate: Any) -> None:
    """Where nothing on the disk can tell, an admin says that the gate was set back, and what waits is held."""
    item = gate.put("x.csv")
    assert say_restored(gate.system, command()) == 1
    assert _standing(gate) == [("x.csv", "held", "restored")]
    release(gate.system, command(), item.id)
    assert _standing(gate) == [("x.csv", "waiting", None)]


class Stopped(BaseException):
    """The process is killed here."""


class Stopping(Disk):
    """A disk whose process is killed at one of its operations."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def step(self, operation: str, *disk_paths: DiskPath | int) -> None:
        """Count the operation, and stop at the last one."""
        self.left -= 1
        if self.left == 0:
            raise Stopped


@pytest.mark.promise("P2", "P4")
def test_a_kill_at_any_operation_of_the_hold(make_gate: Any, tmp_path: Path) -> None:
    """Wherever the start on a backup is killed, the next one holds everything that could go on, and no file is lost."""
    number, ended = 0, False
    while not ended:
        number += 1
        place = tmp_path / str(number)
        gate = Gate(place / "data", tools=TOOLS)
        _fill(gate)
        gate.system.close()
        _copy_back(place)
        try:
            Gate(place / "data", disk=Stopping(number), tools=TOOLS)
            ended = True
        except Stopped:
            pass
        again = Gate(place / "data", tools=TOOLS)
        again.sweeper.recover()
        assert _standing(again) == HELD, number
        assert verify(again.system.resources, again.system.journal, content=True) == [], number
        again.system.close()
        shutil.rmtree(place)
    assert number > 10


def test_it_is_marked_once(make_gate: Any, tmp_path: Path) -> None:
    """Two processes that start on a copy at a time hold everything once."""
    gate = make_gate()
    gate.put("x.csv")
    settings = gate.system.settings
    gate.system.close()
    _copy_back(tmp_path)
    first = build(settings)
    second = build(settings)
    for site in (first, second):
        with site.ledger.reading() as connection:
            assert records.restored(connection) is None
    first.close()
    second.close()


@pytest.mark.promise("P4")
def test_local_files_that_no_arrival_has(make_gate: Any, tmp_path: Path) -> None:
    """A local file that lay in drop or store when a backup was brought back is taken by nobody, and it is said why, until it is
    touched or everything is released. One that comes afterwards is taken.
    """
    gate = make_gate(tools=TOOLS)
    gate.put("first.csv")
    gate.system.close()
    for name in ("sync/by-program.csv", "sync/touched.csv", "store/users.csv"):
        (tmp_path / "data" / name).write_bytes(b"1\n")
        os.utime(tmp_path / "data" / name, (1, 1))
    _copy_back(tmp_path)
    again = make_gate(tools=TOOLS)
    again.sweeper.recover()
    before = _standing(again)

    def sweep() -> list[tuple[str, str, str | None]]:
        again.clock.ahead += timedelta(hours=1)
        again.sweeper.run()
        again.clock.ahead += timedelta(hours=1)
        again.sweeper.run()
        return [row for row in _standing(again) if row not in before]

    assert sweep() == []
    assert make_claims(again.system).take("users") is None
    (tmp_path / "data/sync/later.csv").write_bytes(b"2\n")
    os.utime(tmp_path / "data/sync/touched.csv")
    assert {row[:2] for row in sweep()} == {("later.csv", "waiting"), ("touched.csv", "waiting")}
    release_restored(again.system, command())
    assert ("by-program.csv", "waiting", None) in sweep()
    assert make_claims(again.system).take("users") is not None
