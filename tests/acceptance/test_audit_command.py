"""``sftpgate audit`` and the part of ``sftpgate verify`` that checks the record: what admins and auditors see (P8)."""

from __future__ import annotations

import csv
import io
import json
import os
import pwd
import sqlite3
from collections.abc import Iterator

import pytest
from typer.main import get_command

from sftpgate.cli.command_record import Effect, effect_of
from sftpgate.cli.main import app
from sftpgate.errors import ExitCode
from tests.harness.command_line import Cli
from tests.harness.postgresql import PostgreSQL
from tests.harness.senders import Senders

CSV = b"username,course\nanna,m101\n"


@pytest.mark.promise("P8")
def test_export(cli: Cli, senders: Senders) -> None:
    """The record comes as text, as JSON lines and as CSV, and all three say the same."""
    sent = senders.send("erp", "users1.csv", CSV)
    cli("discard", sent.id)
    lines = [json.loads(line) for line in cli("audit", "--format", "jsonl").out.splitlines()]
    assert [row["event"] for row in lines if row["arrival"]] == ["arrival.received", "arrival.discarded", "arrival.reported"]
    rows = list(csv.DictReader(io.StringIO(cli("audit", "--format", "csv").out)))
    assert [(row["seq"], row["hash"]) for row in rows] == [(str(row["seq"]), row["hash"]) for row in lines]
    assert [json.loads(row["details"]) for row in rows] == [row["details"] for row in lines]
    text = cli("audit", "--arrival", sent.id[:12].lower()).out.splitlines()
    assert [line.split()[2] for line in text[1:]] == ["arrival.received", "arrival.discarded", "arrival.reported"]


@pytest.mark.promise("P8")
def test_search(cli: Cli, senders: Senders) -> None:
    """User, address, event and time narrow the search; a limit leaves the newest, and says that there are more."""
    senders.send("erp", "users1.csv", CSV)
    senders.send("other", "users2.csv", CSV)
    found = cli("audit", "--user", "erp", "--address", "192.0.2.7", "--event", "arrival.*", "--since", "1h", "--json").out
    assert [json.loads(line)["details"]["path"] for line in found.splitlines()] == ["users1.csv"]
    assert cli("audit", "--until", "1h", "--json").out == ""
    limited = cli("audit", "--limit", "1")
    assert "users2.csv" in limited.out
    assert cli("audit", "--since", "soon", code=2).err.startswith("sftpgate: ")


@pytest.mark.promise("P8")
def test_a_changed_record_is_named(cli: Cli, senders: Senders) -> None:
    """`verify` names the first record that somebody changed in the database, and a noted head finds a chain made anew."""
    senders.send("erp", "users1.csv", CSV)
    head = cli("audit", "--head").out.strip()
    number = int(head.partition(":")[0])
    cli("verify", "--audit-head", head)
    with sqlite3.connect(cli.data / "ledger.db") as connection:
        connection.execute("UPDATE events SET actor = 'other' WHERE seq = ?", (number,))
    connection.close()
    result = cli("verify", "--json", code=1)
    assert [(row["rule"], row["location"]) for row in result.rows] == [("the audit record is a whole chain", f"record {number}")]
    assert "NUMBER:HASH" in cli("verify", "--audit-head", "x", code=2).err


@pytest.mark.promise("P8")
def test_before_anything_happened(cli: Cli) -> None:
    """Without a ledger there is nothing on the record, and nothing is made."""
    assert cli("audit", "--json").out == ""
    assert not cli.data.exists()


@pytest.mark.promise("P8")
def test_commands_of_admins(cli: Cli, senders: Senders) -> None:
    """A command that changes something is recorded with the local account, its arguments and how it ended, also one that
    failed; one that only looks is not, and neither is what a password is.
    """
    senders.send("erp", "users1.csv", CSV)
    before = len(cli("audit", "--json").out.splitlines())
    cli("user", "add", "sis", "--password-stdin", text="horse battery staple\n")
    cli("user", "add", "sis", code=None)
    cli("user", "list")
    cli("status")
    cli("store", "mkdir", "a b")
    cli("sweep", "--help")
    output = cli("audit", "--json").out
    found = [json.loads(line) for line in output.splitlines()][before:]
    assert [(row["event"], row["details"]["arguments"], row["details"]["exit_code"] == 0) for row in found] == [
        ("cli.user.add", "sis --password-stdin", True),
        ("cli.user.add", "sis", False),
        ("cli.store.mkdir", "'a b'", True),
    ]
    account = pwd.getpwuid(os.getuid()).pw_name
    assert all(row["actor"].startswith(f"cli:{account}({os.getuid()})") for row in found)
    assert "horse" not in output
    assert cli("audit", "--user", account, "--json").out.count("cli.user.add") == 2


@pytest.mark.promise("P8")
@pytest.mark.parametrize("name", ["admin", "runner", "system"])
def test_a_sender_with_somebody_elses_name(cli: Cli, senders: Senders, name: str) -> None:
    """What a sender called `admin` did is its own on the record; doctor speaks of the name, and no new user gets it."""
    sent = senders.send(name, "users1.csv", CSV)
    cli("discard", sent.id)
    rows = [json.loads(line) for line in cli("audit", "--user", name, "--event", "arrival.rec*", "--json").out.splitlines()]
    assert [(row["event"], row["actor"].removeprefix("user:")) for row in rows] == [("arrival.received", name)]
    assert "rule: reserved user names" in cli("user", "add", name, code=6).err
    (cli.directory / "keys" / "users" / name).mkdir(parents=True, mode=0o700)
    assert any(row["check"] == "users" and name in str(row["finding"]) for row in cli("doctor", "--json", code=None).rows)


@pytest.mark.promise("P8")
def test_runs(cli: Cli, senders: Senders) -> None:
    """Claim, begin and end of a run are recorded, with tool, outcome and exit status, by the account that ran it."""
    sent = senders.send("erp", "users1.csv", CSV)
    cli("run", "users")
    rows = [json.loads(line) for line in cli("audit", "--arrival", sent.id, "--json").out.splitlines()]
    assert [row["event"] for row in rows] == ["arrival.received", "arrival.claimed", "run.begun", "run.ended", "arrival.done"]
    assert {row["actor"].partition("(")[0] for row in rows[1:]} == {f"runner:{pwd.getpwuid(os.getuid()).pw_name}"}
    ended = rows[3]["details"]
    assert (ended["tool"], ended["outcome"], ended["exit_status"]) == ("users", "done", 0)


@pytest.mark.promise("P8")
def test_a_ledger_made_anew(cli: Cli, senders: Senders) -> None:
    """When the ledger was damaged and made anew from the disk, the new chain says so, and where the old one is."""
    senders.send("erp", "users1.csv", CSV)
    senders.system.ledger.close()
    for file in cli.data.glob("ledger.db*"):
        file.unlink()
    (cli.data / "ledger.db").write_bytes(b"this is no database" * 100)
    cli("sweep", code=None)
    rows = [json.loads(line) for line in cli("audit", "--json").out.splitlines()]
    names = [row["event"] for row in rows]
    assert names[0] == "audit.begun"
    assert {"ledger.rebuilt", "ledger.set_aside"} <= set(names)
    [aside] = [row["details"]["kept_as"] for row in rows if row["event"] == "ledger.set_aside"]
    assert (cli.data / aside).exists()
    cli("verify")


@pytest.mark.promise("P8")
def test_every_command_says_what_it_does() -> None:
    """Each command says where it is registered whether it looks, changes something, or records itself."""
    effects = dict(_effects(get_command(app), ()))
    assert [name for name, effect in effects.items() if effect is None] == []
    assert {effects[name] for name in ("status", "store find", "user list", "verify")} == {Effect.LOOKS}
    assert {effects[name] for name in ("user add", "key add", "release", "store put", "sweep", "tool point")} == {Effect.CHANGES}
    assert {effects[name] for name in ("run", "claim", "serve")} == {Effect.RECORDS_ITSELF}


@pytest.mark.promise("P8")
def test_looks_of_every_kind(cli: Cli, senders: Senders) -> None:
    """Commands that only look are not on the record, and neither are calls of others that have only looked."""
    senders.send("erp", "users1.csv", CSV)
    cli("user", "add", "sis", "--password-stdin", text="horse battery staple\n")
    before = cli("audit", "--head").out
    for line in ("store find users*", "tool preset", "user quota sis", "prune --dry-run", "ban list", "user import . --dry-run"):
        cli(*line.split(), code=None)
    assert cli("audit", "--head").out == before


def _effects(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, Effect | None]]:
    commands: dict[str, object] = getattr(command, "commands", {})
    if path and not commands:
        yield " ".join(path), effect_of(command)
    for name, below in commands.items():
        yield from _effects(below, (*path, name))


@pytest.mark.promise("P8")
def test_a_command_before_the_first_start_on_postgresql(cli: Cli, postgresql: PostgreSQL) -> None:
    """What an admin does before the first start is on the record, on PostgreSQL too; status says that nothing is there."""
    cli.environment["SFTPGATE_LEDGER_URL"] = postgresql.new_database()
    assert "nothing has arrived yet" in cli("status").out
    assert "ledger" not in cli("user", "add", "erp").err
    assert "cli.user.add" in cli("audit").out


@pytest.mark.promise("P8")
def test_a_command_that_cannot_be_recorded(cli: Cli) -> None:
    """A command that was done and is not on the record says so, and does not end as if all were well."""
    cli("store", "mkdir", "sub")
    with sqlite3.connect(cli.data / "ledger.db") as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'no space'); END")
    connection.close()
    done = cli("user", "add", "erp", "--password-stdin", text="correct horse battery\n", code=ExitCode.FAILED)
    assert "could not be put on the audit record" in done.err
    assert (cli.directory / "keys/users/erp").is_dir()
