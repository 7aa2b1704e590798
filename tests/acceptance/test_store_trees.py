"""``sftpgate store`` on directories: what waits moves with them, and no tool loses its files by accident."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sftpgate.errors import ExitCode
from tests.harness.command_line import TOOLS, Cli

if TYPE_CHECKING:
    from tests.harness.senders import Senders


@pytest.mark.promise("P3", "P8")
def test_a_directory_moves_with_what_waits_in_it(cli: Cli, senders: Senders) -> None:
    """Files in a moved directory keep their content, id and owner; unknown files and empty directories come along."""
    sent = senders.send("erp", "north/deep/x.csv", b"x\n")
    (cli.store / "north" / "local.txt").write_text("local\n")
    (cli.store / "north" / "empty").mkdir()
    assert "with 1 files" in cli("store", "mv", "north", "south").out
    assert not (cli.store / "north").exists()
    assert (cli.store / "south" / "deep" / "x.csv").read_bytes() == b"x\n"
    assert (cli.store / "south" / "local.txt").read_text() == "local\n"
    assert (cli.store / "south" / "empty").is_dir()
    [row] = cli.arrivals()
    assert (row["id"], row["owner"], row["path"], row["state"]) == (sent.id, "erp", "south/deep/x.csv", "waiting")
    cli("verify")


@pytest.mark.promise("P7")
def test_a_directory_that_a_tool_points_into(cli: Cli) -> None:
    """Moving or removing it away is refused with the tool's name and what to do; --force does it all the same."""
    (cli.directory / "sftpgate.toml").write_text(TOOLS + '\n[tools.north]\nfile = "north/*.csv"\ncommand = ["true"]\n')
    cli("store", "mkdir", "north")
    for command in (("mv", "north", "south"), ("rm", "north")):
        err = cli("store", *command, code=ExitCode.REFUSED).err
        assert "tools.north" in err
        assert "--force" in err
        assert (cli.store / "north").is_dir()
    cli("store", "mv", "north", "south", "--force")
    assert (cli.store / "south").is_dir()


@pytest.mark.promise("P7")
def test_a_name_that_no_tool_gets(cli: Cli) -> None:
    """A move to a name that is never taken is refused, and the file stays where it is."""
    cli("store", "put", "-", "enrols.csv", text="1\n")
    assert "--force" in cli("store", "mv", "enrols.csv", "_enrols.csv", code=ExitCode.REFUSED).err
    assert (cli.store / "enrols.csv").read_text() == "1\n"


def test_find_by_name_and_tool(cli: Cli) -> None:
    """`store find` shows the files that fit, with the tool that each is for; none is exit code 5."""
    cli("store", "mkdir", "north")
    cli("store", "put", "-", "enrols.csv", text="1\n")
    cli("store", "put", "-", "north/other.csv", text="1\n")
    assert [row["path"] for row in cli("store", "find", "--json").rows] == ["enrols.csv", "north/other.csv"]
    assert [row["path"] for row in cli("store", "find", "--tool", "enrols", "--json").rows] == ["enrols.csv"]
    assert [row["path"] for row in cli("store", "find", "north", "--name", "o*", "--json").rows] == ["north/other.csv"]
    cli("store", "find", "--name", "nothing*", code=ExitCode.NOT_FOUND)


@pytest.mark.promise("P8")
def test_trees_go_in_and_out(cli: Cli) -> None:
    """`put -r` makes each file of a local tree an arrival under its path; `get -r` copies the tree out, byte for byte."""
    top = cli.directory / "north"
    (top / "deep").mkdir(parents=True)
    (top / "empty").mkdir()
    (top / "a.csv").write_bytes(b"a\n")
    (top / "deep" / "b.csv").write_bytes(b"\xff\n" * 100_000)
    assert "--recursive" in cli("store", "put", str(top), code=ExitCode.REFUSED).err
    rows = cli("store", "put", "-r", str(top), "--json").rows
    assert [(row["path"], row["state"]) for row in rows] == [("north/a.csv", "waiting"), ("north/deep/b.csv", "waiting")]
    assert (cli.store / "north" / "empty").is_dir()
    assert "--recursive" in cli("store", "get", "north", "out", code=ExitCode.REFUSED).err
    assert cli("store", "get", "-r", "north", "out").out.startswith("2 files copied, 200002 bytes")
    out = cli.directory / "out"
    assert (out / "deep" / "b.csv").read_bytes() == (top / "deep" / "b.csv").read_bytes()
    assert (out / "empty").is_dir()
    assert len(cli.arrivals()) == 2
    cli("verify")


@pytest.mark.promise("P6", "P7")
def test_what_is_left_out_of_a_tree(cli: Cli) -> None:
    """What cannot go is one line that says why, and the others go on; links are never followed."""
    top = cli.directory / "north"
    top.mkdir()
    (top / "a.csv").write_text("a\n")
    (top / "b.csv").symlink_to("/etc/passwd")
    done = cli("store", "put", "-r", str(top), code=ExitCode.FAILED)
    assert done.out.startswith("1 files put, 2 bytes; 1 left out: 1 waiting")
    assert "b.csv is left out: it is no file" in done.err
    for reserved in ("archives", "reports/north", ".sftpgate"):
        assert "(rule: " in cli("store", "put", "-r", str(top), reserved, code=ExitCode.REFUSED).err
    (cli.directory / "out" / "north").mkdir(parents=True)
    mine = cli.directory / "out" / "north" / "a.csv"
    mine.write_text("mine\n")
    assert "say --force" in cli("store", "get", "-r", "north", "out", code=ExitCode.FAILED).err
    assert mine.read_text() == "mine\n"
    (cli.store / "north" / "link.csv").symlink_to("/etc/passwd")
    assert cli("store", "get", "-r", "north", "out", "--force", code=ExitCode.FAILED).out.startswith("1 files copied, 2 bytes")
    assert mine.read_text() == "a\n"
    assert not mine.with_name("link.csv").exists()


@pytest.mark.promise("P8")
def test_the_sender_is_told_of_a_removal(cli: Cli, senders: Senders) -> None:
    """`store rm` of a sender's file leaves a report that says so; of a local file it leaves none."""
    senders.send("erp", "enrols.csv", b"1\n")
    cli("store", "rm", "enrols.csv")
    [report] = (cli.store / "reports").iterdir()
    assert "outcome: removed\n" in report.read_text()
    cli("store", "put", "-", "enrols.csv", text="1\n")
    cli("store", "rm", "enrols.csv")
    assert len(list((cli.store / "reports").iterdir())) == 1
    cli("verify")
