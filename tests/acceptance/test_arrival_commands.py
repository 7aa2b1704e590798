"""``sftpgate arrivals``, ``show``, ``release``, ``discard`` and ``status``: the record of every file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sftpgate.errors import ExitCode
from sftpgate.ledger.arrivals import Arrival
from sftpgate.policy.lifecycle import Area, ArrivalEvent
from sftpgate.policy.locations import location

if TYPE_CHECKING:
    from tests.harness.command_line import Cli
from tests.harness.senders import Senders

CSV = b"a,b\n1,2\n"
CUT_OFF = b"x,y," * 8192  # one full write, and no line end: what an interrupted client leaves


def _quarantine(senders: Senders, sent: Arrival, attempts: int = 3) -> None:
    """Let an arrival fail too often, as a runner does it."""
    for event, area in ((ArrivalEvent.CLAIMED, Area.CLAIMS), (ArrivalEvent.QUARANTINED, Area.QUARANTINE)):
        with senders.system.journal.change() as change:
            change.event(change.get(sent.id), event, location=location(area, sent.id), attempts=attempts)
    senders.system.journal.flush()


# -- arrivals --------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P8")
def test_arrivals_are_listed_newest_first(cli: Cli, senders: Senders) -> None:
    """Every file is listed with who sent it, its size and its state, the newest first."""
    senders.send("erp", "users1.csv", CSV)
    senders.send("hr", "_draft.csv", b"x")
    rows = cli.arrivals()
    assert [(row["path"], row["owner"], row["size_bytes"], row["state"]) for row in rows] == [
        ("_draft.csv", "hr", 1, "ignored"),
        ("users1.csv", "erp", 8, "waiting"),
    ]
    assert "users1.csv" in cli("arrivals").out


@pytest.mark.parametrize(
    ("options", "paths"),
    [
        (["--user", "hr"], ["_draft.csv"]),
        (["--state", "waiting"], ["sub/users2.csv", "users1.csv"]),
        (["--state", "waiting", "--state", "ignored"], ["_draft.csv", "sub/users2.csv", "users1.csv"]),
        (["--path", "users?.csv"], ["users1.csv"]),
        (["--path", "sub/*"], ["sub/users2.csv"]),
        (["--since", "1h"], ["_draft.csv", "sub/users2.csv", "users1.csv"]),
        (["--since", "2999-01-01"], []),
        (["--limit", "1"], ["_draft.csv"]),
    ],
)
def test_arrivals_are_filtered(cli: Cli, senders: Senders, options: list[str], paths: list[str]) -> None:
    """The options of `arrivals` narrow the list."""
    senders.send("erp", "users1.csv", CSV)
    senders.send("erp", "sub/users2.csv", CSV)
    senders.send("hr", "_draft.csv", b"x")
    assert [row["path"] for row in cli.arrivals(*options)] == paths


def test_nothing_has_arrived(cli: Cli) -> None:
    """Before the first file a listing is empty, and looking makes nothing."""
    assert cli.arrivals() == []
    assert cli("arrivals").out == ""
    assert not cli.data.exists()


def test_a_time_that_is_none(cli: Cli) -> None:
    """A --since that is no time is a usage error that shows the forms."""
    for text in ("yesterday", "2h ago", "2026-13-01", "9" * 30 + "d"):
        assert "2026-01-31" in cli("arrivals", "--since", text, code=ExitCode.USAGE).err


# -- show ------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P8")
def test_show_tells_everything(cli: Cli, senders: Senders) -> None:
    """Who, from where, with which key and client, when, how big, which SHA-256, and what happened since."""
    sent = senders.send("erp", "users1.csv", CSV)
    record = cli("show", sent.id, "--json").record
    assert {key: record[key] for key in ("owner", "address", "login", "client", "size_bytes", "sha256", "grade")} == {
        "owner": "erp",
        "address": "192.0.2.7",
        "login": "SHA256:abc",
        "client": "SSH-2.0-OpenSSH_9.2",
        "size_bytes": 8,
        "sha256": sent.sha256,
        "grade": "plausible",
    }
    events = record["events"]
    assert isinstance(events, list)
    assert [(event["event"], event["actor"]) for event in events] == [("arrival.received", "erp")]
    assert record["runs"] == []


def test_an_id_can_be_shortened(cli: Cli, senders: Senders) -> None:
    """A unique beginning of an id, in any letter case, is enough; an ambiguous or unknown one is refused."""
    first = senders.send("erp", "users1.csv", CSV)
    senders.send("erp", "users2.csv", CSV)
    assert cli("show", first.id[:20].lower(), "--json").record["id"] == first.id
    assert "several arrivals" in cli("show", first.id[:2], code=ExitCode.REFUSED).err
    for wrong in ("ZZZ", "", "%", "../x"):
        assert "no arrival" in cli("show", wrong, code=ExitCode.NOT_FOUND).err


def test_text_from_clients_is_data(cli: Cli, senders: Senders) -> None:
    """A client's version and a file's name are shown escaped: neither can paint the terminal."""
    sent = senders.send("erp", "users\u202egpj.csv", CSV, client="SSH-2.0-\x1b[31mred\r\nx")
    for out in (cli("show", sent.id).out, cli("arrivals").out, cli("status").out):
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert r"users\u202egpj.csv" in out
    assert r"SSH-2.0-\x1b[31mred\r\nx" in cli("show", sent.id).out
    assert cli("show", sent.id, "--json").record["path"] == "users\u202egpj.csv"


# -- release and discard ---------------------------------------------------------------------------------------------


def test_a_doubtful_file_is_released(cli: Cli, senders: Senders) -> None:
    """A file that looks interrupted is held, and goes into the store when the admin releases it."""
    sent = senders.send("erp", "users1.csv", CUT_OFF)
    assert not (cli.store / "users1.csv").exists()
    record = cli("release", sent.id, "--json").record
    assert (record["state"], record["hold_reason"]) == ("waiting", None)
    assert (cli.store / "users1.csv").read_bytes() == CUT_OFF
    assert "waiting" in cli("release", sent.id, code=ExitCode.REFUSED).err


@pytest.mark.promise("P3")
def test_an_older_file_does_not_replace_a_newer_one(cli: Cli, senders: Senders) -> None:
    """A held file is not released over a newer one of its name that waits already."""
    held = senders.send("erp", "north/users1.csv", CSV)
    with senders.system.journal.change() as change:
        item = change.get(held.id)
        change.event(item, ArrivalEvent.HELD, location=location(Area.HELD, item.id))
    senders.send("erp", "north/users1.csv", b"newer\n")
    if cli("show", held.id, "--json").record["state"] == "held":
        assert "newer" in cli("release", held.id, code=ExitCode.REFUSED).err
    assert (cli.store / "north" / "users1.csv").read_bytes() == b"newer\n"


@pytest.mark.promise("P4")
def test_a_file_leaves_quarantine(cli: Cli, senders: Senders) -> None:
    """A quarantined file that is released waits again, with all its attempts."""
    sent = senders.send("erp", "enrols.csv", CSV)
    _quarantine(senders, sent)
    assert cli("status", "--json").record["quarantined"]
    record = cli("release", sent.id[:20], "--json").record
    assert (record["state"], record["attempts"]) == ("waiting", 0)
    assert (cli.store / "enrols.csv").read_bytes() == CSV
    assert cli("verify").out == "disk and ledger agree, and the audit record is whole\n"


def test_a_file_leaves_quarantine_for_its_queue(cli: Cli, senders: Senders) -> None:
    """Where every file counts, one from quarantine goes behind the one that waits, and nothing is replaced."""
    first = senders.send("erp", "enrols.csv", CSV)
    _quarantine(senders, first)
    second = senders.send("erp", "enrols.csv", b"second\n")
    assert cli("release", first.id, "--json").record["state"] == "queued"
    cli("discard", second.id)
    assert (cli.store / "enrols.csv").read_bytes() == CSV


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["waiting", "held", "quarantined"])
def test_a_file_is_discarded(cli: Cli, senders: Senders, kind: str) -> None:
    """A discarded file is gone from the disk, and its record says who did it."""
    sent = senders.send("erp", "users1.csv", CUT_OFF if kind == "held" else CSV)
    if kind == "quarantined":
        _quarantine(senders, sent)
    assert cli("show", sent.id, "--json").record["state"] == kind
    cli("discard", sent.id)
    record = cli("show", sent.id, "--json").record
    events = record["events"]
    assert isinstance(events, list)
    assert (record["state"], record["location"]) == ("discarded", None)
    [discarded] = [event for event in events if event["event"] == "arrival.discarded"]
    assert discarded["actor"].startswith("cli:")
    managed = [path for path in (cli.store / ".sftpgate").rglob("*") if path.is_file()]
    assert {path.name for path in managed} <= {"lock", "sweep.lock", "identity", "sequence"}
    assert not (cli.store / "users1.csv").exists()
    assert "cannot be discarded" in cli("discard", sent.id, code=ExitCode.REFUSED).err


@pytest.mark.promise("P4")
def test_a_file_that_a_runner_has_stays(cli: Cli, senders: Senders) -> None:
    """Neither release nor discard takes a file from its runner."""
    sent = senders.send("erp", "users1.csv", CSV)
    with senders.system.journal.change() as change:
        change.event(change.get(sent.id), ArrivalEvent.CLAIMED, location=location(Area.CLAIMS, sent.id))
    for command in ("release", "discard"):
        assert "claimed" in cli(command, sent.id, code=ExitCode.REFUSED).err
    assert (cli.store / ".sftpgate" / "claims" / sent.id).read_bytes() == CSV


# -- status ----------------------------------------------------------------------------------------------------------


def test_status_says_what_waits(cli: Cli, senders: Senders) -> None:
    """`status` counts what waits for each tool, and shows the oldest."""
    senders.send("erp", "enrols.csv", CSV)
    senders.send("erp", "enrols.csv", CSV)
    senders.send("erp", "other.csv", CSV)
    record = cli("status", "--json").record
    tools = record["tools"]
    assert isinstance(tools, list)
    by_name = {row["tool"]: row for row in tools}
    assert (by_name["enrols"]["waiting"], by_name["enrols"]["size_bytes"]) == (2, 16)
    assert (by_name["users"]["waiting"], by_name["users"]["oldest_at"]) == (0, None)
    waiting = record["waiting"]
    assert isinstance(waiting, list)
    assert [(row["path"], row["state"], row["tool"]) for row in waiting] == [
        ("enrols.csv", "waiting", "enrols"),
        ("enrols.csv", "queued", "enrols"),
        ("other.csv", "waiting", None),
    ]


def test_status_says_what_is_held_and_what_to_do(cli: Cli, senders: Senders) -> None:
    """Each held file is shown with the reason and with what somebody should do about it."""
    senders.send("erp", "users1.csv", CUT_OFF)
    (cli.data / "sync" / "alock.txt").touch()
    senders.send("erp", "users2.csv", CSV)
    held = cli("status", "--json").record["held"]
    assert isinstance(held, list)
    assert [(row["path"], row["reason"]) for row in held] == [("users1.csv", "incomplete?"), ("users2.csv", "batch-lock")]
    assert "sftpgate release" in held[0]["what_to_do"]
    assert str(cli.data / "sync" / "alock.txt") in held[1]["what_to_do"]
    assert "incomplete?" in cli("status").out


@pytest.mark.promise("P1")
def test_status_shows_interrupted_uploads(cli: Cli, senders: Senders) -> None:
    """An upload without its end is listed as one, and nothing of it waits."""
    senders.interrupt("erp", "users1.csv", b"a,b\n" * 1000)
    record = cli("status", "--json").record
    uploads = record["uploads"]
    assert isinstance(uploads, list)
    assert [(row["user"], row["path"], row["size_bytes"]) for row in uploads] == [("erp", "users1.csv", 4000)]
    assert record["waiting"] == []
    assert "users1.csv" in cli("status").out


def test_status_shows_the_last_sweep(cli: Cli) -> None:
    """`status` says when the last sweep was, and warns where there was none; looking makes nothing."""
    assert "sftpgate serve" in cli("status").out
    assert not cli.data.exists()
    cli("sweep", code=None)
    record = cli("status", "--json").record
    sweep = record["last_sweep"]
    assert isinstance(sweep, dict)
    assert (sweep["scanned"], record["notes"]) == (0, [])
    assert "Last sweep: 20" in cli("status").out


def test_status_of_many_files_stays_short(cli: Cli, senders: Senders) -> None:
    """A large batch is counted, not listed file by file."""
    (cli.data / "sync" / "alock.txt").touch()
    for number in range(60):
        senders.send("erp", f"users{number}.csv", CSV)
    out = cli("status").out
    assert "60 files in all: batch-lock" in out
    (cli.data / "sync" / "alock.txt").unlink()
    cli("sweep")
    out += cli("status").out
    assert "40 more" in out
    assert len(out.splitlines()) < 80


@pytest.mark.promise("P8")
def test_a_processed_file_is_followed_to_its_report(cli: Cli) -> None:
    """After a run, `show` has it and the archived name, `status` the last run of the tool; the report can be fetched."""
    cli("store", "put", "-", "users1.csv", text=CSV)
    cli("run", "users")
    [row] = cli.arrivals()
    assert row["state"] == "done"
    record = cli("show", str(row["id"]), "--json").record
    runs = record["runs"]
    assert isinstance(runs, list)
    assert [(run["tool"], run["outcome"], run["exit_status"]) for run in runs] == [("users", "done", 0)]
    assert cli("store", "get", f"archives/{record['archived_as']}", "-").raw == CSV
    assert "a,b" in cli("store", "get", f"reports/{runs[0]['report']}", "-").out
    tools = cli("status", "--json").record["tools"]
    assert isinstance(tools, list)
    assert {tool["tool"]: tool["outcome"] for tool in tools} == {"users": "done", "enrols": None}
    assert "users" in cli("show", str(row["id"])).out
