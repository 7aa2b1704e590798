"""The checks of ``sftpgate doctor`` about the service manager: whether the installed units fit the settings, and whether
anything runs the tools. Only looks; units are read as text, and those that are not there are no fault.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sftpgate.app.composition import pointers_of
from sftpgate.app.context import ledger_of_any_version
from sftpgate.app.doctor.findings import Findings, error, warning
from sftpgate.ledger import overview, runs
from sftpgate.ledger.database.connection import Ledger
from sftpgate.regular_files import read_regular
from sftpgate.settings.tree import Settings

UNIT_DIRECTORIES = (Path("/etc/systemd/system"), Path("/run/systemd/system"), Path("/usr/local/lib/systemd/system"))
UNIT, RUN_UNIT = "sftpgate.service", "sftpgate-run.service"
# What forbids sudo in the unit of a user other than root, by systemd.exec(5): NoNewPrivileges, and all that implies it.
_FORBIDS_SUDO = (
    "NoNewPrivileges", "DynamicUser", "LockPersonality", "MemoryDenyWriteExecute", "PrivateDevices", "ProtectClock",
    "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "RestrictAddressFamilies",
    "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallFilter",
    "SystemCallLog",
)  # fmt: skip
_LARGEST_UNIT_BYTES = 1024 * 1024  # systemd's own bound of a line
STOP_MARGIN_SECONDS = 20.0  # above what the supervisor gives its workers beyond shutdown_grace
RUNS_MISSED_AFTER = timedelta(days=1)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_SPANS = {
    "us": 1e-6, "usec": 1e-6, "ms": 1e-3, "msec": 1e-3, "": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "m": 60.0, "min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0,
    "d": 86400.0, "day": 86400.0, "days": 86400.0, "w": 604800.0, "week": 604800.0, "weeks": 604800.0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit with its drop-ins: each directive's values in their order."""

    path: Path
    values: dict[str, list[str]]

    def last(self, name: str) -> str | None:
        """Return the value that counts, of a directive that has one."""
        found = self.values.get(name)
        return found[-1] if found else None

    def words(self, name: str) -> list[str]:
        """Return all words of a directive that adds up."""
        return [word for value in self.values.get(name, ()) for word in shlex.split(value)]


def find_unit(directories: Sequence[Path] = UNIT_DIRECTORIES, name: str = UNIT) -> Unit | None:
    """Return an installed unit (the server's, unless another one is named), or None."""
    for directory in directories:
        path = directory / name
        if path.is_file():
            drop_ins = sorted((directory / f"{name}.d").glob("*.conf"))
            return Unit(path, _values(line for file in (path, *drop_ins) for line in _lines(file)))
    return None


def _lines(file: Path) -> list[str]:
    try:
        text = read_regular(file, _LARGEST_UNIT_BYTES).decode("utf-8", "replace")
    except OSError:  # systemd passes over a drop-in that it cannot read, and says so
        return []
    return re.sub(r"\\\n", " ", text).splitlines()


def _values(lines: Iterator[str]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for line in lines:
        name, equals, value = line.strip().partition("=")
        if not equals or name.startswith(("#", ";", "[")):
            continue
        if value.strip():
            values.setdefault(name.strip(), []).append(value.strip())
        else:
            values.pop(name.strip(), None)  # an empty value forgets those before it
    return values


def check_service(settings: Settings, directories: Sequence[Path] = UNIT_DIRECTORIES) -> Findings:
    """Yield whether the installed unit fits the settings."""
    unit = find_unit(directories)
    if unit is None:
        return
    yield from _check_times(unit, settings)
    yield from _check_paths(unit, settings)
    user = unit.last("User")
    owner = settings.store.owner() if settings.store.is_dir() else None
    if owner is not None and owner != (user or "root"):
        yield error(
            "service", f"{unit.path} runs as {user or 'root'}, and the store belongs to {owner}", f"say User={owner} there"
        )


def check_run_unit(settings: Settings, directories: Sequence[Path] = UNIT_DIRECTORIES) -> Findings:
    """Yield whether the installed unit that runs the tools lets them become the users that they run as."""
    unit = find_unit(directories, RUN_UNIT)
    if unit is None:
        return
    user = unit.last("User") or "root"
    tools = [
        name
        for name, tool in settings.tools.items()
        if tool.enabled and ((tool.run_as and tool.run_as != user) or Path(tool.command[0]).name == "sudo")
    ]
    if not tools or user == "root":
        return
    own_sudo = any(Path(settings.tools[name].command[0]).name == "sudo" for name in tools)
    if not own_sudo and {"CAP_SETUID", "CAP_SETGID"} <= set(unit.words("AmbientCapabilities")):
        return
    forbids = [name for name in _FORBIDS_SUDO if (unit.last(name) or "no").lower() not in ("no", "false", "0", "off")]
    if forbids:
        yield error(
            "service",
            f"{unit.path}: {forbids[0]} keeps sudo from doing anything, and tools.{tools[0]} needs it",
            f"remove {', '.join(forbids)} from that unit (docs/runners.md has the three ways)",
        )


def _check_times(unit: Unit, settings: Settings) -> Findings:
    stop = seconds(unit.last("TimeoutStopSec") or "90s")
    needed = settings.shutdown_grace + STOP_MARGIN_SECONDS
    if stop is not None and stop < needed:
        yield error(
            "service",
            f"{unit.path}: TimeoutStopSec is {stop:g} s, and shutdown_grace {settings.shutdown_grace:g} s: uploads are killed",
            f"set it to {needed:g} at least",
        )
    notifies = unit.last("Type") in ("notify", "notify-reload")
    if unit.last("WatchdogSec") and not notifies:
        yield warning("service", f"{unit.path}: WatchdogSec without Type=notify", "set Type=notify")
    if unit.last("KillMode") in ("process", "none"):
        yield warning("service", f"{unit.path}: KillMode={unit.last('KillMode')} leaves workers behind", "set KillMode=mixed")


def _check_paths(unit: Unit, settings: Settings) -> Findings:
    if unit.last("ProtectSystem") != "strict":
        return
    writable = [Path(word.lstrip("-+")) for word in unit.words("ReadWritePaths")]
    ledger = Ledger(settings.ledger).file
    needed = {"store_dir": settings.store, "drop_dir": settings.drop, "keys_dir": settings.keys_dir}
    if ledger is not None:
        needed["the ledger's directory"] = ledger.parent
    for name, path in needed.items():
        if not any(path.resolve().is_relative_to(allowed.resolve()) for allowed in writable):
            yield error("service", f"{unit.path}: the server may not write {path} ({name})", f"add {path} to ReadWritePaths")


def seconds(span: str) -> float | None:
    """Return the seconds of a time span as systemd writes it (systemd.time(7)); None for infinity, or what is none."""
    parts = _SPAN.findall(span)
    if not parts or any(unit not in _SPANS for _, unit in parts):
        return None
    return sum(float(number) * _SPANS[unit] for number, unit in parts)


def check_runs(settings: Settings, now: datetime) -> Findings:
    """Yield whether anything runs the tools: a file that waits for longer than a day for a tool that did not run since."""
    pointers = [pointer for pointer in pointers_of(settings) if settings.tools[pointer.tool].enabled]
    with ledger_of_any_version(settings) as ledger:
        if not pointers or ledger is None or not ledger.is_current():
            return
        with ledger.reading() as connection:
            found = overview.waiting(connection)
            last = {pointer.tool: runs.last_of_tool(connection, pointer.tool) for pointer in pointers}
    for pointer in pointers:
        since = min((item.oldest_at for item in found if pointer.fits(item.path)), default=now)
        run = last[pointer.tool]
        if now - max(since, run.started_at if run else since) > RUNS_MISSED_AFTER:
            ran = f"its last run was on {run.started_at:%Y-%m-%d}" if run else "it has never run"
            yield warning(
                "runs",
                f"files wait for tools.{pointer.tool} since {since:%Y-%m-%d}, and {ran}",
                "run `sftpgate run --all` from cron or a timer: `sftpgate service install` makes the timer",
            )
