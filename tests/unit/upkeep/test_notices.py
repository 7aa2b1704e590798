"""What the sender of a held file finds under /reports."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from sftpgate.ledger import reports, runs
from sftpgate.ledger.arrivals import Arrival
from sftpgate.ledger.database.connection import Ledger
from sftpgate.ledger.runs import Run
from sftpgate.policy.checks import REPORT_AFTER, HeldFile, check_of
from sftpgate.policy.lifecycle import ArrivalState, HoldReason
from sftpgate.policy.runs import RunOutcome
from sftpgate.upkeep.notices import Notices
from tests.harness.runners import World, shell

MakeWorld = Callable[..., World]


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A world with a tool."""
    return make_world(a=shell("exit 0"))


def notices(world: World) -> Notices:
    """The sweeper's part that tells senders."""
    return Notices(
        world.system.resources, world.system.journal, batch_lock_name="alock.txt", language_of=world.system.language_of
    )


def told(world: World, user: str = "erp") -> list[str]:
    """The names of the reports that a user sees."""
    with world.system.ledger.reading() as connection:
        return reports.of_owner(connection, user)


def mismatch(world: World, path: str = "a.csv") -> Arrival:
    """A file whose checksum file speaks of another content."""
    world.send(f"{path}.sha256", hashlib.sha256(b"other").hexdigest().encode())
    return world.send(path, b"content\n")


@pytest.mark.promise("P8")
def test_a_held_file_is_reported_once(world: World) -> None:
    """The sender of a held file finds one report, however many sweeps there are, which says why and what to do."""
    arrival = mismatch(world)
    assert [notices(world).report_holds() for _ in range(3)] == [1, 0, 0]
    [name] = told(world)
    assert name == f"{world.clock().astimezone():%Y%m%d-%H%M}_report_a.csv"
    lines = dict(line.split(": ", 1) for line in world.report(name).decode().splitlines())
    assert (lines["arrival"], lines["SHA-256"], lines["outcome"]) == (arrival.id, arrival.sha256, "held")
    assert lines["reason"] == "checksum mismatch"
    assert "a.csv.sha256 speaks of another content" in lines["why"] and "Send the file again" in lines["what next"]
    assert str(world.directory) not in world.report(name).decode()
    assert told(world, "other") == []
    assert (world.store / "reports" / name).stat().st_mode & 0o777 == 0o640
    assert world.managed("staging/-") == []


def test_a_new_hold_is_a_new_report(world: World) -> None:
    """A file that is sent again and held again is reported again; the earlier report stays."""
    mismatch(world)
    notices(world).report_holds()
    world.clock.advance(minutes=1)
    world.send("a.csv", b"wrong again\n")
    assert notices(world).report_holds() == 1
    assert len(told(world)) == 2


def test_a_hold_that_ends_is_not_reported(world: World) -> None:
    """What was put right before the sweep leaves no report."""
    mismatch(world)
    world.send("a.csv.sha256", hashlib.sha256(b"content\n").hexdigest().encode())
    assert notices(world).report_holds() == 0


def test_a_set_of_files_is_no_trouble(world: World) -> None:
    """Files behind a batch lock are reported only when the lock stays: whoever sends a set wants no reports of it."""
    world.send("alock.txt")
    arrival = world.send("a.csv")
    assert arrival.hold_reason is HoldReason.BATCH_LOCK
    assert notices(world).report_holds() == 0
    world.clock.advance(minutes=10)
    assert notices(world).report_holds() == 1
    [name] = told(world)
    assert b"Remove alock.txt when the set of files is complete" in world.report(name)


@pytest.mark.promise("P3")
def test_many_holds_are_all_reported(world: World) -> None:
    """Hundreds of files that are held in one minute have a report each, under a name of its own."""
    world.send("alock.txt")
    for number in range(250):
        world.send(f"{number % 2}/a.csv" if number < 2 else f"{number}/a.csv")
    world.clock.advance(minutes=10)
    assert notices(world).report_holds() == 250
    assert len(told(world)) == len(list((world.store / "reports").iterdir())) == 250


@pytest.mark.promise("P8")
def test_a_crash_between_name_and_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the record fails after the report has its name, its sender sees one report in the end, and it can be read."""
    mismatch(world)

    class Killed(Exception):
        pass

    def die(*_arguments: object, **_more: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(reports, "add", die)
        with pytest.raises(Killed):
            notices(world).report_holds()
    assert told(world) == []
    assert notices(world).report_holds() == 1
    [name] = told(world)
    assert b"outcome: held" in world.report(name)


def test_local_files_have_nobody_to_tell(world: World) -> None:
    """What a program of this machine left in the drop is held without a report: it has no sender."""
    (world.system.layout.drop / "a.csv.sha256").write_text(hashlib.sha256(b"other").hexdigest())
    world.send("a.csv", b"x\n", user="")
    assert notices(world).report_holds() == 0


@pytest.mark.promise("P7")
@pytest.mark.parametrize("reason", HoldReason)
def test_every_reason_is_explained(reason: HoldReason) -> None:
    """Every reason for a hold has a sentence why, one what to do, and a time after which its sender is told."""
    because, to_do = check_of(reason).for_sender(HeldFile(name="a.csv"))
    assert str(because).endswith(".") and str(to_do).endswith(".")
    assert REPORT_AFTER[reason] >= timedelta(0)


@pytest.mark.promise("P8")
def test_reports_of_runs_are_the_senders(world: World) -> None:
    """Reports of failed runs say what happens next, and the last one that the file is set aside."""
    failing = world.open(a=shell("exit 1", max_attempts=2))
    world.system = failing
    arrival = world.send("a.csv")
    texts = [world.report(world.pass_over().results[0].report).decode() for _ in range(2)]
    assert "what next: the file is tried again" in texts[0]
    assert "what next: the file is set aside and is not tried again: correct it and send it again" in texts[1]
    assert world.now(arrival).state is ArrivalState.QUARANTINED
    assert len(told(world)) == 2


def test_a_ledger_from_before_the_table(tmp_path: Path, world: World) -> None:
    """Reports that an older ledger has with its runs only are their senders' after the first start."""
    ledger = Ledger(f"sqlite:///{tmp_path / 'old.db'}")
    ledger.create()
    now = world.clock()
    with ledger.transaction() as connection:
        run = Run(id="r", arrival="x", owner="erp", tool="a", attempt=1, started_at=now)
        runs.begin(connection, run)
        runs.finish(
            connection, "r", ended_at=now, outcome=RunOutcome.DONE, names=runs.ReportNames(report="report", tryback="tryback")
        )
        connection.exec_driver_sql("DROP TABLE reports")
        connection.exec_driver_sql("DELETE FROM facts WHERE name = 'reports_listed'")
    ledger.create()
    with ledger.reading() as connection:
        assert reports.of_owner(connection, "erp") == ["report", "tryback"]
        assert reports.owner_of(connection, "tryback") == "erp"
    ledger.close()


@pytest.mark.promise("P1", "P8")
def test_a_doubted_file_is_told_what_speaks_against_it(world: World) -> None:
    """The report about a doubted upload says what speaks against it, and that the same again is believed."""
    archive = gzip.compress(b"a,b\n" * 100)
    arrival = world.send("a.csv.gz", archive[:-9])
    assert arrival.hold_reason is HoldReason.INCOMPLETE
    assert notices(world).report_holds() == 1
    lines = dict(line.split(": ", 1) for line in world.report(told(world)[0]).decode().splitlines())
    assert "it is gzip, and its end is missing" in lines["why"]
    assert "a second time" in lines["what next"]
    assert world.send("a.csv.gz", archive[:-9]).hold_reason is None


def in_french(world: World) -> None:
    """Let the sender read French."""
    directory = world.system.settings.keys_dir / "users" / "erp"
    directory.mkdir(parents=True)
    (directory / "user.toml").write_text('language = "fr"\n')


@pytest.mark.promise("P8")
def test_a_held_file_is_reported_in_french(world: World) -> None:
    """A sender who reads French is told in French why a file is held, what spoke against it, and what to do."""
    in_french(world)
    archive = gzip.compress(b"a,b\n" * 100)
    world.send("a.csv.gz", archive[:-4])
    assert notices(world).report_holds() == 1
    [name] = told(world)
    lines = dict(line.split(": ", 1) for line in world.report(name).decode().splitlines())
    assert (lines["résultat"], lines["motif"]) == ("retenu", "incomplet ?")
    assert lines["pourquoi"] == "Le dépôt semble interrompu : c'est du gzip, et la fin manque ou est coupée."
    assert lines["suite"].startswith("Renvoyez le fichier")
    assert set(lines) == {
        *("arrivée", "utilisateur", "chemin", "taille", "SHA-256", "reçu"),
        *("résultat", "retenu depuis", "motif", "pourquoi", "suite"),
    }


@pytest.mark.promise("P8")
def test_a_removal_is_reported_in_french(world: World) -> None:
    """A sender who reads French is told in French that the administrators removed a file."""
    in_french(world)
    arrival = world.send("a.csv")
    with notices(world).removal(arrival) as staged:
        assert staged is not None
        text = staged.local.read_text()
    assert "résultat: supprimé\n" in text and "Les administrateurs de ce serveur ont supprimé le fichier" in text
