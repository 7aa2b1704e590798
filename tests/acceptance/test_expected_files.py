"""Expected files by the command line and beside a server that runs: what came, what is awaited, and what could be expected."""

from __future__ import annotations

import json
import tomllib
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sftpgate.ledger.audit import event_log
from sftpgate.ledger.audit.event_log import Wanted
from sftpgate.ledger.database.connection import Ledger
from tests.harness.run_commands import Gate
from tests.harness.servers import Gate as Server
from tests.harness.servers import free_port, until

SOON = datetime.now(UTC) + timedelta(minutes=5)  # late in twenty minutes, and warned of for ten minutes by now
TABLE = f'[expect.enrols]\npath = "enrols.csv"\nby = "{SOON.minute} {SOON.hour} * * *"\nwarn_before = "30m"\n'


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate without a server, whose settings expect a file."""
    gate = Gate(tmp_path)
    gate.enrols("true")
    settings = tmp_path / "sftpgate.toml"
    settings.write_text(settings.read_text(encoding="utf-8") + TABLE, encoding="utf-8")
    yield gate
    gate.world.close()


def row(gate: Gate, *words: str) -> dict[str, object]:
    """What `expect list` or `expect show` says of the one expected file."""
    code, output, errors = gate(*words, "--json")
    assert code == 0, errors
    found = json.loads(output)
    return dict(found[0] if isinstance(found, list) else found)


def test_a_file_that_is_awaited_and_comes(gate: Gate) -> None:
    """The listing follows what comes and becomes of it at once, in both languages; `status` has the same."""
    before = row(gate, "expect", "list")
    assert (before["name"], before["state"], before["arrival"]) == ("enrols", "warned", None)
    assert "n'est pas encore arrivé" in str(before["said"])
    arrival = gate.world.send("enrols.csv", b"a,1\n")
    shown = row(gate, "expect", "show", "enrols")
    assert (shown["state"], shown["arrival"], shown["path"]) == ("arrived", arrival.id, "enrols.csv")
    code, output, _ = gate("status", "--json")
    assert code == 0 and json.loads(output)["expected"][0]["state"] == "arrived"
    code, output, _ = gate("expect", "list")
    assert code == 0 and output.splitlines()[1].split()[:3] == ["enrols", "enrols.csv", "arrived"]
    code, output, _ = gate("expect", "show", "enrols")
    assert code == 0 and "enrols.csv has come: it was expected by" in output


def test_what_is_not_expected(gate: Gate) -> None:
    """A name that is none is an error that says where the names are."""
    code, _, errors = gate("expect", "show", "users")
    assert code == 5 and "`sftpgate expect list`" in errors


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('by = "61 5 * * *"', "expect.bad.by: '61 5 * * *' is no line of cron: its minute is not one"),
        (
            'by = "0 5 * * *"\ntimezone = "Europe/Pariss"',
            "there is no time zone 'Europe/Pariss'; did you mean Europe/Paris?",
        ),
        ('by = "0 5 * * *"\nwindow = "24h"', "expect.bad: window: two of them overlap"),
        ('by = "0 5 * * *"\npath2 = "b.csv"', "unknown key expect.bad.path2; did you mean path?"),
        ('by = "0 5 * * *"\nexcept = "25.12.2026"', "expect.bad.except: '25.12.2026' is no day"),
        (
            'by = "0 5 * * *"\n[expect.other]\npath = "*.csv"\nby = "0 6 * * *"',
            "expect.other: a file can be expected by",
        ),
        ('by = "0 5 * * *"\ncalendars = ["none.ics"]', "expect.bad.calendars: "),
    ],
)
def test_settings_that_are_wrong_name_the_key(gate: Gate, line: str, why: str) -> None:
    """A malformed schedule, an unknown zone, windows that overlap, two expectations of one path and a calendar that is not there
    end a command with the exit code of bad settings, and one line that names the key.
    """
    gate.tools(f'[expect.bad]\npath = "a.csv"\n{line}\n')
    code, _, errors = gate("expect", "list")
    assert code == 78 and why in errors and len(errors.splitlines()) == 1


def test_a_server_does_not_start_with_a_calendar_that_is_not_there(gate: Gate) -> None:
    """It says which key and file, and ends with the exit code of bad settings."""
    gate.tools(TABLE + 'calendars = ["none.ics"]\n')
    code, _, errors = gate("serve")
    assert code == 78 and "expect.enrols.calendars: " in errors and "none.ics" in errors


def test_what_has_come_regularly_is_proposed(gate: Gate) -> None:
    """`expect suggest` says what it saw, and proposes a table that the settings accept; what is expected already is left out."""
    from tests.harness.expectations import came_regularly

    came_regularly(gate.world.system.ledger, "hr/users.csv", days=40)
    code, output, errors = gate("expect", "suggest", "--timezone", "UTC")
    assert code == 0, errors
    assert "# seen: " in output and 'files of "hr/users.csv"' in output
    [table] = tomllib.loads(output)["expect"].values()
    assert table["path"] == "hr/users.csv" and table["by"].endswith("* * mon-fri")
    gate.tools(output)
    assert row(gate, "expect", "list")["expected"] == "hr/users.csv"
    code, _, errors = gate("expect", "suggest", "--timezone", "UTC")
    assert code == 0 and "nothing came regularly" in errors


@pytest.mark.promise("P8")
def test_a_server_says_it_on_the_record_in_health_and_in_metrics(tmp_path: Path) -> None:
    """A running server puts the warning on the record once, and the metrics have each state as one."""
    port = free_port()
    with Server(tmp_path, METRICS_PORT=str(port), SWEEP_INTERVAL="1s") as server:
        (tmp_path / "sftpgate.toml").write_text(TABLE, encoding="utf-8")
        server.start()
        ledger = Ledger(f"sqlite:///{server.data}/ledger.db")

        def said() -> list[str]:
            with ledger.reading() as connection:
                return [record.event.event for record in event_log.search(connection, Wanted(event="expect.*"))]

        until(lambda: said() == ["expect.warned"], "the warning is on the record")
        (tmp_path / "a.csv").write_bytes(b"a,1\n")
        assert server.sftp("put a.csv enrols.csv\n").wait() == 0
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        assert 'sftpgate_expected_file{expectation="enrols",state="arrived"} 1.0' in text
        assert text.count("sftpgate_expected_file{") == 9
        assert said() == ["expect.warned"]
        ledger.close()
