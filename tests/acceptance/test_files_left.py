"""What `status` and `doctor` say of files that nobody takes, each of which was a question that nobody could answer."""

from __future__ import annotations

import os
import shutil

from tests.harness.command_line import Cli
from tests.harness.senders import Senders

CSV = b"username,course\nanna,m101\n"


def test_names_that_no_tool_has(cli: Cli, senders: Senders) -> None:
    """`status` and `doctor` name the files that wait and that no tool takes, blanks included, and what they were meant for."""
    for name in ("Enrols.CSV", "enrols.csv ", "\\sync\\enrols.csv", "enrols.csv.txt", "something else.pdf", "enrols.csv"):
        senders.send("erp", name, CSV)
    rows = cli("status", "--json").record["without_tool"]
    assert isinstance(rows, list)
    meant = {row["path"]: "meant for enrols.csv" in row["what_to_do"] for row in rows}
    assert meant == {
        "Enrols.CSV": True,
        '"enrols.csv "': True,
        '"\\sync\\enrols.csv"': True,
        "enrols.csv.txt": True,
        "something else.pdf": False,
    }
    assert "no tool takes it" in cli("status").out
    found = [row for row in cli("doctor", "--json", code=None).rows if row["check"] == "waiting files"]
    assert len(found) == len(meant)


def test_the_same_file_each_day(cli: Cli) -> None:
    """A file that is copied again with its time, and was processed before, is named by `status` with what to do about it."""
    cli.environment["SFTPGATE_SETTLE_SECONDS"] = "0"
    cli("sweep", code=None)
    source = cli.directory / "export.csv"
    source.write_bytes(CSV)
    os.utime(source, (1, 1))
    for _ in range(2):
        shutil.copy2(source, cli.data / "sync" / "enrols.csv")
        cli("sweep", code=None)
        cli("run", "enrols", code=None)
    assert cli("status", "--json").record["left"] == [
        {"path": "enrols.csv", "reason": "this very file was processed before; touch it to have it taken again"}
    ]
    assert "touch it" in cli("status").out
    (cli.data / "sync" / "enrols.csv").unlink()
    assert cli("status", "--json").record["left"] == []
