"""``sftpgate store`` on directories: what waits moves with them, and no tool loses its files by accident."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sftpgate.errors import ExitCode
from tests.acceptance.conftest import TOOLS, Cli

if TYPE_CHECKING:
    from tests.acceptance.conftest import Senders


def test_a_directory_moves_with_what_waits_in_it(cli: Cli, senders: Senders) -> None:
    """P3, P8: files in a moved directory keep their content, id and owner; unknown files and empty directories come along."""
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


def test_a_directory_that_a_tool_points_into(cli: Cli) -> None:
    """P7: moving or removing it away is refused with the tool's name and what to do; --force does it all the same."""
    (cli.directory / "sftpgate.toml").write_text(TOOLS + '\n[tools.north]\nfile = "north/*.csv"\ncommand = ["true"]\n')
    cli("store", "mkdir", "north")
    for command in (("mv", "north", "south"), ("rm", "north")):
        err = cli("store", *command, code=ExitCode.REFUSED).err
        assert "tools.north" in err
        assert "--force" in err
        assert (cli.store / "north").is_dir()
    cli("store", "mv", "north", "south", "--force")
    assert (cli.store / "south").is_dir()


def test_a_name_that_no_tool_gets(cli: Cli) -> None:
    """P7: a move to a name that is never taken is refused, and the file stays where it is."""
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
