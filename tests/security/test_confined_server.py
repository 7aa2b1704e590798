"""Whole servers that the kernel keeps to their directories: what an admin does beside them has its effect all the same."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from sftpgate.app.serving.sandbox_paths import sandbox_paths
from sftpgate.gateway.workers import landlock
from sftpgate.settings.tree import Settings
from tests.harness.postgresql import PostgreSQL
from tests.harness.raw import WAIT_SECONDS
from tests.harness.servers import Gate, until

LINES = b"add,student,1\n" * 100

# What `sftpgate worker` has done when it starts to serve, and then a query whose sorting goes through a file.
SORTING = """
import sys, types
async def run_worker(settings, link, **_):
    from sftpgate.app.composition import build
    from sftpgate.app.serving.sandbox_paths import Bounds
    system = build(settings)
    Bounds(settings).set()
    with system.ledger.transaction() as connection:
        connection.exec_driver_sql("PRAGMA cache_size=10")
        connection.exec_driver_sql("CREATE TABLE wide AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE "
                                   "i < 100000) SELECT hex(randomblob(50)) AS text FROM n")
        rows = [row[0] for row in connection.exec_driver_sql("SELECT text FROM wide ORDER BY text")]
    assert len(rows) == 100000 and rows == sorted(rows)
    print("sorted")
stub = sys.modules["sftpgate.app.serving.worker_process"] = types.ModuleType("sftpgate.app.serving.worker_process")
stub.run_worker = run_worker
from sftpgate.cli.commands.serve import worker
worker(int(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def needs_landlock() -> None:
    """Skips where the kernel has no Landlock."""
    if landlock.abi_version() < landlock.MIN_ABI:
        pytest.skip("this kernel has no Landlock")


AWAY = "the ledger cannot be used"  # said while a test restarts its database


@pytest.fixture
def make(base: Path) -> Iterator[Callable[..., Gate]]:
    """Makes a server that would not start unconfined; at the end nothing in its log is an error."""
    made: list[Gate] = []

    def made_of(**settings: str) -> Gate:
        (base / "local").write_bytes(LINES)
        gate = Gate(base, **{"SANDBOX": "required", "SWEEP_INTERVAL": "0.5s"} | settings)
        made.append(gate)
        return gate

    yield made_of
    for gate in made:
        with gate:
            pass
        said = gate.log.read_text(encoding="utf-8")
        assert "sandbox.in_force" in said
        errors = [line for line in said.splitlines() if '"level": "error"' in line and AWAY not in line]
        assert errors == [] and "Permission denied" not in said, said


def put(gate: Gate, path: str, user: str = "erp") -> bool:
    """An upload and a download with OpenSSH's client; whether both succeeded."""
    return gate.sftp(f"put local {path}\nget {path} back\n", user=user).wait(WAIT_SECONDS) == 0


def switch(link: Path, target: Path) -> None:
    """Let a link lead somewhere else, in one act."""
    fresh = link.with_name("fresh")
    fresh.symlink_to(target)
    fresh.rename(link)


def reloads(gate: Gate) -> int:
    """How often all workers were replaced."""
    return gate.log.read_text(encoding="utf-8").count("reload.done")


def test_it_is_the_default(base: Path) -> None:
    """A server without a word about it in its settings confines its workers, where the kernel can."""
    with Gate(base) as gate:
        gate.start()
        until(lambda: "sandbox.in_force" in gate.log.read_text(encoding="utf-8"), "the log says so")


def test_the_first_start(make: Callable[..., Gate]) -> None:
    """A server that finds nothing at all makes its directories and host keys, and its first user is added beside it."""
    gate = make()
    shutil.rmtree(gate.directory / "keys")
    gate.start()
    gate.command("user", "add", "late", "--key", f"{gate.key}.pub")
    assert put(gate, "a.csv", "late")
    assert gate.in_store("a.csv") == LINES


@pytest.mark.promise("P6")
def test_it_cannot_write_users(base: Path) -> None:
    """Of the keys directory a worker may change the host keys, and nothing else."""
    keys = base / "keys"
    (keys / "host").mkdir(parents=True)
    paths = sandbox_paths(Settings(data_dir=base / "data", keys_dir=keys), {})
    assert keys in paths.readable
    assert [path for path in paths.writable if path.is_relative_to(keys)] == [keys / "host"]


def test_another_keys_directory(make: Callable[..., Gate]) -> None:
    """Another directory in the place of the keys counts within seconds: who is in it logs in, who is not loses its session."""
    gate = make(WORKERS="2")
    keys = gate.directory / "keys"
    keys.rename(gate.directory / "keys-1")
    keys.symlink_to(gate.directory / "keys-1")
    gate.start()
    assert put(gate, "a.csv")
    staying = gate.sftp("put local b.csv\n!sleep 60\nput local c.csv\n")
    until(lambda: gate.in_store("b.csv"), "a session")
    shutil.copytree(gate.directory / "keys-1", gate.directory / "keys-2")
    (gate.directory / "keys-2/users/erp").rename(gate.directory / "keys-2/users/next")
    switch(keys, gate.directory / "keys-2")
    until(lambda: reloads(gate) == 1, "workers that see the new directory")
    assert put(gate, "d.csv", "next")
    assert not put(gate, "e.csv")
    until(lambda: len(gate.workers()) == 2, "the end of those that do not")
    assert reloads(gate) == 1
    os.killpg(staying.pid, signal.SIGKILL)
    staying.wait(WAIT_SECONDS)


def test_links_in_the_keys_directory(make: Callable[..., Gate]) -> None:
    """A user's directory, or a file in it, may be a link to somewhere else, also when it is made while the server runs."""
    gate = make()
    elsewhere = gate.directory / "elsewhere"
    users = gate.directory / "keys/users"
    elsewhere.mkdir()
    (users / "erp").rename(elsewhere / "erp")
    (users / "erp").symlink_to(elsewhere / "erp")
    gate.start()
    assert put(gate, "a.csv")
    (users / "linked").mkdir()
    (elsewhere / "linked_keys").write_text((elsewhere / "erp/authorized_keys").read_text())
    (users / "linked/authorized_keys").symlink_to(elsewhere / "linked_keys")
    until(lambda: reloads(gate), "a worker that may follow the link")
    assert put(gate, "b.csv", "linked")
    # of what is not there yet, somebody was told that it cannot be read
    said = gate.log.read_text(encoding="utf-8")
    gate.log.write_text(said.replace("Permission denied", ""), encoding="utf-8")


def test_settings_that_are_edited(make: Callable[..., Gate]) -> None:
    """Pointing a tool elsewhere counts at once, whether the file is replaced or written in place; a reload reads all of it."""
    gate = make()
    config = gate.directory / "sftpgate.toml"
    config.write_text('[tools.t]\nfile = "old.csv"\narrivals = "queue"\ncommand = ["cat", "{file}"]\n')
    gate.start()
    gate.command("tool", "point", "t", "new.csv")
    assert put(gate, "new.csv") and gate.sftp("put local new.csv\n").wait(WAIT_SECONDS) == 0
    assert [row.state for row in gate.rows("new.csv")] == ["waiting", "queued"]
    config.write_text(config.read_text().replace("new.csv", "third.csv"))
    assert put(gate, "third.csv") and gate.sftp("put local third.csv\n").wait(WAIT_SECONDS) == 0
    assert [row.state for row in gate.rows("third.csv")] == ["waiting", "queued"]
    before = gate.workers()
    config.write_text("max_upload_bytes = 1\n" + config.read_text())
    gate.hang_up()
    until(lambda: gate.workers() and not set(before) & set(gate.workers()), "new workers")
    assert gate.sftp("put local large.csv\n").wait(WAIT_SECONDS) != 0


def test_host_keys_that_are_rotated(make: Callable[..., Gate]) -> None:
    """A worker lets the next host keys take over when their time has come, and shows them."""
    gate = make(WORKERS="1")
    gate.start()
    public = gate.directory / "keys/host/ssh_host_ed25519_key.pub"
    before = public.read_text()
    gate.command("hostkey", "rotate", "--overlap", "1s")
    until(lambda: public.exists() and public.read_text() != before, "the next keys")
    known = gate.directory / "known_hosts"
    known.write_text(f"[127.0.0.1]:{gate.port} {public.read_text()}")
    options = ("-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes", "-o", "HostKeyAlgorithms=ssh-ed25519")
    until(lambda: gate.sftp("pwd\n", *options).wait(WAIT_SECONDS) == 0, "a server that shows them")


@pytest.mark.promise("P4")
def test_the_claim_of_a_script(make: Callable[..., Gate]) -> None:
    """The sweeper sees that the script which has a claim lives, and brings the file back when the script is gone."""
    gate = make(SETTLE_SECONDS="0.1s")
    (gate.directory / "sftpgate.toml").write_text('[tools.t]\nfile = "a.csv"\ncommand = ["cat", "{file}"]\n')
    gate.start()
    assert put(gate, "a.csv")
    script = subprocess.Popen(["sleep", "600"])
    try:
        gate.command("claim", "t", "--pid", str(script.pid))
        for name in ("one.csv", "two.csv"):  # a pass takes each, and one that began after the claim is over then
            (gate.data / "sync" / name).write_bytes(LINES)
            until((gate.data / "store" / name).exists, "a pass")
        assert [row.state for row in gate.rows("a.csv")] == ["claimed"]
    finally:
        script.kill()
        script.wait(WAIT_SECONDS)
    until(lambda: [row.state for row in gate.rows("a.csv")] == ["waiting"], "the file comes back")


@pytest.mark.promise("P2", "P3")
def test_places_of_their_own(make: Callable[..., Gate], tmp_path: Path) -> None:
    """Store, drop and ledger may be anywhere, also on other filesystems than the data; files arrive, are replaced, and
    are found again by a server whose ledger is lost.
    """
    other = Path(tempfile.mkdtemp(prefix="sftpgate-confined-", dir=tmp_path))
    places = {"STORE_DIR": str(other / "store"), "DROP_DIR": str(other / "drop"), "KEYS_DIR": str(other / "keys")}
    gate = make(**places, LEDGER_URL=f"sqlite:///{other}/ledger/ledger.db", METRICS_PORT="0")
    gate.start()
    assert put(gate, "a.csv") and put(gate, "sub.csv.tmp")
    assert put(gate, "a.csv")
    assert gate.sftp("mkdir sub\nrename sub.csv.tmp sub/b.csv\nput local alock.txt\nput local c.csv\n").wait(WAIT_SECONDS) == 0
    assert gate.stop() == 0
    shutil.rmtree(other / "ledger")
    gate.start()
    assert (
        gate.sftp("rm alock.txt\n").wait(WAIT_SECONDS) != 0
    )  # whose lock it was went with the ledger: an administrator removes it
    (other / "drop/alock.txt").unlink()
    until((other / "store/c.csv").exists, "what was held is released")
    assert (other / "store/sub/b.csv").read_bytes() == LINES == (other / "store/a.csv").read_bytes()
    assert len(list((other / "store/archives").iterdir())) == 1


@pytest.mark.promise("P8")
def test_a_ledger_in_postgresql(
    make: Callable[..., Gate], postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is reached by a local socket, and found in a file of services again when its server was restarted."""
    url = postgresql.new_database()
    name = url.partition("?")[0].rpartition("/")[2]
    services = tmp_path / "services.conf"
    services.write_text(f"[ours]\nhost={postgresql.directory}\ndbname={name}\nuser=sftpgate\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    gate = make(LEDGER_URL="postgresql:///?service=ours")
    gate.start()
    assert put(gate, "a.csv")
    postgresql.stop()
    postgresql.start()
    assert put(gate, "b.csv")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM arrivals").fetchone() == (2,)


def test_what_is_sorted_goes_through_our_own_files(base: Path) -> None:
    """SQLite's temporary files lie where a worker may write, and not in /var/tmp."""
    environment = {**os.environ, "SFTPGATE_DATA_DIR": str(base / "data"), "SFTPGATE_KEYS_DIR": str(base / "keys")}
    environment |= {"SFTPGATE_SANDBOX": "required"}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        words = [sys.executable, "-c", SORTING, str(theirs.fileno())]
        assert subprocess.run(words, env=environment, pass_fds=[theirs.fileno()], timeout=50, check=False).returncode == 0
