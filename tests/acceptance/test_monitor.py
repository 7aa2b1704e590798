"""Metrics and health of a real server with two worker processes, scraped over HTTP; the documents name what there is."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from docs.generate import ROOT
from sftpgate.ledger.audit import event_log, feed
from sftpgate.ledger.audit.actor import SYSTEM
from sftpgate.ledger.audit.event_log import Event
from sftpgate.ledger.database.connection import Ledger
from sftpgate.meter import DIRECTORY_VARIABLE
from tests.harness.servers import Gate, until, words_of

DASHBOARD = ROOT / "docs/monitoring/grafana-dashboard.json"
ALERTS = ROOT / "docs/monitoring/alerts.yml"
NAME = re.compile(r"\bsftpgate_[a-z_]+\b")


class Monitored:
    """A server, and what its monitor says."""

    def __init__(self, gate: Gate, port: int) -> None:
        self.gate = gate
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a page."""
        try:
            with urllib.request.urlopen(self._url + path, timeout=20) as answer:  # noqa: S310 - http, of this test
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def samples(self) -> dict[tuple[str, str], float]:
        """Every sample, by its name and the value of its first label."""
        text = self.get("/metrics")[1].decode()
        return {
            (sample.name, next(iter(sample.labels.values()), "")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def health(self) -> tuple[int, str, list[str]]:
        """Status code, verdict, and the checks that found something."""
        status, body = self.get("/healthz")
        found = json.loads(body)
        return status, found["status"], [problem["check"] for problem in found["problems"]]

    def monitor(self) -> psutil.Process:
        """The monitor's process."""
        [process] = [child for child in psutil.Process(self.gate.pid).children() if "monitor" in child.cmdline()]
        return process


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """A server with two workers, ready."""
    port = _free_port()
    with Gate(
        tmp_path_factory.mktemp("gate"), WORKERS="2", METRICS_PORT=str(port), SWEEP_INTERVAL="1s", BATCH_LOCK_TTL="1s"
    ) as gate:
        gate.start()
        made = Monitored(gate, port)
        until(lambda: made.health() == (200, "ready", []), "both workers are alive")
        yield made


def test_two_workers_are_one_gate(monitored: Monitored) -> None:
    """What several workers count is added up: logins, uploads, bytes and times of closes; and the ledger's files are there."""
    before = monitored.samples()
    (monitored.gate.directory / "a.csv").write_bytes(b"a,b\n1,2\n")
    for number in range(4):
        assert monitored.gate.sftp(f"put a.csv a{number}.csv\n").wait() == 0

    def gained(name: str, label: str = "") -> float:
        return monitored.samples().get((name, label), 0.0) - before.get((name, label), 0.0)

    until(lambda: gained("sftpgate_received_bytes_total") == 32, "the ends of all sessions are counted")
    assert gained("sftpgate_logins_total", "accepted") == 4
    assert gained("sftpgate_uploads_total", "published") == 4
    assert gained("sftpgate_upload_bytes_total", "published") == 32
    assert gained("sftpgate_publish_seconds_count") == 4
    assert gained("sftpgate_waiting_files", "waiting") == 4
    assert monitored.samples()["sftpgate_workers", ""] == 2


def test_the_documents_name_what_there_is(monitored: Monitored) -> None:
    """Dashboard, alert rules and the table of metrics name metrics that the server has, and the table names all of them."""
    text = monitored.get("/metrics")[1].decode()
    families = {family.name: family.type for family in text_string_to_metric_families(text)}
    there = {f"{name}_total" if kind == "counter" else name for name, kind in families.items()}
    parts = {f"{name}_{part}" for name, kind in families.items() if kind == "histogram" for part in ("bucket", "sum", "count")}
    rules = re.findall(r"- alert: \w+\n +expr: (.+)\n", ALERTS.read_text(encoding="utf-8"))
    assert len(rules) == ALERTS.read_text(encoding="utf-8").count("expr:")
    targets = [
        target["expr"] for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"] for target in panel["targets"]
    ]
    for expression in rules + targets:
        assert set(NAME.findall(expression)) <= there | parts, expression
    table = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8").partition("### /metrics")[2].partition("## ")[0]
    assert set(NAME.findall(table)) == there


def test_a_dead_monitor_is_replaced(monitored: Monitored) -> None:
    """A monitor that dies is replaced on the same port, and the gate serves meanwhile."""
    dead = monitored.monitor()
    dead.kill()
    (monitored.gate.directory / "b.csv").write_bytes(b"a,b\n")
    assert monitored.gate.sftp("put b.csv\n").wait() == 0
    assert monitored.health()[1] in ("ready", "degraded")
    assert monitored.monitor().pid != dead.pid


def test_a_missing_worker_and_a_stale_lock(monitored: Monitored) -> None:
    """A hung worker makes the gate degraded, and so does a batch lock that is too old; both are named. When they are gone, it is
    ready again.
    """
    [worker, _] = monitored.gate.workers()
    os.kill(worker, signal.SIGSTOP)
    try:
        until(lambda: monitored.health() == (200, "degraded", ["workers"]), "the hung worker is missed")
    finally:
        os.kill(worker, signal.SIGCONT)
    lock = monitored.gate.data / "sync/alock.txt"
    lock.touch()
    until(lambda: monitored.health() == (200, "degraded", ["batch lock"]), "the lock is stale")
    lock.unlink()
    until(lambda: monitored.health() == (200, "ready", []), "it is back")


def _happen(gate: Gate, at: datetime) -> None:
    """Put something on the record that the writer of receipts has to look at."""
    with closing(Ledger(f"sqlite:///{gate.data}/ledger.db")) as ledger, ledger.transaction() as connection:
        event_log.record(connection, [Event(at=at, event="arrival.done", actor=SYSTEM)])


def _has_read_all(gate: Gate) -> bool:
    """Whether the writer of receipts has read the whole record. If not, what is no news waits until there is some."""
    with closing(Ledger(f"sqlite:///{gate.data}/ledger.db")) as ledger, ledger.reading() as connection:
        has = all(lag.events == 0 for lag in feed.lags(connection) if lag.name == "receipts")
    if not has:
        _happen(gate, datetime.now(UTC))
    return has


def test_followers_that_stand_still(monitored: Monitored) -> None:
    """If what follows the record stands still, health, metrics, `status` and `doctor` say so, how many events wait and since
    when; when it goes on, all is well again.
    """
    gate = monitored.gate
    [followers] = [pid for pid in gate.children() if "follow" in words_of(pid)]
    until(lambda: _has_read_all(gate), "it has read all there is")
    os.kill(followers, signal.SIGSTOP)
    try:
        at = datetime.now(UTC) - timedelta(hours=1)
        _happen(gate, at)
        until(lambda: monitored.health() == (200, "degraded", ["followers"]), "somebody sees that it stands still")
        said = f"since {at.isoformat(timespec='seconds')} wait for receipts"
        assert said in monitored.get("/healthz")[1].decode()
        until(lambda: monitored.samples()["sftpgate_follower_behind_seconds", "receipts"] > 3500, "the metrics have it")
        assert monitored.samples()["sftpgate_follower_behind_events", "receipts"] >= 1
        assert said in gate.command("status")
        assert said in gate.attempt("doctor").stdout
    finally:
        os.kill(followers, signal.SIGCONT)
    until(lambda: monitored.health() == (200, "ready", []), "it has read on")


def test_a_monitor_that_came_too_late(tmp_path: Path) -> None:
    """A monitor whose supervisor died while it started ends by itself, and the port is free for the next one."""
    with Gate(tmp_path) as gate, closing(socket.socket()) as listener:
        gone = subprocess.Popen(["true"])
        gone.wait()
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        environment = gate.environment | {"SFTPGATE_METRICS_PORT": str(port), DIRECTORY_VARIABLE: str(tmp_path / "metrics")}
        words = gate.words("monitor", "--parent", str(gone.pid), str(listener.fileno()))
        late = subprocess.Popen(words, env=environment, cwd=tmp_path, pass_fds=[listener.fileno()])
        listener.close()
        assert late.wait(timeout=30) == 0
        with closing(socket.create_server(("127.0.0.1", port))):
            pass


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """A metrics port that another program has is said in one line, and nothing starts."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with Gate(tmp_path, METRICS_PORT=str(taken.getsockname()[1])) as gate:
            done = gate.attempt("serve")
    assert done.returncode == 78
    [line] = [line for line in done.stderr.splitlines() if "runs_as_root" not in line]
    assert "metrics_port: cannot listen on 127.0.0.1" in line
