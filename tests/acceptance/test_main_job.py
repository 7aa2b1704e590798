"""The main job, step by step, with the OpenSSH ``sftp`` program and a server in a process of its own.

The steps share one server and are independent of each other: each has names of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.raw import WAIT_SECONDS
from tests.harness.servers import Gate, until

TOOLS = """
[tools.enrols]
file = "run/enrols.csv"
command = ["/bin/sh", "-c", "wc -l < \\"$1\\"; echo rejected,line > \\"$SFTPGATE_TRYBACK\\"", "sh", "{file}"]

[tools.broken]
file = "run/broken.csv"
max_attempts = 1
command = ["/bin/sh", "-c", "echo cannot do this; exit 7"]
"""
FORBIDDEN = ("/sync/archives/x", "/sync/Reports/x", "/archives/x", "/reports/x", "/x", "/etc/x", "/sync/../x")
LINES = 200_000


@dataclass
class Done:
    """How a client's run ended."""

    code: int
    out: str
    err: str


@dataclass
class Job:
    """A running server and the files of an ERP."""

    gate: Gate
    files: Path

    @property
    def store(self) -> Path:
        """The store."""
        return self.gate.data / "store"

    @property
    def drop(self) -> Path:
        """The drop."""
        return self.gate.data / "sync"

    def command(self, *options: str, user: str = "erp") -> list[str]:
        """The words that start ``sftp``."""
        words = ["sftp", "-b", "-", "-P", str(self.gate.port), "-i", str(self.gate.key), "-F", "none", *options]
        words += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        return [*words, f"{user}@127.0.0.1"]

    def sftp(self, *lines: str, code: int | None = 0, user: str = "erp") -> Done:
        """Run ``sftp`` with these commands; it must end with ``code`` (None: any)."""
        done = subprocess.run(
            self.command(user=user),
            input="\n".join([*lines, ""]),
            capture_output=True,
            text=True,
            cwd=self.files,
            timeout=WAIT_SECONDS,
            check=False,
        )
        assert code is None or done.returncode == code, done
        return Done(done.returncode, done.stdout, done.stderr)

    def write(self, name: str, content: bytes = b"username,course\nanna,biology\n") -> bytes:
        """A file of the ERP."""
        (self.files / name).write_bytes(content)
        return content

    def sftpgate(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of sftpgate beside the running server."""
        return self.gate.attempt(*words)

    def everything(self) -> set[str]:
        """The names in drop and store that are not our own."""
        found = (str(path.relative_to(self.gate.data)) for top in (self.store, self.drop) for path in top.rglob("*"))
        return {path for path in found if ".sftpgate" not in path}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A server that sweeps all the time, with two users: ``locked`` sees a directory of the drop only."""
    directory = tmp_path_factory.mktemp("job")
    (directory / "sftpgate.toml").write_text(TOOLS, encoding="utf-8")
    (directory / "files").mkdir()
    with Gate(directory, SWEEP_INTERVAL="200ms", SETTLE_SECONDS="500ms") as gate:
        gate.command("user", "add", "locked", "--key", f"{gate.key}.pub", "--home", "locked")
        gate.start()
        yield Job(gate, directory / "files")


@pytest.fixture(scope="module")
def enrols() -> bytes:
    """A large export."""
    return b"username,course,role\n" + b"".join(b"user%06d,course%03d,student\n" % (line, line % 500) for line in range(LINES))


@pytest.mark.promise("P1", "P2")
def test_an_upload(job: Job, enrols: bytes) -> None:
    """200,000 lines are in the store, whole, under their name, when CLOSE is answered, and not a byte before."""
    job.write("enrols.csv", enrols)
    client = subprocess.Popen(
        job.command("-l", "40000"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=job.files,
        text=True,
    )
    assert client.stdin is not None
    # a line with ! runs here, as soon as the line before is done
    client.stdin.write(f"put enrols.csv\n!sha256sum {job.store}/enrols.csv\n")
    client.stdin.close()
    until(lambda: job.gate.staged_bytes() > 500_000 or client.poll() is not None, "a part of the upload is in staging")
    assert client.poll() is None
    assert not (job.store / "enrols.csv").exists() and not (job.drop / "enrols.csv").exists()
    assert client.stdout is not None
    said = client.stdout.read()
    client.stdout.close()
    assert client.wait(WAIT_SECONDS) == 0, said
    assert hashlib.sha256(enrols).hexdigest() in said
    assert (job.store / "enrols.csv").read_bytes() == enrols


@pytest.mark.promise("P5")
def test_what_the_client_does_next(job: Job) -> None:
    """The same client stats the file, sets its time and mode, lists it, reads it back and renames it, without an error."""
    content = job.write("next.csv")
    done = job.sftp(
        "put -p next.csv", "ls -l", "chmod 600 next.csv", "get next.csv back.csv", "rename next.csv next2.csv", "ls -1"
    )
    assert re.search(r"^-rw-r-----\s+1 erp\s+erp\s+29 .* next\.csv$", done.out, re.MULTILINE), done.out
    assert "next2.csv" in done.out.split("ls -1")[1].split() and "next.csv" not in done.out.split("ls -1")[1].split()
    assert (job.files / "back.csv").read_bytes() == content
    assert (job.store / "next2.csv").read_bytes() == content and not (job.store / "next.csv").exists()
    stored, sent = (job.store / "next2.csv").stat(), (job.files / "next.csv").stat()
    assert int(stored.st_mtime) == int(sent.st_mtime) and stored.st_mode & 0o777 == 0o640


@pytest.mark.promise("P5")
def test_a_removed_file(job: Job) -> None:
    """A file that its sender removes is withdrawn from the store."""
    job.write("gone.csv")
    job.sftp("put gone.csv", "rm gone.csv")
    assert not (job.store / "gone.csv").exists()
    assert job.sftp("ls gone.csv", code=1).err


@pytest.mark.promise("P5")
def test_scp(job: Job) -> None:
    """Trap: scp uploads and exits with 0, for which the session must end with an exit status."""
    content = job.write("scp.csv")
    words = ["scp", *job.command()[3:-1], "scp.csv", "erp@127.0.0.1:/sync/"]
    done = subprocess.run(words, cwd=job.files, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False)
    assert done.returncode == 0, done
    assert (job.store / "scp.csv").read_bytes() == content


@pytest.mark.promise("P1")
@pytest.mark.parametrize("name", ["_draft.csv", ".hidden"])
def test_names_that_stay_in_the_drop(job: Job, name: str) -> None:
    """Hidden names and those with an underscore stay in the drop, also after a sweep."""
    content = job.write(name)
    job.sftp(f"put {name}")
    assert "took" not in job.sftpgate("sweep").stdout
    assert (job.drop / name).read_bytes() == content and not (job.store / name).exists()


@pytest.mark.promise("P1")
def test_the_batch_lock(job: Job) -> None:
    """alock.txt holds a set back until it is removed; then all of it is in the store."""
    job.write("alock.txt", b"")
    for name in ("set-a.csv", "set-b.csv"):
        job.write(name)
    job.sftp("put alock.txt", "put set-a.csv", "put set-b.csv", "ls -1", user="locked")
    job.sftpgate("sweep")
    assert not (job.store / "locked/set-a.csv").exists() and not (job.store / "locked/set-b.csv").exists()
    done = job.sftp("rm alock.txt", f"!ls {job.store}/locked", "ls -1", user="locked")
    assert done.out.count("set-a.csv") == 2 == done.out.count("set-b.csv")
    assert (job.store / "locked/set-a.csv").exists() and (job.store / "locked/set-b.csv").exists()


@pytest.mark.promise("P1")
def test_a_file_copied_into_the_drop(job: Job) -> None:
    """A file that somebody copies into the drop by hand is taken by the sweeper, with its old times, after it was quiet."""
    content = job.write("by-hand.csv")
    os.utime(job.files / "by-hand.csv", (1_000_000, 1_000_000))
    shutil.copy2(job.files / "by-hand.csv", job.drop / "by-hand.csv")
    until(lambda: (job.store / "by-hand.csv").exists(), "the file is in the store")
    assert (job.store / "by-hand.csv").read_bytes() == content and not (job.drop / "by-hand.csv").exists()
    assert (job.store / "by-hand.csv").stat().st_mtime == 1_000_000


@pytest.mark.promise("P1")
def test_a_killed_client(job: Job, enrols: bytes) -> None:
    """A client that is killed leaves nothing in the store, its user sees how far it came, and reput completes it."""
    job.write("killed.csv", enrols)
    client = subprocess.Popen(
        job.command("-l", "8000"),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=job.files,
        text=True,
        start_new_session=True,
    )
    assert client.stdin is not None
    client.stdin.write("put killed.csv\n")
    client.stdin.close()
    until(lambda: job.gate.staged_bytes() > 100_000, "a part of the upload is in staging")
    os.killpg(client.pid, signal.SIGKILL)
    client.wait(WAIT_SECONDS)
    until(lambda: job.gate.has_logged("upload.interrupted", "killed.csv"), "the server has noticed")
    assert not (job.store / "killed.csv").exists() and not (job.drop / "killed.csv").exists()
    size = int(job.sftp("ls -l killed.csv").out.splitlines()[-1].split()[4])
    assert 100_000 < size < len(enrols)
    done = job.sftp("reput killed.csv", f"!sha256sum {job.store}/killed.csv")
    assert hashlib.sha256(enrols).hexdigest() in done.out
    assert (job.store / "killed.csv").read_bytes() == enrols


@pytest.mark.promise("P6", "P7")
@pytest.mark.parametrize("path", FORBIDDEN)
def test_forbidden_places(job: Job, path: str) -> None:
    """A write outside the drop or into a reserved directory is refused, OpenSSH shows the rule, and nothing is left."""
    job.write("forbidden")
    before = job.everything()
    for line in (f"put forbidden {path}", f"mkdir {path}", f"put forbidden {path}.csv"):
        done = job.sftp(line, code=1)
        assert "(rule: " in done.err, done.err
        assert str(job.gate.directory) not in done.err.replace(str(job.files), "")
    left = {name for name in job.everything() - before if Path(name).name in ("x", "x.csv", "forbidden")}
    assert not left and not Path("/x").exists() and not Path("/etc/x").exists()


@pytest.mark.promise("P4", "P8")
def test_a_run(job: Job, enrols: bytes) -> None:
    """`sftpgate run` archives the file and writes the report, and the user reads both, and the rejected lines."""
    job.write("enrols-to-run.csv", enrols)
    job.sftp("-mkdir run", "put enrols-to-run.csv run/enrols.csv")
    ran = job.sftpgate("run", "enrols")
    assert ran.returncode == 0, ran
    assert not (job.store / "run/enrols.csv").exists()
    done = job.sftp("ls -1 /archives", "ls -1 /reports", "ls -1 run")
    listed = done.out.splitlines()
    [archive] = [line for line in listed if re.fullmatch(r"/archives/\d{8}-\d{4}_enrols\.csv", line)]
    [report] = [line for line in listed if re.fullmatch(r"/reports/\d{8}-\d{4}_report_enrols\.csv", line)]
    [tryback] = [line for line in listed if re.fullmatch(r"/reports/enrols_tryback_\d{8}-\d{4}\.csv", line)]
    job.sftp(f"get {archive} archived.csv", f"get {report} report.txt", f"get {tryback} tryback.csv")
    assert (job.files / "archived.csv").read_bytes() == enrols
    assert str(LINES + 1) in (job.files / "report.txt").read_text(encoding="utf-8")
    assert "rejected,line" in (job.files / "tryback.csv").read_text(encoding="utf-8")
    assert job.sftp(f"get {archive} foreign.csv", code=1, user="other").err
    again = job.sftpgate("run", "enrols")
    assert again.returncode == 3, again


@pytest.mark.promise("P4", "P8")
def test_a_run_that_fails(job: Job) -> None:
    """A tool that fails has its exit status and words in the report, which the user reads, and the file is kept."""
    job.write("broken.csv")
    job.sftp("-mkdir run", "put broken.csv run/broken.csv")
    ran = job.sftpgate("run", "broken")
    assert ran.returncode == 4, ran
    listed = job.sftp("ls -1 /reports").out.splitlines()
    [report] = [line for line in listed if line.endswith("_report_broken.csv")]
    job.sftp(f"get {report} broken-report.txt")
    text = (job.files / "broken-report.txt").read_text(encoding="utf-8")
    assert "cannot do this" in text and "7" in text
    [row] = job.gate.rows("run/broken.csv")
    assert row.state == "quarantined"


@pytest.mark.promise("P8")
def test_the_record(job: Job) -> None:
    """The record of an upload says who sent it, with which client and key, how big it is and its SHA-256."""
    content = job.write("recorded.csv")
    job.sftp("put recorded.csv")
    [row] = job.gate.rows("recorded.csv")
    assert (row.owner, row.address, row.size) == ("erp", "127.0.0.1", len(content))
    assert row.sha256 == hashlib.sha256(content).hexdigest()
    assert row.client is not None and "OpenSSH" in row.client
    assert row.login is not None and row.login.startswith("SHA256:")
    shown = job.sftpgate("arrivals", "--path", "recorded.csv")
    assert row.id[:8] in shown.stdout or "recorded.csv" in shown.stdout
