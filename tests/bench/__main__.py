"""The benchmark: ``python -m tests.bench`` (``make bench``), ``--quick`` for less data and fewer rounds.

Bounded in time by the amounts, on loopback only. Raises where a server or a client fails: a benchmark of failures is none.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.bench import commands, disk, sessions, transfers
from tests.bench.contenders import PEERS, Openssh, OpensshWithMover, OpensshWithoutPostQuantum, Server, Sftpgate
from tests.bench.report import REFERENCE, Report, absolute, compared, document, plot, shown
from tests.bench.scratch import Scratch
from tests.bench.series import Series, interleaved

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / ".make/bench.json"
DOCUMENT = ROOT / "docs/benchmarks.md"
PLOT = ROOT / "docs/benchmarks.svg"
SIZES = [4 * 1024, 64 * 1024, 1024**2, 16 * 1024**2, 64 * 1024**2]

PEER_ROUNDS = 1
SHORT_SECONDS = 0.3  # what takes the reference less is repeated for the peers too: a single round says little then

RELAXED = "sftpgate, relaxed"
FSYNC = "sftpgate, put -f"
OPENSSH_FSYNC = "OpenSSH, put -f"
WORKERS = "sftpgate, workers=auto"
TOOL = '[tools.big]\nfile = "big.bin"\ncommand = ["true"]\n'

Workload = Callable[[Server, Scratch], float]


class Bench:
    """One run: servers that stay up, and the rows that were measured."""

    def __init__(
        self, scratch: Scratch, servers: Mapping[str, Server], peers: Mapping[str, Server], rounds: int, *, quick: bool
    ) -> None:
        self.scratch = scratch
        self.servers = servers
        self.peers = peers
        self.rounds = rounds
        self.report = Report(quick, disk.costs(scratch.directory / "disk"))

    def compare(
        self,
        title: str,
        workload: Workload,
        *,
        target: float | None = None,
        servers: Mapping[str, Server] | None = None,
        ours: str = "sftpgate",
    ) -> Series:
        """A row: the workload on all servers, or on these, the reference first. ``ours`` is the one that has a target."""
        series = self.measured(workload, servers or self.servers)
        row = compared(title, series, ours=ours, target=target)
        if servers is None and self.peers:
            is_short = series.median(REFERENCE) < SHORT_SECONDS
            row = row.beside(self.measured_beside(workload, self.rounds if is_short else PEER_ROUNDS))
        self.report.rows.append(row)
        ratios = ", ".join(f"{name} {ratio:.2f}x" for name, ratio in row.ratios.items())
        say(f"{title}: {ratios} (target {row.target or 'none'}, noise {row.spread:.0%})")
        return series

    def measured(self, workload: Workload, servers: Mapping[str, Server]) -> Series:
        """The workload on these servers in turns."""
        return self._measured(workload, servers, self.rounds)

    def measured_beside(self, workload: Workload, rounds: int = PEER_ROUNDS) -> Series:
        """The workload on the reference and the peers, in few rounds: they are there for the order of things."""
        return self._measured(workload, {REFERENCE: self.servers[REFERENCE], **self.peers}, rounds)

    def _measured(self, workload: Workload, servers: Mapping[str, Server], rounds: int) -> Series:
        return interleaved({name: partial(workload, server, self.scratch) for name, server in servers.items()}, rounds)

    def absolute(self, title: str, value: float, unit: str, *, most: float | None = None, least: float | None = None) -> None:
        """A row of one number."""
        row = absolute(title, value, unit, most=most, least=least)
        self.report.rows.append(row)
        say(f"{title}: {shown(value, unit)} (target {row.target or 'none'})")


def large_files(bench: Bench) -> None:
    """Uploads and downloads of large files, and what they cost the server."""
    size = bench.scratch.big.stat().st_size
    amount = f"{size // 2**20} MiB"
    bench.compare(f"upload of {amount}, one session", transfers.upload, target=2.0)
    bench.compare("the same in 4 sessions", transfers.upload_together, target=2.0)
    series = bench.compare("server processor time of one upload", transfers.upload_cpu, target=1 / 0.6)
    bench.absolute("server processor time for each GiB", series.median("sftpgate") * 2**30 / size, "s")
    remote = {server: _downloadable(server, bench.scratch) for server in (*bench.servers.values(), *bench.peers.values())}
    bench.compare(
        f"download of {amount}, from archives", lambda server, _: transfers.download(server, remote[server]), target=1.2
    )


def _downloadable(server: Server, scratch: Scratch) -> str:
    """A large file on the server that can be fetched; from ours, one that a tool has processed."""
    server.do(f"put {scratch.big} {server.target}/big.bin")
    if not isinstance(server, Sftpgate):
        return f"{server.target}/big.bin"
    (server.directory / "sftpgate.toml").write_text(TOOL)
    commands.cost(server, "run", "big")
    [archived] = (server.files / "archives").glob("*_big.bin")
    return f"/archives/{archived.name}"


def small_files(bench: Bench, relaxed: Server) -> None:
    """Many files of 4 KiB."""
    openssh, ours = bench.servers["OpenSSH"], bench.servers["sftpgate"]
    pair = {"OpenSSH": openssh, RELAXED: relaxed}
    files = len(list(bench.scratch.small.iterdir()))
    bench.compare(f"put -r of {files} files of 4 KiB", transfers.small_files, target=1.0)
    bench.compare('the same, durability = "relaxed"', transfers.small_files, servers=pair, ours=RELAXED, target=1.4)
    bench.compare(
        "the same, both asked for fsync (put -f)",
        partial(transfers.small_files, options="-f"),
        servers={OPENSSH_FSYNC: openssh, FSYNC: ours},
        ours=FSYNC,
        target=1.5,
    )
    bench.compare("the same in 4 sessions", transfers.small_files_together, target=1.0)
    bench.compare('in 4 sessions, "relaxed"', transfers.small_files_together, servers=pair, ours=RELAXED, target=1.3)


def to_claimable(bench: Bench, mover: Server) -> None:
    """Small files until a tool can have them, against what a user would build instead."""
    pair = {mover.name: mover, "sftpgate": bench.servers["sftpgate"]}
    title = f"from put to claimable, hashed, flushed and recorded; instead of OpenSSH alone: {mover.name}"
    bench.compare(title, transfers.claimable, servers=pair, target=0.5)
    bench.compare("the same in 4 sessions, and against the same", transfers.claimable_together, servers=pair, target=0.7)


def connections(bench: Bench, plain: Server) -> None:
    """Many short connections, and one over a long line."""
    bench.compare("connect, log in, put 4 KiB, quit", transfers.connect, target=6.0)
    bench.compare("8 of those at a time", transfers.connect_together, target=5.0)
    bench.compare(
        "the same without post-quantum key exchange",
        partial(transfers.connect, options=("-o", "KexAlgorithms=curve25519-sha256")),
        servers={plain.name: plain, "sftpgate": bench.servers["sftpgate"]},
        target=3.0,
    )
    bench.compare("upload of 16 MiB over 50 ms", transfers.far_away, target=2.0)


def many_sessions(bench: Bench) -> None:
    """Memory of idle sessions, latency at a steady rate, fairness."""
    ours = bench.servers["sftpgate"]
    assert isinstance(ours, Sftpgate)
    os.sync()
    bench.absolute("idle sessions, each", asyncio.run(sessions.idle_bytes(ours)) / 1024, "KiB", most=40)
    found = asyncio.run(sessions.latency(ours, 5 if bench.report.quick else 20))
    bench.report.latencies_ms = [value * 1000 for value in found]
    median, p99 = sessions.summary(found)
    bench.absolute("last write answered → claimable, 100 files/s from 20 sessions: median", median * 1000, "ms", most=3)
    bench.absolute("the same, p99", p99 * 1000, "ms", most=25)
    busy = asyncio.run(sessions.crowd(ours))
    bench.absolute("200 active sessions: slowest by median", busy.unfairness, "", most=3)
    bench.absolute("the same: lag of the event loop, p99", busy.lag * 1000, "ms", most=20)
    bench.absolute("the same: a request that needs nothing, p99", sessions.summary(busy.waits)[1] * 1000, "ms")


def command_line(bench: Bench) -> None:
    """What cron starts, and sweeps."""
    ours = bench.servers["sftpgate"]
    assert isinstance(ours, Sftpgate)
    files = 20_000 if bench.report.quick else 100_000
    bench.absolute("sftpgate --help", commands.cost(ours, "--help").cpu_seconds * 1000, "ms of CPU", most=150)
    first, each = (commands.cost(ours, "run", "--all", codes=(3,)).cpu_seconds for _ in range(2))
    bench.absolute("sftpgate run, nothing to do", each * 1000, "ms of CPU", most=150)
    bench.absolute("the same, the first time after a change of the settings", first * 1000, "ms of CPU")
    with _sweeping(bench.scratch) as server:
        few, many = commands.scan(server, files), None
        bench.absolute(f"sweep: scan of {files} files", files / _seconds(few), "files/s", least=50_000)
        if not bench.report.quick:
            many = commands.scan(server, 9 * files, "scan-more")
            bench.absolute("memory of a scan of ten times as many", many.memory_bytes / few.memory_bytes, "times", most=1.2)
    with _sweeping(bench.scratch) as server:
        _, rate = commands.take(server, files)
        bench.absolute(f"sweep: taking {files} files, durability = full", rate, "files/s", least=3_000)


def _seconds(found: commands.Cost) -> float:
    return commands.result(found)["seconds"]


@contextmanager
def _sweeping(scratch: Scratch) -> Iterator[Sftpgate]:
    """A data directory on which nobody sweeps but us."""
    server = Sftpgate(scratch.directory / scratch.fresh(), SETTLE_SECONDS="0", MAX_PENDING_FILES="10000000")
    (server.directory / "data/sync").mkdir(parents=True)
    yield server
    server.stop()


def sizes(bench: Bench) -> None:
    """Throughput by file size, for the plot."""
    for size in SIZES:
        local = bench.scratch.directory / f"size-{size}"
        local.write_bytes(bytes(size - 1) + b"\n")
        put = partial(transfers.put, local=local)
        series = bench.measured(put, bench.servers)
        seconds = {name: series.median(name) for name in bench.servers}
        if bench.peers:
            beside = bench.measured_beside(put)
            seconds |= {name: beside.median(name) for name in bench.peers}
        for name, took in seconds.items():
            bench.report.by_size.setdefault(name, {})[size] = size / 2**20 / took


def say(text: str) -> None:
    """A line of progress."""
    print(text, flush=True)


def main() -> None:
    """Run everything and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less data, fewer rounds, OpenSSH alone as a peer")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each comparison (5; quick: 3)")
    options = parser.parse_args()
    quick: bool = options.quick
    rounds = options.rounds or (3 if quick else 5)
    with Scratch(0.25 if quick else 1.0) as scratch, ExitStack() as stack:

        def started(server: Server) -> Server:
            stack.callback(server.stop)
            server.start()
            return server

        made = scratch.directory
        servers: dict[str, Server] = {"OpenSSH": started(Openssh(made / "openssh")), "sftpgate": started(Sftpgate(made / "ours"))}
        servers[WORKERS] = started(Sftpgate(made / "workers", WORKERS="auto"))
        peers: dict[str, Server] = {}
        for peer in () if quick else PEERS:
            if peer.is_here():
                peers[peer.name] = started(peer(made / peer.__name__))
            else:
                say(f"{peer.name}: not installed, left out")
        bench = Bench(scratch, servers, peers, rounds, quick=quick)
        say(", ".join(f"{what}: {value}" for what, value in bench.report.machine.items()))
        relaxed = started(Sftpgate(made / "relaxed", DURABILITY="relaxed"))
        plain = started(OpensshWithoutPostQuantum(made / "plain"))
        connections(bench, plain)
        small_files(bench, relaxed)
        if OpensshWithMover.is_here():
            to_claimable(bench, started(OpensshWithMover(made / "mover")))
        else:
            say(f"{OpensshWithMover.name}: its programs are not here, left out")
        large_files(bench)
        many_sessions(bench)
        command_line(bench)
        if not quick:
            sizes(bench)
    bench.report.write(RESULTS)
    say("\n" + bench.report.table())
    say(f"results: {RESULTS.relative_to(ROOT)}")
    if not quick:
        DOCUMENT.write_text(document(bench.report, rounds), encoding="utf-8")
        plot(bench.report, PLOT)
        say(f"written: {DOCUMENT.relative_to(ROOT)}, {PLOT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
