"""A ledger that is missing, damaged, or younger than what lies on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sftpgate.errors import ExitCode
from tests.harness.command_line import Cli
from tests.harness.senders import Senders

CSV = b"username\na\n"


def _lose(cli: Cli, how: str) -> None:
    file = cli.data / "ledger.db"
    for beside in cli.data.glob("ledger.db-*"):
        beside.unlink()
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(b"this is no database\n" * 1000)


@pytest.mark.promise("P1", "P2", "P3", "P4")
@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_lost_ledger_is_made_anew_from_the_disk(cli: Cli, senders: Senders, how: str) -> None:
    """`verify` says so and changes nothing; the next sweep makes it anew, keeps the damaged one, and loses no file."""
    senders.send("erp", "users1.csv", CSV)
    senders.send("erp", "enrols.csv", b"1\n")
    senders.send("erp", "enrols.csv", b"2\n")
    senders.send("erp", "held.csv", b"x" * 65536)
    senders.system.close()
    _lose(cli, how)
    before = sorted(path.name for path in cli.data.iterdir())
    [violation] = cli("verify", "--json", code=ExitCode.FAILED).rows
    assert violation["rule"] == "the ledger is readable"
    assert sorted(path.name for path in cli.data.iterdir()) == before
    cli("sweep", code=None)
    states = {(str(row["path"]), str(row["state"])) for row in cli("arrivals", "--json").rows}
    assert states == {("users1.csv", "waiting"), ("enrols.csv", "waiting"), ("enrols.csv", "queued"), ("held.csv", "held")}
    assert bool(list(cli.data.glob("ledger.db.damaged-*"))) is (how == "damaged")
    cli("verify", "--content")


@pytest.mark.promise("P4", "P8")
def test_a_backup_that_is_older_than_the_ledger(cli: Cli, tmp_path: Path) -> None:
    """Files of a restored backup that were processed since are not processed again; what is missing is lost."""
    cli.environment["SFTPGATE_SETTLE_SECONDS"] = "0"
    cli("store", "put", "-", "users1.csv", text="username\nb\n")
    (cli.data / "sync" / "users.csv").write_bytes(CSV)
    backup = tmp_path / "backup"
    for part in ("sync", "store"):
        shutil.copytree(cli.data / part, backup / part)
    cli("sweep")
    cli("run", "users")
    cli("store", "put", "-", "users2.csv", text="username\nlater\n")
    for part in ("sync", "store"):
        shutil.rmtree(cli.data / part)
        shutil.copytree(backup / part, cli.data / part)
    swept = cli("sweep")
    assert "1 processed before, and left alone" in swept.out
    cli("run", "users", code=ExitCode.NOTHING_TO_DO)
    states = {str(row["path"]): row["state"] for row in cli("arrivals", "--json").rows}
    assert states == {"users1.csv": "done", "users.csv": "done", "users2.csv": "lost"}
    os.utime(cli.data / "sync" / "users.csv")
    assert "1 taken" in cli("sweep").out


def test_two_sweepers_of_two_processes(cli: Cli) -> None:
    """While one process sweeps, another one says so, changes nothing, and ends with the code for "later"."""
    cli("sweep", code=ExitCode.NOTHING_TO_DO)
    lock = cli.data / "store/.sftpgate/sweep.lock"
    holder = subprocess.Popen(
        ["flock", str(lock), "sh", "-c", "echo held; read line"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None and holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        assert "another process is sweeping" in cli("sweep", code=ExitCode.TRY_AGAIN).err
    finally:
        holder.communicate(b"\n", timeout=20)
    cli("sweep", code=ExitCode.NOTHING_TO_DO)


def test_a_long_sweep_shows_progress(cli: Cli) -> None:
    """On a terminal a sweep by hand shows how far it is, on one line; elsewhere it does not."""
    cli.environment["SFTPGATE_SETTLE_SECONDS"] = "0"
    (cli.data / "sync").mkdir(parents=True)
    for number in range(1200):
        (cli.data / "sync" / f"{number}.csv").write_bytes(b"%d\n" % number)
    words = " ".join(str(word) for word in cli.command("sweep"))
    done = subprocess.run(
        ["script", "-qec", words, "/dev/null"], cwd=cli.directory, env=cli.env, capture_output=True, timeout=60, check=True
    )
    assert b"\r" in done.stdout and b"taken" in done.stdout and b"1200 files seen" in done.stdout
    assert cli("sweep", code=ExitCode.NOTHING_TO_DO).err == ""


@pytest.mark.promise("P1")
def test_what_is_not_taken_for_an_arrival_when_a_ledger_is_made_anew(cli: Cli) -> None:
    """A file that a local program is writing, ignored names and names that are not UTF-8 do not become waiting arrivals."""
    store = cli.data / "store"
    cli("store", "put", "-", "users1.csv", text="username\nb\n")
    for name in (b"_users.csv", b"users.csv.tmp", b".users.csv", b"users\xe9.csv", b"archives/users\xe9.csv"):
        with open(os.fsencode(store) + b"/" + name, "wb") as file:
            file.write(CSV)
    with (store / "users2.csv").open("wb") as writing:
        writing.write(b"user")
        writing.flush()
        _lose(cli, "missing")
        cli("sweep", code=None)
        assert [row["path"] for row in cli("arrivals", "--json").rows] == ["users1.csv"]
        writing.write(b"name\nc\n")
    cli.environment["SFTPGATE_SETTLE_SECONDS"] = "0"
    cli("run", "users")
    assert sorted(str(row["path"]) for row in cli("arrivals", "--json").rows) == ["users1.csv", "users2.csv"]
    assert [path.name for path in (store / "archives").iterdir() if path.read_bytes() == b"username\nc\n"]


def test_data_that_are_not_mounted(cli: Cli) -> None:
    """Every command that changes data is refused on an empty place where these are not mounted, one that changes keys says
    that it is not on the record, those that look say so, and nothing is made there.
    """
    cli("user", "add", "erp")
    cli("store", "put", "-", "enrols.csv", text="1\n")
    cli.data.rename(cli.directory / "unmounted")
    cli.data.mkdir()
    for words in (["run", "--all"], ["store", "put", "-", "users1.csv"], ["sweep"]):
        assert "is the filesystem of the data mounted" in cli(*words, text="", code=ExitCode.BAD_SETTINGS).err, words
    assert "is the filesystem of the data mounted" in cli("user", "disable", "erp", code=ExitCode.FAILED).err
    assert "is the filesystem of the data mounted" in cli("status", code=None).out
    [finding] = [row for row in cli("doctor", "--json", code=ExitCode.BAD_SETTINGS).rows if row["check"] == "identity"]
    assert "sftpgate store adopt" in str(finding["what_to_do"])
    assert list(cli.data.iterdir()) == []
    cli.data.rmdir()
    (cli.directory / "unmounted").rename(cli.data)
    cli("run", "--all")
