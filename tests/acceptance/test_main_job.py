"""The main job, as an ERP and a cron job do it: OpenSSH's own client against a real server, and the command line."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.servers import WAIT_SECONDS, Gate, until

ENROLS = "".join(f"add,student,{number},course-{number % 97}\n" for number in range(200_000)).encode()
TOOLS = """
[tools.enrols]
file = "enrols.csv"
command = ["wc", "-l", "{file}"]
"""


class Erp(Gate):
    """A gate, and an ERP's sftp client that says what it saw."""

    def run(self, *commands: str) -> tuple[int, str, str]:
        """Exit status, output and errors of a batch."""
        words = ["sftp", "-q", "-F", "none", "-b", "-", "-P", str(self.port), "-i", str(self.key), "-o", "BatchMode=yes"]
        done = subprocess.run(
            [*words, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "erp@127.0.0.1"],
            input="\n".join(commands) + "\n",
            capture_output=True,
            text=True,
            cwd=self.directory,
            timeout=WAIT_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def ok(self, *commands: str) -> str:
        """The output of a batch that must succeed."""
        code, out, err = self.run(*commands)
        assert code == 0, err
        return out

    def tree(self, area: str) -> set[str]:
        """The files below a directory of the data, our own left out."""
        root = self.data / area
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and ".sftpgate" not in path.parts}


@pytest.fixture
def erp(tmp_path: Path) -> Iterator[Erp]:
    """A server with one tool, which sweeps often and takes what was quiet for a second."""
    with Erp(tmp_path, SWEEP_INTERVAL="0.2", SETTLE_SECONDS="1") as gate:
        (tmp_path / "sftpgate.toml").write_text(TOOLS, encoding="utf-8")
        (tmp_path / "enrols.csv").write_bytes(ENROLS)
        (tmp_path / "small.csv").write_bytes(b"a,1\n")
        gate.start()
        yield gate


def test_from_put_to_report(erp: Erp) -> None:
    """P1, P2, P5: a closed upload is whole in the store at once, its sender can go on with it, and reads what became of it."""
    assert erp.ok("put -p enrols.csv", "ls -l", "chmod 600 enrols.csv").count("enrols.csv") >= 2
    assert erp.in_store("enrols.csv") == ENROLS
    erp.ok("rename enrols.csv other.csv", "rename other.csv enrols.csv", "get enrols.csv back.csv")
    assert (erp.directory / "back.csv").read_bytes() == ENROLS

    out = erp.command("run", "enrols")
    assert "enrols.csv done" in out
    listed = erp.ok(
        "ls -1", "ls -1 /archives", "ls -1 /reports", "get /reports/*_report_enrols.csv report", "get /archives/*_enrols.csv kept"
    )
    assert listed.count("_report_enrols.csv") >= 1
    assert "200000" in (erp.directory / "report").read_text(encoding="utf-8")
    assert (erp.directory / "kept").read_bytes() == ENROLS
    assert erp.in_store("enrols.csv") is None


def test_names_that_stay_in_the_drop(erp: Erp) -> None:
    """Hidden files and names that begin with an underscore are never taken."""
    erp.ok("put small.csv _draft.csv", "put small.csv .hidden", "put small.csv taken.csv")
    assert erp.tree("store") == {"taken.csv"}
    assert erp.tree("sync") == {"_draft.csv", ".hidden"}


def test_batch_lock(erp: Erp) -> None:
    """While alock.txt is there nothing is taken; its removal releases the set before it is answered."""
    erp.ok("put small.csv alock.txt", "put small.csv users.csv", "put small.csv groups.csv")
    assert erp.tree("store") == set()
    assert "users.csv" in erp.ok("rm alock.txt", "ls -1")
    assert erp.tree("store") == {"users.csv", "groups.csv"}


def test_file_copied_into_the_drop(erp: Erp) -> None:
    """A file that somebody copies into the drop is taken by the sweeper when it was quiet."""
    (erp.data / "sync" / "local.csv").write_bytes(b"l,1\n")
    until(lambda: erp.in_store("local.csv"), "local.csv is in the store")
    assert erp.tree("sync") == set()


def test_killed_client_and_reput(erp: Erp) -> None:
    """P1: a client that is killed in the middle leaves nothing in the store; the same upload, resumed, arrives whole."""
    client = erp.sftp("put enrols.csv", "-l", "8000")
    until(lambda: erp.staged_bytes() > 600_000, "part of the file is in staging")
    client.send_signal(signal.SIGKILL)
    client.wait(WAIT_SECONDS)
    until(lambda: erp.has_logged("upload.interrupted", "enrols.csv"), "the server noticed")
    assert erp.tree("store") == set()
    erp.ok("reput enrols.csv")
    assert erp.in_store("enrols.csv") == ENROLS


@pytest.mark.parametrize(
    "target", ["/sync/archives/x", "/sync/Reports/x", "/archives/x", "/reports/x", "/x", "/etc/x", "/sync/../x"]
)
def test_only_the_drop_is_writable(erp: Erp, target: str) -> None:
    """P6, P7: a write elsewhere is refused with a sentence that names the rule, and leaves nothing behind."""
    code, _, err = erp.run(f"put small.csv {target}")
    assert code != 0
    assert "(rule: " in err
    assert str(erp.directory) not in err
    assert erp.tree("store") == erp.tree("sync") == set()
    assert erp.staged_bytes() == 0


def test_stop_lets_an_upload_finish(erp: Erp) -> None:
    """SIGTERM: the upload in flight is finished and acknowledged before the server ends."""
    client = erp.sftp("put enrols.csv", "-l", "30000")
    until(lambda: erp.staged_bytes() > 600_000, "part of the file is in staging")
    erp.stop()
    assert client.wait(WAIT_SECONDS) == 0
    assert erp.in_store("enrols.csv") == ENROLS
