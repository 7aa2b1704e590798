"""Counting for the monitor: what a worker process counts, in files that another process adds up.

``prometheus_client`` has the numbers in memory-mapped files, one set a process (its multiprocess mode), so that several
workers are seen as one gate and a dead worker's counts stay. It decides on that mode when it is imported, by an
environment variable, so nothing here imports it before a meter is made; if that variable is missing (metrics are
off, or this is a command of cron) there is a ``Meter`` that counts nothing, and nothing is
imported at all.

All methods are for the event loop: they take microseconds and do not block. Nothing is counted for each WRITE.
"""

from __future__ import annotations

import os
from typing import ClassVar

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the library's own name

# From the time that a good disk needs for one flush to the time that a client waits at most.
LATENCY_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LAG_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
SWEEP_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class Meter:
    """What is counted. This one counts nothing: metrics are off."""

    counts: ClassVar[bool] = False

    def login(self, outcome: str) -> None:
        """Count a login that was accepted, or refused by the rule that ``outcome`` names."""

    def connection_refused(self) -> None:
        """Count a connection that was not let in."""

    def session(self, received_bytes: int, sent_bytes: int) -> None:
        """Count a session that has ended, with so many bytes of file content received and of answers sent."""

    def upload(self, outcome: str, size: int) -> None:
        """Count an upload of so many bytes that came to its end: published, held or interrupted."""

    def published(self, seconds: float) -> None:
        """Observe how long a client waited for the answer to its CLOSE."""

    def swept(self, seconds: float) -> None:
        """Observe how long a sweep took."""

    def lag(self, seconds: float) -> None:
        """Observe how late the event loop was."""

    def sample(
        self, *, connections: int, sessions: int, publishing_seconds: float, store_lock_seconds: float, now: float
    ) -> None:
        """Show how things stand at the Unix time ``now``. ``publishing_seconds``: how long the oldest CLOSE has waited;
        ``store_lock_seconds``: for how long nobody here could get the store's lock.
        """


class FileMeter(Meter):
    """Counts in the directory that the environment names. One instance per process."""

    counts = True

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        registry = CollectorRegistry()
        self._logins = Counter(
            "sftpgate_logins", "Logins by outcome: accepted, or the rule that refused.", ["outcome"], registry=registry
        )
        self._refused = Counter("sftpgate_connections_refused", "Refusals of connections that were logged.", registry=registry)
        self._sessions_ended = Counter("sftpgate_sessions_ended", "SFTP sessions that have ended.", registry=registry)
        self._received = Counter(
            "sftpgate_received_bytes", "Bytes of file content received, counted at the end of a session.", registry=registry
        )
        self._sent = Counter("sftpgate_sent_bytes", "Bytes of answers sent, counted at the end of a session.", registry=registry)
        self._uploads = Counter(
            "sftpgate_uploads", "Uploads by outcome: published, held, interrupted.", ["outcome"], registry=registry
        )
        self._upload_bytes = Counter("sftpgate_upload_bytes", "Bytes of these uploads.", ["outcome"], registry=registry)
        self._publish = Histogram(
            "sftpgate_publish_seconds",
            "Time from a client's CLOSE to its answer.",
            registry=registry,
            buckets=LATENCY_SECONDS,
        )
        self._sweep = Histogram("sftpgate_sweep_seconds", "Time that a sweep took.", registry=registry, buckets=SWEEP_SECONDS)
        self._lag = Histogram(
            "sftpgate_event_loop_lag_seconds",
            "How late the event loop came to what was due.",
            registry=registry,
            buckets=LAG_SECONDS,
        )
        self._connections = Gauge("sftpgate_connections", "Connections now.", registry=registry, multiprocess_mode="livesum")
        self._sessions = Gauge("sftpgate_sessions", "SFTP sessions now.", registry=registry, multiprocess_mode="livesum")
        self._publishing = Gauge(
            "sftpgate_publish_waiting_seconds",
            "How long the oldest CLOSE that is not answered has waited.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._store_lock = Gauge(
            "sftpgate_store_lock_waiting_seconds",
            "For how long nobody could get the store's lock who wanted it.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._beat = Gauge(
            "sftpgate_worker_beat_timestamp_seconds",
            "When each worker process was last seen alive, in Unix time.",
            registry=registry,
            multiprocess_mode="liveall",
        )

        self._logins.labels("accepted")  # what never happened is 0, and not missing: alerts rest on that
        for outcome in ("published", "held", "interrupted"):
            self._uploads.labels(outcome)
            self._upload_bytes.labels(outcome)

    def login(self, outcome: str) -> None:
        """See ``Meter``."""
        self._logins.labels(outcome).inc()

    def connection_refused(self) -> None:
        """See ``Meter``."""
        self._refused.inc()

    def session(self, received_bytes: int, sent_bytes: int) -> None:
        """See ``Meter``."""
        self._sessions_ended.inc()
        self._received.inc(received_bytes)
        self._sent.inc(sent_bytes)

    def upload(self, outcome: str, size: int) -> None:
        """See ``Meter``."""
        self._uploads.labels(outcome).inc()
        self._upload_bytes.labels(outcome).inc(size)

    def published(self, seconds: float) -> None:
        """See ``Meter``."""
        self._publish.observe(seconds)

    def swept(self, seconds: float) -> None:
        """See ``Meter``."""
        self._sweep.observe(seconds)

    def lag(self, seconds: float) -> None:
        """See ``Meter``."""
        self._lag.observe(seconds)

    def sample(
        self, *, connections: int, sessions: int, publishing_seconds: float, store_lock_seconds: float, now: float
    ) -> None:
        """See ``Meter``."""
        self._connections.set(connections)
        self._sessions.set(sessions)
        self._publishing.set(publishing_seconds)
        self._store_lock.set(store_lock_seconds)
        self._beat.set(now)


def make_meter() -> Meter:
    """Return the meter of this process: one that counts if the environment names a directory for it."""
    return FileMeter() if os.environ.get(DIRECTORY_VARIABLE) else Meter()
