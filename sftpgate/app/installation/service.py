"""``sftpgate service``: from a program that is installed to a service that starts with the machine, and back.

First everything is looked at, and each step is named with what it would do. What stands in the way is an error then, with nothing
done. A step that was done before is not done again, so a second call goes on where a first one was stopped. Nothing that is there
is overwritten: not a settings file, no directory's owner, and no unit that somebody else wrote. Data and keys are never removed.

Needs root. Paths with blanks, and what else units would have to quote, are refused.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sftpgate.app.installation import units
from sftpgate.app.installation.units import Installation
from sftpgate.errors import Refused, SettingsError
from sftpgate.logs import printable
from sftpgate.settings.reading import DEFAULT_CONFIG_NAME
from sftpgate.users.files import write_text

UNITS = Path("/etc/systemd/system")
BOOTED = Path("/run/systemd/system")  # there if systemd runs this machine: sd_booted(3)
COMMAND_SECONDS = 120

_UNIT_MODE = 0o644
_PLAIN_PATH = re.compile(r"/[\w./+-]*", re.ASCII)
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_HIDDEN = (Path("/home"), Path("/root"), Path("/run/user"))  # by ProtectHome= of the unit
_SETTINGS = """\
# The settings of this gate. `sftpgate settings --defaults` lists all of them. Relative paths are relative to this file.
# The unit says host and port: see `systemctl cat sftpgate`.

# A tool is a file in the store and the command that consumes it:
# [tools.enrols]
# file = "enrols.csv"
# command = ["php", "/var/www/platform/enrol.php", "--file={file}"]
"""


@dataclass(frozen=True, slots=True)
class InstallationStep:
    """One thing that is to be done; ``act`` None: it is as it should be."""

    what: str
    act: Callable[[], None] | None


def installing(wanted: Installation, *, start: bool = True) -> list[InstallationStep]:
    """Return the steps to a service; with ``start`` it runs at the end.

    Raises SettingsError if something in the call cannot be, and Refused if the machine is not fit for it.
    """
    _require_sane(wanted)
    _require_systemd(start=start)
    steps = [_account(wanted), *_directories(wanted), _settings_file(wanted), *(_unit(name, wanted) for name in units.NAMES)]
    if start:
        steps.append(InstallationStep(f"start {' and '.join(units.STARTED)}, now and with the machine", _start))
    return steps


def removing() -> list[InstallationStep]:
    """Return the steps from a service back to a program and its data. Raises Refused as ``installing``."""
    _require_root()
    found = [UNITS / name for name in reversed(units.NAMES) if (UNITS / name).is_file()]  # the timer first
    foreign = [path.name for path in found if not path.read_text(encoding="utf-8", errors="replace").startswith(units.WRITTEN)]
    if foreign:
        raise Refused(f"{', '.join(foreign)} in {UNITS} was not written by `sftpgate service install`: remove it by hand")
    _require_writable(UNITS)
    if not found:
        return []
    steps = [InstallationStep(f"stop {path.name}, now and at the next start", partial(_stop, path.name)) for path in found]
    return [
        *steps,
        *(InstallationStep(f"remove {path}", path.unlink) for path in found),
        InstallationStep("tell systemd", _reload),
    ]


def carry_out(steps: Sequence[InstallationStep]) -> Iterator[InstallationStep]:
    """Do the steps one after the other; yield each that was done. Raises Refused with the words of a program that failed."""
    for step in steps:
        if step.act is None:
            continue
        try:
            step.act()
        except OSError as error:
            raise Refused(f"could not {step.what}: {error.strerror or error}") from error
        yield step


# -- what stands in the way ------------------------------------------------------------------------------------------


def _require_root() -> None:
    if os.geteuid() != 0:
        raise Refused("a service of the machine is root's to make: call this with sudo")


def _require_sane(wanted: Installation) -> None:
    for what, path in (("program", wanted.program), ("directory", wanted.directory)):
        if not _PLAIN_PATH.fullmatch(str(path)):
            raise SettingsError(f"the {what} {printable(str(path))} is no absolute path of letters, digits and ./+-_ alone")
        if any(path.is_relative_to(hidden) for hidden in _HIDDEN):
            raise Refused(
                f"the {what} {path} lies where the service may not look (ProtectHome): {_ELSEWHERE[what]}, and call it from there"
            )
    for what, name in (("user", wanted.user), ("group", wanted.group)):
        if not _ACCOUNT.fullmatch(name):
            raise SettingsError(f"{printable(name)} cannot be the name of a {what} of this machine")
    if not 0 < wanted.port < 65536:  # ports have 16 bits
        raise SettingsError(f"{wanted.port} is no port: 1 to 65535")
    if not re.fullmatch(r"[\w.:-]+", wanted.host):
        raise SettingsError(f"{printable(wanted.host)} is no address or host name")
    _require_root()
    _require_usable(wanted.program)
    if wanted.group != wanted.user and not _has_group(wanted.group):
        raise Refused(
            f"there is no group {wanted.group} on this machine: name the one of the platform, which is to read the store"
        )
    account = _account_named(wanted.user)
    if account is not None and account.pw_uid == 0:
        raise Refused(f"the user {wanted.user} is root: a service that strangers reach is not to run as root")


_ELSEWHERE = {
    "program": "install it where everybody may, such as `python3 -m venv /opt/sftpgate`",
    "directory": "take one such as /srv/sftpgate",
}


def _require_usable(program: Path) -> None:
    """Raise Refused if not everybody may execute ``program``."""
    real = program.resolve()
    if not real.is_file():
        raise Refused(f"there is no program {program}")
    closed = [path for path in (*real.parents, real) if not path.stat().st_mode & stat.S_IXOTH]
    if closed:
        raise Refused(f"the service's user may not enter or execute {closed[-1]}: {_ELSEWHERE['program']}")


def _require_systemd(*, start: bool) -> None:
    if start and not BOOTED.is_dir():
        raise Refused(
            "systemd does not run this machine: use cron, or a container (docs/admin.md); --no-start writes the units, "
            "for an image that is being made"
        )
    if not UNITS.is_dir():
        raise Refused(f"there is no directory {UNITS}: systemd is not installed")
    _require_writable(UNITS)


def _require_writable(directory: Path) -> None:
    if not os.access(directory, os.W_OK):
        raise Refused(f"{directory} cannot be written to: its filesystem is read-only")


# -- the steps -------------------------------------------------------------------------------------------------------


def _account(wanted: Installation) -> InstallationStep:
    account = _account_named(wanted.user)
    if account is not None:
        return InstallationStep(f"user {wanted.user} is there (uid {account.pw_uid})", None)
    command = [
        *("useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(wanted.directory)),
        *("--shell", "/usr/sbin/nologin", wanted.user),
    ]
    return InstallationStep(f"make the system user {wanted.user}, who cannot log in", lambda: _call(*command))


def _directories(wanted: Installation) -> Iterator[InstallationStep]:
    yield _directory(wanted.directory, "root", "root", 0o755)
    yield _directory(wanted.directory / "data", wanted.user, wanted.group, 0o750)
    yield _directory(wanted.directory / "keys", wanted.user, wanted.user, 0o700)


def _directory(path: Path, user: str, group: str, mode: int) -> InstallationStep:
    if path.is_dir():
        if user != "root":
            _require_owned(path, user)
        return InstallationStep(f"{path} is there, and stays as it is", None)
    if path.exists() or path.is_symlink():
        raise Refused(f"{path} is in the way: it is no directory")

    def make() -> None:
        path.mkdir(mode=mode, parents=True)
        shutil.chown(path, user, group)
        path.chmod(mode)

    return InstallationStep(f"make {path}, of {user} and the group {group}, mode {mode:04o}", make)


def _require_owned(path: Path, user: str) -> None:
    """Raise Refused if ``path`` belongs to another user; whoever is not made yet has nothing."""
    account = _account_named(user)
    if account is None or path.stat().st_uid != account.pw_uid:
        raise Refused(
            f"{path} belongs to somebody else than {user}, as whom the service would run: name its owner with --user, or give it "
            f"away first (chown -R {user} {path})"
        )


def _settings_file(wanted: Installation) -> InstallationStep:
    path = wanted.directory / DEFAULT_CONFIG_NAME
    if path.exists():
        return InstallationStep(f"{path} is there, and stays as it is", None)

    def write() -> None:
        write_text(path, _SETTINGS, mode=0o640)
        shutil.chown(path, "root", wanted.user)  # it may come to hold a password of the ledger's

    return InstallationStep(f"write {path}, with an example in comments", write)


def _unit(name: str, wanted: Installation) -> InstallationStep:
    path, text = UNITS / name, units.unit(name, wanted)
    there = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
    if there == text:
        return InstallationStep(f"{path} is there", None)
    if there is None:
        return InstallationStep(f"write {path}", lambda: write_text(path, text, mode=_UNIT_MODE))
    if not there.startswith(units.WRITTEN):
        raise Refused(f"{path} is there, and somebody else wrote it: rename it, or go on without this command")
    return InstallationStep(
        f"write {path} anew: it was written for another version or in another call",
        lambda: write_text(path, text, mode=_UNIT_MODE),
    )


def _start() -> None:
    _reload()
    _call("systemctl", "enable", "--now", *units.STARTED)


def _stop(name: str) -> None:
    _call("systemctl", "disable", *(["--now"] if BOOTED.is_dir() else []), name)


def _reload() -> None:
    if BOOTED.is_dir():
        _call("systemctl", "daemon-reload")


# -- this machine ----------------------------------------------------------------------------------------------------


def _account_named(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _call(*command: str) -> None:
    """Run a program of the machine. Raises Refused with its words if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except FileNotFoundError as error:
        raise Refused(f"the program {command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise Refused(f"`{' '.join(command)}` did not end within {COMMAND_SECONDS} seconds") from error
    if done.returncode:
        raise Refused(f"`{' '.join(command)}` failed: {printable(done.stderr.strip() or str(done.returncode))}")
