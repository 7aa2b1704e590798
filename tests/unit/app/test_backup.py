"""A backup that is taken while the gate runs, and brought back where there is none."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sftpgate.app.arrivals import release_restored
from sftpgate.app.backup import restoring, taking
from sftpgate.app.backup.manifest import MANIFEST, content_file, kept_files, read_manifest
from sftpgate.app.runs.claims import make_claims
from sftpgate.errors import IdentityError, NoSpace, Refused
from sftpgate.ledger import arrivals
from sftpgate.ledger.audit.actor import command
from sftpgate.policy.runs import RunOutcome
from sftpgate.runners.claim_ends import ClaimEnd
from sftpgate.settings.tree import Settings
from sftpgate.store.disk import Disk
from sftpgate.store.disk_paths import DiskPath
from sftpgate.upkeep.verify import verify
from tests.harness.handover import Gate

TOOLS = {
    "users": {"file": "users.csv", "command": ["true"]},
    "enrols": {"file": "enrols.csv", "command": ["true"], "arrivals": "queue"},
}


def _settings(place: Path, **more: Any) -> Settings:
    return Settings(data_dir=place / "data", keys_dir=place / "keys", durability="relaxed", tools=TOOLS, **more)


def _restore(backup: Path, place: Path, disk: Disk | None = None, **more: Any) -> None:
    manifest = restoring.check(backup)
    restoring.bring_back(backup, manifest, _settings(place, **more), command(), made=None, disk=disk)


def _standing(gate: Gate) -> list[tuple[str, str, str]]:
    with gate.system.ledger.reading() as connection:
        return [(row.path, row.state.value, row.sha256) for row in arrivals.find(connection)]


def _process(gate: Gate, tool: str) -> None:
    claims = make_claims(gate.system)
    claim = claims.take(tool)
    assert claim is not None
    claims.end(claim, ClaimEnd(outcome=RunOutcome.DONE))


def _fill(gate: Gate) -> None:
    """Give a gate one file of each kind."""
    gate.put("users.csv", b"processed\n")
    _process(gate, "users")
    gate.put("users.csv", b"claimed\n")
    for content in (b"1\n", b"2\n"):
        gate.put("enrols.csv", content)
    gate.put("part.csv", b"x" * 65536)
    gate.put("_aside.csv", b"aside\n")
    gate.put("dir/deep.csv", b"deep\n")
    gate.put("gone.csv", b"old\n")
    gate.put("gone.csv", b"new\n")
    (gate.store / "notes.txt").write_text("of an admin\n")
    (gate.drop / "left").mkdir()
    (gate.drop / "left/_x").write_text("of somebody\n")
    keys = gate.system.settings.keys_dir / "users/erp"
    keys.mkdir(parents=True, mode=0o700, exist_ok=True)
    (keys / "user.toml").write_text("")
    (keys / "user.toml").chmod(0o600)


EXPECTED = {
    "waiting": "held",
    "queued": "held",
    "claimed": "held",
}


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Gate]:
    """A gate with one file of each kind."""
    gate = Gate(tmp_path / "old/data", tools=TOOLS)
    _fill(gate)
    yield gate
    gate.system.close()


@pytest.mark.promise("P2", "P3", "P4", "P8")
@pytest.mark.parametrize(
    ("was_in", "goes_to"),
    [("sqlite", "sqlite"), ("postgresql", "postgresql"), ("sqlite", "postgresql"), ("postgresql", "sqlite")],
)
def test_a_gate_runs_on_from_its_backup(request: pytest.FixtureRequest, tmp_path: Path, was_in: str, goes_to: str) -> None:
    """Everything is there after a restore into an empty machine: files, records and keys with their modes; what could go on is
    held, and goes on when it is released; the chain of audit records is whole. A ledger goes from any database into any.
    """

    def ledger_in(database: str) -> dict[str, Any]:
        return {"ledger_url": request.getfixturevalue("postgresql").new_database()} if database == "postgresql" else {}

    filled = Gate(tmp_path / "old/data", tools=TOOLS, **ledger_in(was_in))
    _fill(filled)
    claims = make_claims(filled.system)
    assert claims.take("users") is not None
    before = _standing(filled)
    taken = taking.back_up(filled.system, command(), tmp_path / "backup")
    assert taken.files == read_manifest(tmp_path / "backup").files
    there = ledger_in(goes_to)
    _restore(tmp_path / "backup", tmp_path / "new", **there)
    again = Gate(tmp_path / "new/data", tools=TOOLS, **there)
    assert not again.sweeper.recover().gone
    assert _standing(again) == [(path, EXPECTED.get(state, state), sha256) for path, state, sha256 in before]
    assert verify(again.system.resources, again.system.journal, content=True) == []
    assert again.archived() == filled.archived()
    assert again.read("notes.txt") == b"of an admin\n"
    assert (again.drop / "left/_x").read_text() == "of somebody\n"
    assert (tmp_path / "new/keys/users/erp/user.toml").stat().st_mode & 0o777 == 0o600
    release_restored(again.system, command())
    for tool in ("users", "enrols", "enrols"):
        _process(again, tool)
    again.put("users.csv", b"after\n")
    again.sweeper.run()
    assert verify(again.system.resources, again.system.journal, content=True) == []
    again.system.close()
    filled.system.close()


@pytest.mark.promise("P4")
def test_what_was_processed_since_the_backup_does_not_run_again(filled: Gate, tmp_path: Path) -> None:
    """A file that waited in the backup and was processed after it is claimed by nobody on the restored gate."""
    taking.back_up(filled.system, command(), tmp_path / "backup")
    for tool in ("users", "enrols", "enrols"):
        _process(filled, tool)
    _restore(tmp_path / "backup", tmp_path / "new")
    again = Gate(tmp_path / "new/data", tools=TOOLS)
    again.sweeper.run()
    assert [make_claims(again.system).take(tool) for tool in ("users", "enrols")] == [None, None]
    again.system.close()


@pytest.mark.promise("P2", "P3")
def test_a_backup_while_files_come_and_go(tmp_path: Path) -> None:
    """While files are uploaded, processed and removed, a backup has the state of one moment: restored, disk and ledger agree,
    every content is that of its record, and no upload has failed.
    """
    gate = Gate(tmp_path / "old/data", tools=TOOLS)
    for number in range(30):
        gate.put("enrols.csv", b"%d\n" % number * 1000)
    ended = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        number = 0
        try:
            while not ended.is_set():
                number += 1
                gate.put("enrols.csv", b"%d,x\n" % number)
                gate.put(f"d{number % 7}/x.csv", b"%d,y\n" % number)
                _process(gate, "enrols")
                if number % 5 == 0:
                    gate.acts.remove(gate.sender(), f"d{number % 7}/x.csv", [])
        except BaseException as error:
            failed.append(error)
            raise

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for number in range(5):
            taking.back_up(gate.system, command(), tmp_path / f"backup{number}")
    finally:
        ended.set()
        worker.join()
    assert not failed
    for number in range(5):
        place = tmp_path / f"new{number}"
        _restore(tmp_path / f"backup{number}", place)
        again = Gate(place / "data", tools=TOOLS)
        assert not again.sweeper.recover().gone
        assert verify(again.system.resources, again.system.journal, content=True) == []
        again.system.close()
    gate.system.close()


@pytest.mark.promise("P3")
def test_nothing_is_overwritten(filled: Gate, tmp_path: Path) -> None:
    """A backup is written into an empty directory only, and not into the gate; it is restored where there is nothing."""
    taking.back_up(filled.system, command(), tmp_path / "backup")
    for place in (tmp_path / "backup", filled.store / "x", filled.drop / "x", tmp_path / "old/keys/x"):
        with pytest.raises(Refused):
            taking.back_up(filled.system, command(), place)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Refused, match="nothing is overwritten"):
        _restore(tmp_path / "backup", tmp_path / "old")
    (tmp_path / "third/keys").mkdir(parents=True)
    (tmp_path / "third/keys/x").touch()
    with pytest.raises(Refused, match="nothing is overwritten"):
        _restore(tmp_path / "backup", tmp_path / "third")
    assert [path for path in sorted(tmp_path.rglob("*")) if "third" not in path.parts] == before


def _forget_manifest(backup: Path) -> None:
    (backup / MANIFEST).unlink()


def _damage_content(backup: Path) -> None:
    kept = next(each for each in kept_files(backup) if each.size)
    content_file(backup, kept.sha256).write_bytes(b"x" * kept.size)


def _lose_content(backup: Path) -> None:
    kept = next(each for each in kept_files(backup) if each.size)
    content_file(backup, kept.sha256).unlink()


def _damage_list(backup: Path) -> None:
    with (backup / "files.jsonl").open("a") as file:
        file.write('{"place": "store/../../../etc/x", "mode": 420}\n')


def _damage_ledger(backup: Path) -> None:
    (backup / "ledger.db").write_bytes(b"x")


def _of_later_version(backup: Path) -> None:
    text = (backup / MANIFEST).read_text()
    (backup / MANIFEST).write_text(text.replace('"schema": ', '"schema": 9'))


@pytest.mark.promise("P2")
@pytest.mark.parametrize(
    "damage", [_forget_manifest, _damage_content, _lose_content, _damage_list, _damage_ledger, _of_later_version]
)
def test_a_damaged_backup_is_refused_before_anything_is_made(
    filled: Gate, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """Whatever is missing or wrong in a backup, it is said, and nothing is restored."""
    taking.back_up(filled.system, command(), tmp_path / "backup")
    damage(tmp_path / "backup")
    with pytest.raises(Refused):
        _restore(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_backup_that_would_fill_the_disk_of_the_gate(tmp_path: Path) -> None:
    """On the gate's own disk a backup leaves the room that uploads need: it is given up, and what it had written is removed."""
    gate = Gate(tmp_path / "old/data", tools=TOOLS)
    gate.put("users.csv")
    full = gate.system.settings.model_copy(update={"free_space_floor": 1 << 60})
    gate.system = type(gate.system)(**{name: getattr(gate.system, name) for name in gate.system.__slots__} | {"settings": full})
    with pytest.raises(NoSpace, match="given up"):
        taking.back_up(gate.system, command(), tmp_path / "backup")
    assert list((tmp_path / "backup").iterdir()) == []
    gate.system.close()


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


@pytest.mark.promise("P2", "P3", "P4")
def test_a_restore_that_is_killed_goes_on(filled: Gate, tmp_path: Path) -> None:
    """Wherever a restore is killed, no gate starts on what it left, and the same command completes it."""
    taking.back_up(filled.system, command(), tmp_path / "backup")
    number, ended = 0, False
    while not ended:
        number += 7
        place = tmp_path / "new"
        try:
            _restore(tmp_path / "backup", place, Stopping(number))
            ended = True
        except Stopped:
            is_marked = any((place / "data").rglob("restoring"))
            if is_marked:
                with pytest.raises(IdentityError, match="restore"):
                    Gate(place / "data", tools=TOOLS)
            if is_marked or not (place / "data/ledger.db").exists():  # else it had ended
                _restore(tmp_path / "backup", place)
        again = Gate(place / "data", tools=TOOLS)
        assert not again.sweeper.recover().gone
        assert verify(again.system.resources, again.system.journal, content=True) == [], number
        again.system.close()
        shutil.rmtree(place)
    assert number > 100
