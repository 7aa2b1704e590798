"""What a run found: rows with ratios and targets, as JSON, as a table, as a document and as plots."""

from __future__ import annotations

import json
import platform
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.bench.contenders import version_of
from tests.bench.series import Series

REFERENCE = "OpenSSH"
OURS = "sftpgate"
_MET = {True: "yes", False: "no", None: ""}
_LARGE = 1000  # from here on without digits behind the point


@dataclass(frozen=True, slots=True)
class Row:
    """One workload. ``values`` are medians by server, ``ratios`` how many times faster than the reference each one is (less
    than 1: slower). Absolute workloads have no reference: ``unit`` says what the value is. ``met`` is None without a target.
    """

    name: str
    values: dict[str, float]
    unit: str
    ratios: dict[str, float] = field(default_factory=dict)
    target: str = ""
    met: bool | None = None
    spread: float = 0.0

    def beside(self, series: Series) -> Row:
        """The same row with other servers, of a series in which the reference comes first."""
        reference, *others = series.values
        return replace(
            self,
            values=self.values | {name: series.median(name) for name in others},
            ratios=self.ratios | {name: series.ratio(reference, name) for name in others},
        )


def compared(name: str, series: Series, *, ours: str, target: float | None = None) -> Row:
    """A row of times of servers that took turns, the reference first. ``ours`` is the series that the target is for."""
    reference, *others = series.values
    called = {each: OURS if each == ours else each for each in others}
    ratios = {called[each]: series.ratio(reference, each) for each in others}
    met = None if target is None else ratios[OURS] >= target
    values = {called.get(each, reference): series.median(each) for each in series.values}
    return Row(name, values, "s", ratios, "" if target is None else f"≥ {target:.3g}x", met, series.spread)


def shown(value: float, unit: str) -> str:
    """A number for people."""
    return f"{value:,.0f} {unit}" if value >= _LARGE else f"{value:.3g} {unit}"


def absolute(name: str, value: float, unit: str, *, most: float | None = None, least: float | None = None) -> Row:
    """A row of one number of ours, which shall be at most or at least something."""
    target = f"≤ {shown(most, unit)}" if most is not None else f"≥ {shown(least, unit)}" if least is not None else ""
    met = value <= most if most is not None else value >= least if least is not None else None
    return Row(name, {OURS: value}, unit, target=target, met=met)


@dataclass(slots=True)
class Report:
    """A run."""

    quick: bool
    disk: dict[str, float] = field(default_factory=dict)  # seconds
    rows: list[Row] = field(default_factory=list)
    by_size: dict[str, dict[int, float]] = field(default_factory=dict)  # MiB/s by file size, by server
    latencies_ms: list[float] = field(default_factory=list)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def machine(self) -> dict[str, str]:
        """Where it ran."""
        return {
            "date": f"{self.started_at:%Y-%m-%d %H:%M} UTC",
            "processors": str(psutil.cpu_count()),
            "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
            "kernel": platform.release(),
            "Python": f"{platform.python_version()}, {_build()}",
            "OpenSSH": version_of("ssh", "-V"),
            "load before": f"{psutil.getloadavg()[0]:.1f}",
        } | {what: f"{seconds * 1e6:.0f} µs" for what, seconds in self.disk.items()}

    def table(self) -> str:
        """Markdown."""
        compared = [row for row in self.rows if row.ratios]
        others = list(dict.fromkeys(name for row in compared for name in row.ratios))
        lines = []
        for row in compared:
            ratios = [f"{row.ratios[name]:.2f}x" if name in row.ratios else "" for name in others]
            first = next(iter(row.values.values()))
            lines.append([row.name, shown(first, row.unit), *ratios, row.target, _MET[row.met], f"{row.spread:.0%}"])
        alone = [[row.name, shown(row.values[OURS], row.unit), row.target, _MET[row.met]] for row in self.rows if not row.ratios]
        return (
            _table(["workload", REFERENCE, *others, "target", "met", "noise"], lines)
            + "\n"
            + _table(["workload", OURS, "target", "met"], alone)
        )

    def write(self, path: Path) -> None:
        """As JSON."""
        found = asdict(self) | {"machine": self.machine, "started_at": self.started_at.isoformat()}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _build() -> str:
    """How the Python was built, as far as it can tell. Distributions optimise theirs in their own ways, which it does not say."""
    if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
        return "built with --enable-optimizations"
    return "the distribution's" if sys.base_prefix == "/usr" else "built without --enable-optimizations"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines))


DOCUMENT = """\
# Benchmarks

Written by `make bench`: the last run. A column is a server; its number says how many times faster
than {reference} it was in the same round, the median of {rounds} rounds in which the servers took turns.
Servers of others have fewer rounds. The client is OpenSSH's `sftp` with its defaults, unless the
row says otherwise. sftpgate runs as a user gets it: it hashes, records and flushes every file; the
others do none of that. The row "from put to claimable" compares it with what does: OpenSSH's server
with a small program beside it (`tests/bench/mover.py`), which makes the OK no safer. The second
table is of sftpgate alone.

{machine}

"noise" is the spread of a fixed piece of work during the row's rounds: on a noisy machine, look at
the ratios and not at the times. If creating a file takes more than some tens of µs, files were
removed here in the last five minutes: ext4 looks at each of them before it takes a new one, and the
rows of small files say nothing. A flush and a commit are what each small file costs sftpgate on
this disk, and the others not: [decision 21](decisions/0021-what-a-small-file-costs.md).

{table}
![Throughput by file size, and time from the last write to a claimable file](benchmarks.svg)

`make bench` takes less than ten minutes, `make bench-quick` less than three, with less data and
fewer rounds; only the first writes this page. `make profile` writes a flame graph of one workload
(`WORKLOAD=upload`, `small_files`, `connect` or `download`).
"""


def document(report: Report, rounds: int) -> str:
    """docs/benchmarks.md."""
    machine = "\n".join(f"- {key}: {value}" for key, value in report.machine.items())
    return DOCUMENT.format(reference=REFERENCE, rounds=rounds, machine=machine, table=report.table())


def plot(report: Report, path: Path) -> None:
    """Throughput by file size; latency distribution."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "sftpgate"  # the same picture for the same numbers
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    for name, points in report.by_size.items():
        sizes = sorted(points)
        left.plot([size / 1024 for size in sizes], [points[size] for size in sizes], marker="o", label=name)
    left.set(
        xscale="log", yscale="log", xlabel="file size, KiB", ylabel="MiB/s, connection included", title="Upload by file size"
    )
    left.legend()
    latencies = sorted(report.latencies_ms)
    right.plot(latencies, [100 * (number + 1) / len(latencies) for number in range(len(latencies))])
    right.set(xscale="log", xlabel="ms", ylabel="% of files", title="Last write answered → file claimable")
    right.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
