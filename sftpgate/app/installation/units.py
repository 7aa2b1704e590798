"""The units of systemd that come with the program, made out for one installation.

They lie in ``sftpgate/units``, and stand there for a gate in ``/srv/sftpgate``. What is written here begins with a line that says
so: a unit without it is somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

SERVICE, RUN_SERVICE, RUN_TIMER = "sftpgate.service", "sftpgate-run.service", "sftpgate-run.timer"
NAMES = (SERVICE, RUN_SERVICE, RUN_TIMER)
STARTED = (SERVICE, RUN_TIMER)  # the timer starts the third
WRITTEN = "# Written by `sftpgate service install`. Change it with `systemctl edit`: what is here may be replaced.\n"

_PORT_OF_ROOT = 1024  # ports below it are for a capability
_SHIPPED_FOR = "/srv/sftpgate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """One gate as a service: where its program and its data are, and as whom it runs."""

    program: Path
    directory: Path  # of sftpgate.toml, data and keys
    user: str
    group: str  # whose members may read the store
    host: str
    port: int


def shipped(name: str) -> str:
    """Return a file of ``sftpgate/units`` as it is."""
    return (files("sftpgate") / "units" / name).read_text(encoding="utf-8")


def unit(name: str, installation: Installation) -> str:
    """Return the unit ``name`` for an installation."""
    lines = shipped(name).splitlines(keepends=True)
    return WRITTEN + "".join(_made_out(line, installation) for line in lines if not line.startswith("# sftpgate under systemd"))


def _made_out(line: str, installation: Installation) -> str:
    key, _, _ = line.partition("=")
    port = installation.port
    capability = "CAP_NET_BIND_SERVICE" if port < _PORT_OF_ROOT else ""
    made: dict[str, str] = {
        "User": installation.user,
        "Group": installation.group,
        "SupplementaryGroups": installation.user,
        "Environment": f"SFTPGATE_HOST={installation.host} SFTPGATE_PORT={port}",
        "CapabilityBoundingSet": capability,
        "AmbientCapabilities": capability,
    }
    if key in made:
        return f"{key}={made[key]}\n"
    program = f"{_SHIPPED_FOR}/.venv/bin/sftpgate"
    return line.replace(program, str(installation.program)).replace(_SHIPPED_FOR, str(installation.directory))
