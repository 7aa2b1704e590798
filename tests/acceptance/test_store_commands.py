"""``sftpgate store``: the local file manager."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sftpgate.errors import ExitCode
from tests.harness.command_line import Cli
from tests.harness.servers import until

if TYPE_CHECKING:
    from tests.harness.senders import Senders

CSV = b"a,b\n1,2\n"


def _local(cli: Cli, name: str = "enrols.csv", content: bytes = CSV) -> str:
    path = cli.directory / name
    path.write_bytes(content)
    return str(path)


def _files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


# -- put -------------------------------------------------------------------------------------------------------------


@pytest.mark.promise("P8")
def test_a_deposit_waits_for_its_tool(cli: Cli) -> None:
    """A file put into the store is there under its name, with the configured mode, and on the record."""
    record = cli("store", "put", _local(cli), "--json").record
    path = cli.store / "enrols.csv"
    assert path.read_bytes() == CSV
    assert path.stat().st_mode & 0o777 == 0o640
    assert (record["state"], record["source"], record["owner"]) == ("waiting", "put", "")
    assert record["sha256"] == hashlib.sha256(CSV).hexdigest()
    assert cli.leftovers() == []
    assert cli.arrivals()[0]["id"] == record["id"]


def test_a_deposit_from_standard_input(cli: Cli) -> None:
    """`store put - NAME` takes what is piped into it, byte for byte."""
    content = os.urandom(3_000_000)
    cli("store", "put", "-", "users.csv", text=content)
    assert (cli.store / "users.csv").read_bytes() == content
    assert cli("store", "put", "-", text=content, code=ExitCode.USAGE).err.startswith("sftpgate: ")


@pytest.mark.promise("P3")
def test_a_newer_deposit_replaces_and_keeps_the_earlier_one(cli: Cli) -> None:
    """Where only the latest file counts, the earlier one goes to the archives."""
    cli("store", "put", "-", "users1.csv", text="first\n")
    cli("store", "put", "-", "users1.csv", text="second\n")
    assert (cli.store / "users1.csv").read_text() == "second\n"
    [archived] = (cli.store / "archives").iterdir()
    assert archived.read_text() == "first\n"
    assert [row["state"] for row in cli.arrivals()] == ["waiting", "replaced"]


@pytest.mark.promise("P3")
def test_deposits_for_a_queue_wait_for_each_other(cli: Cli) -> None:
    """Where every file counts, the second one is queued, and comes up when the first one goes."""
    cli("store", "put", "-", "enrols.csv", text="first\n")
    assert "queued" in cli("store", "put", "-", "enrols.csv", text="second\n").out
    assert (cli.store / "enrols.csv").read_text() == "first\n"
    cli("store", "rm", "enrols.csv")
    assert (cli.store / "enrols.csv").read_text() == "second\n"
    assert [row["state"] for row in cli.arrivals()] == ["waiting", "discarded"]


def test_a_deposit_into_a_directory_keeps_its_name(cli: Cli) -> None:
    """A directory as target means the file's own name in it; one that is not there is an error that says what to do."""
    local = _local(cli)
    cli("store", "mkdir", "north")
    cli("store", "put", local, "north")
    assert (cli.store / "north" / "enrols.csv").read_bytes() == CSV
    assert "mkdir" in cli("store", "put", local, "south/", code=ExitCode.NOT_FOUND).err


@pytest.mark.promise("P3")
def test_a_file_that_the_store_never_had_is_kept(cli: Cli) -> None:
    """A file that another program left in the store under the name is archived, not overwritten."""
    cli("store", "mkdir", "x")
    (cli.store / "users.csv").write_text("by hand\n")
    cli("store", "put", "-", "users.csv", text="new\n")
    [archived] = (cli.store / "archives").iterdir()
    assert archived.read_text() == "by hand\n"


def test_the_batch_lock_holds_deposits_too(cli: Cli) -> None:
    """While alock.txt lies in the drop, a deposit is held and said to be; `release` lets it in."""
    cli("store", "mkdir", "x")
    (cli.data / "sync" / "alock.txt").touch()
    out = cli("store", "put", _local(cli)).out
    assert "batch-lock" in out
    assert not (cli.store / "enrols.csv").exists()
    arrival = str(cli.arrivals()[0]["id"])
    cli("release", arrival)
    assert (cli.store / "enrols.csv").read_bytes() == CSV


@pytest.mark.promise("P6", "P7")
@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("archives/x.csv", "rule: archives and reports are managed"),
        ("Reports/x.csv", "rule: archives and reports are managed"),
        ("a/../archives/x.csv", "rule: archives and reports are managed"),
        (".sftpgate/x.csv", "rule: reserved names"),
        (".SFTPGATE-x", "rule: reserved names"),
        ("a\nb.csv", "rule: no control characters"),
        ("a\x1b[31mb.csv", "rule: no control characters"),
        ("é" * 200, "rule: names have at most 255 bytes"),
        (b"a\xffb.csv", "rule: names are UTF-8"),
    ],
)
def test_a_deposit_that_a_rule_refuses(cli: Cli, path: str | bytes, rule: str) -> None:
    """What cannot be stored is refused with the rule, in one line, and leaves nothing behind."""
    cli("store", "mkdir", "a")
    before = _files(cli.store)
    result = cli("store", "put", _local(cli), path, code=ExitCode.REFUSED)
    assert rule in result.err
    assert "\x1b" not in result.err
    assert _files(cli.store) == before
    assert cli.arrivals() == []


def test_a_deposit_over_a_users_file_is_refused(cli: Cli, senders: Senders) -> None:
    """A file that a user sent and no tool has taken is not replaced by a deposit; the message says whose it is and what to do."""
    sent = senders.send("erp", "users.csv", CSV)
    err = cli("store", "put", _local(cli), "users.csv", code=ExitCode.REFUSED).err
    assert "the user erp" in err
    assert sent.id in err
    assert cli.leftovers() == []


def test_a_deposit_that_is_too_large(cli: Cli) -> None:
    """A deposit beyond max_upload_bytes is refused, and nothing of it stays."""
    cli.environment["SFTPGATE_MAX_UPLOAD_BYTES"] = "1000"
    assert "max_upload_bytes" in cli("store", "put", "-", "users.csv", text=b"x" * 1001, code=ExitCode.REFUSED).err
    assert cli.leftovers() == []
    assert not (cli.store / "users.csv").exists()


@pytest.mark.promise("P1")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_deposit_that_is_killed_leaves_nothing_in_the_store(cli: Cli, number: signal.Signals) -> None:
    """A program that dies in the middle of a deposit makes nothing visible."""
    process = subprocess.Popen(
        cli.command("store", "put", "-", "users.csv"),
        stdin=subprocess.PIPE,
        cwd=cli.directory,
        env=cli.env,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(b"a,b\n" * 1_000_000)
    process.stdin.flush()
    until(lambda: cli.leftovers() or process.poll() is not None, "the deposit has begun")
    assert process.poll() is None
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == (-number if number is signal.SIGKILL else 130)
    assert err == b""
    assert not (cli.store / "users.csv").exists()
    assert cli.arrivals() == []
    cli("store", "put", "-", "users.csv", text="whole\n")
    assert (cli.store / "users.csv").read_text() == "whole\n"


def test_what_root_deposits_belongs_to_the_server() -> None:
    """Where root runs a command on a store of somebody else, what it makes belongs to that user, who can go on with it."""
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        here.chmod(0o755)
        cli = Cli(here, {"SFTPGATE_DATA_DIR": str(here / "data"), "SFTPGATE_KEYS_DIR": str(here / "keys")})
        cli("store", "mkdir", "a")
        owner = 54321 if os.geteuid() == 0 else os.geteuid()
        for path in (cli.data, *cli.data.rglob("*")):
            os.chown(path, owner, -1)
        secret = here / "users.csv"
        secret.write_bytes(CSV)
        secret.chmod(0o600)
        cli("store", "put", str(secret))
        cli("store", "mkdir", "b")
        assert (cli.store / "users.csv").read_bytes() == CSV
        assert {path.stat().st_uid for path in cli.data.rglob("*")} == {owner}


# -- mv, rm, mkdir ---------------------------------------------------------------------------------------------------


@pytest.mark.promise("P8")
def test_a_waiting_file_can_be_renamed(cli: Cli, senders: Senders) -> None:
    """Moving a waiting file moves its arrival, and the record says that the admin did it."""
    sent = senders.send("erp", "enrolments.csv", CSV)
    cli("store", "mv", "enrolments.csv", "enrols.csv")
    assert (cli.store / "enrols.csv").read_bytes() == CSV
    assert not (cli.store / "enrolments.csv").exists()
    record = cli("show", sent.id, "--json").record
    assert (record["path"], record["state"], record["owner"]) == ("enrols.csv", "waiting", "erp")
    events = record["events"]
    assert isinstance(events, list)
    assert str(events[-1]["actor"]).startswith("cli:")


@pytest.mark.promise("P3")
def test_a_move_never_replaces(cli: Cli) -> None:
    """A move onto a name that is taken is refused, whoever has it."""
    cli("store", "put", "-", "users1.csv", text="one\n")
    cli("store", "put", "-", "users2.csv", text="two\n")
    assert "nothing is replaced" in cli("store", "mv", "users1.csv", "users2.csv", code=ExitCode.FAILED).err
    (cli.store / "by-hand.csv").write_text("x")
    cli("store", "mv", "by-hand.csv", "users2.csv", code=ExitCode.FAILED)
    assert (cli.store / "users2.csv").read_text() == "two\n"


def test_files_that_nobody_sent_can_be_moved_and_removed(cli: Cli) -> None:
    """What other programs left in the store is moved and removed without a record, directories included."""
    cli("store", "mkdir", "old")
    (cli.store / "old" / "x.csv").write_text("x")
    cli("store", "mv", "old", "new")
    assert (cli.store / "new" / "x.csv").read_text() == "x"
    assert "not empty" in cli("store", "rm", "new", code=ExitCode.FAILED).err
    cli("store", "rm", "new/x.csv")
    cli("store", "rm", "new")
    assert not (cli.store / "new").exists()
    assert cli.arrivals() == []


@pytest.mark.promise("P8")
def test_a_directory_with_waiting_files_stays(cli: Cli) -> None:
    """A directory in which files wait is not removed: their records would be wrong."""
    cli("store", "mkdir", "north")
    cli("store", "put", _local(cli), "north")
    assert "one by one" in cli("store", "rm", "north", code=ExitCode.REFUSED).err
    assert cli("verify").out == "disk and ledger agree, and the audit record is whole\n"


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "arguments",
    [
        ("rm", "archives"),
        ("rm", "reports/r.txt"),
        ("mv", "reports/r.txt", "r.txt"),
        ("mv", "x.csv", "archives/x.csv"),
        ("mkdir", "ARCHIVES/new"),
        ("mkdir", ".sftpgate/new"),
        ("rm", ".sftpgate/lock"),
        ("rm", "/"),
        ("mv", "../..", "x"),
    ],
)
def test_the_managed_directories_are_not_writable(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Archives, reports, our own directory and the store itself cannot be changed through the file manager."""
    cli("store", "mkdir", "a")
    (cli.store / "reports" / "r.txt").write_text("r")
    (cli.store / "x.csv").write_text("x")
    before = _files(cli.store)
    assert "(rule: " in cli("store", *arguments, code=ExitCode.REFUSED).err
    assert _files(cli.store) == before


def test_a_name_that_is_not_utf8_can_be_read_and_removed(cli: Cli) -> None:
    """A file with a name that no client could send is listed, fetched and removed like any other."""
    cli("store", "mkdir", "a")
    (cli.store / os.fsdecode(b"caf\xe9.csv")).write_text("x")
    assert r"caf\udce9.csv" in cli("store", "ls").out
    assert cli("store", "get", b"caf\xe9.csv", "-").out == "x"
    cli("store", "rm", b"caf\xe9.csv")
    assert not (cli.store / os.fsdecode(b"caf\xe9.csv")).exists()


# -- ls, tree, get ---------------------------------------------------------------------------------------------------


def test_the_listing_says_which_tool_a_file_is_for(cli: Cli, senders: Senders) -> None:
    """Each file is listed with the tools that are pointed at it, its state and its sender; our own directory is not."""
    sent = senders.send("erp", "users7.csv", CSV)
    (cli.store / "other.csv").write_text("x")
    rows = {str(row["name"]): row for row in cli("store", "ls", "--json").rows}
    assert set(rows) == {"archives", "reports", "users7.csv", "other.csv"}
    assert (rows["users7.csv"]["tools"], rows["users7.csv"]["owner"]) == (["users"], "erp")
    assert rows["users7.csv"]["arrival"] == sent.id
    assert (rows["other.csv"]["tools"], rows["other.csv"]["state"]) == ([], None)


def test_the_tree_shows_everything_below(cli: Cli) -> None:
    """`store tree` shows directories and files, indented, and counts what is in the archives."""
    cli("store", "mkdir", "north")
    cli("store", "put", "-", "north/users1.csv", text="x\n")
    (cli.store / "archives" / "20260102-0304_x.csv").write_text("x")
    out = cli("store", "tree").out
    assert "  archives/  (1 entries)\n" in out
    assert "  north/\n    users1.csv  2\n" in out
    assert "20260102" not in out
    assert "  20260102-0304_x.csv  1" in cli("store", "tree", "archives").out
    assert [row["path"] for row in cli("store", "tree", "north", "--json").rows] == ["north/users1.csv"]


def test_names_cannot_paint_the_terminal(cli: Cli) -> None:
    """Control characters and direction marks in names on disk are shown as escapes."""
    cli("store", "mkdir", "a")
    (cli.store / "\x1b[31mred\nline\u202e.csv").write_text("x")
    for command in ("ls", "tree"):
        out = cli("store", command).out
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert r"\x1b[31mred\nline\u202e.csv" in out


def test_links_are_never_followed(cli: Cli) -> None:
    """A symbolic link in the store is listed as something else, and leads nowhere."""
    cli("store", "mkdir", "a")
    secret = cli.directory / "secret"
    secret.mkdir()
    (secret / "x").write_text("secret")
    (cli.store / "file").symlink_to(secret / "x")
    (cli.store / "dir").symlink_to(secret)
    rows = {str(row["name"]): row["kind"] for row in cli("store", "ls", "--json").rows}
    assert (rows["file"], rows["dir"]) == ("other", "other")
    for path in ("file", "dir/x"):
        assert cli("store", "get", path, "-", code=ExitCode.NOT_FOUND).raw == b""
    cli("store", "put", "-", "dir/y", text="y", code=ExitCode.NOT_FOUND)
    assert list(secret.iterdir()) == [secret / "x"]


def test_get_copies_a_file_out(cli: Cli) -> None:
    """`store get` copies to a file, a directory or standard output, and overwrites a local file only when told to."""
    content = os.urandom(100_000)
    cli("store", "put", "-", "users.csv", text=content)
    assert cli("store", "get", "users.csv", "-").raw == content
    cli("store", "get", "users.csv")
    assert (cli.directory / "users.csv").read_bytes() == content
    assert "--force" in cli("store", "get", "users.csv", code=ExitCode.FAILED).err
    cli("store", "get", "users.csv", "--force")
    assert [row["state"] for row in cli.arrivals()] == ["waiting"]


def test_what_is_not_there(cli: Cli) -> None:
    """A path that is not in the store, or is our own, is not found; without a store the message says what makes one."""
    assert "sftpgate serve" in cli("store", "ls", code=ExitCode.NOT_FOUND).err
    assert not cli.data.exists(), "a command that only looks makes nothing"
    cli("store", "mkdir", "a")
    for path in ("nothing", ".sftpgate", ".sftpgate/lock", "a/../nothing"):
        cli("store", "ls", path, code=ExitCode.NOT_FOUND)
        cli("store", "get", path, "-", code=ExitCode.NOT_FOUND)
