"""What a server process gives up before it serves: root, core dumps, and everything but its own files.

``become`` and ``hide_memory`` are for the supervisor and the workers, ``confine`` for a worker, which talks with strangers. Each
holds for good. A worker confines itself when its directories are there and before it has a second thread. What is allowed is
allowed to the directories and files that are there at that moment: one that takes the place of another cannot be reached
(``app.serving.sandbox_paths`` notices).
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import sftpgate
from sftpgate.errors import SettingsError
from sftpgate.gateway.workers import landlock
from sftpgate.logs import get_logger
from sftpgate.settings.choices import Sandbox

log = get_logger("gate")

# Where SQLite puts what it sorts and does not find room for in its cache; it would be /var/tmp.
SCRATCH_VARIABLE = "SQLITE_TMPDIR"
_PR_SET_DUMPABLE = 4
# What the C library and Python's own need at any time: names, zones, certificates, devices, what the kernel tells about us and
# about other processes. Of those nothing secret can be read: a confined process may not trace who is not (landlock(7)).
_SYSTEM = (
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/nix/store",
    "/gnu/store",
    "/run/systemd/resolve",
    "/run/systemd/userdb",
    "/run/nscd",
    "/var/lib/sss",
    "/var/lib/ca-certificates",
    "/proc",
    "/sys/devices/system/cpu",
    "/dev/urandom",
)
_OFTEN_LINKS = ("/etc/resolv.conf", "/etc/localtime", "/etc/hosts", "/etc/nsswitch.conf")  # that lead somewhere else
_DEVICES = ("/dev/null",)
_IN_ROOT = 2  # parts of the path of a file in the root directory


def hide_memory() -> None:
    """Write no core dump, which would hold host keys and passwords. Nobody of the same user may look into the process either."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def become(user: str) -> None:
    """Become ``user`` for good, with its groups and no other. Raises SettingsError if that cannot be."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise SettingsError(f"run_as: there is no user {user!r} on this machine") from error
    if os.geteuid() == entry.pw_uid:
        return
    if os.geteuid() != 0:
        raise SettingsError(f"run_as: only root can become {user}; start the server as root, or as {user}")
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def kernel_lacks(version: int | None = None) -> str | None:
    """Return why a kernel with this version of Landlock, ours by default, cannot confine a worker; None if it can."""
    version = landlock.abi_version() if version is None else version
    if not version:
        return "the kernel has no Landlock, or it is switched off"
    if version < landlock.MIN_ABI:
        return "the kernel's Landlock is of a version that lets no file be moved to another directory (before Linux 5.19)"
    return None


def confine(mode: Sandbox, readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Keep this process to what Python and the C library read, and to these directories. False if it is not kept.

    Raises SettingsError if that is required and the kernel cannot.
    """
    if mode is Sandbox.OFF:
        return False
    own = list(writable)
    try:
        if lack := kernel_lacks():
            raise OSError(0, lack)
        if Path("/") in (path.resolve() for path in own):
            raise OSError(0, "the server's directories are everything that there is: one of them is /")
        if len(list(Path("/proc/self/task").iterdir())) > 1:
            raise OSError(0, "there are other threads already")
        landlock.restrict([*_readable(), *readable], [*own, *map(Path, _DEVICES)])
    except OSError as error:
        if mode is Sandbox.REQUIRED:
            raise SettingsError(f'sandbox = "required": {error.strerror}; set it to "auto" to start without') from error
        log.warning("sandbox.none", reason=error.strerror)
        return False
    log.info("sandbox.in_force", abi=landlock.abi_version(), writable=", ".join(map(str, own)))
    return True


def _readable() -> list[Path]:
    """Return where code and what it needs is read from."""
    code = {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix, str(Path(sftpgate.__file__).parent)}
    libraries = [entry for entry in os.environ.get("LD_LIBRARY_PATH", "").split(":") if entry]
    behind_links = [directory_of(Path(name)) for name in _OFTEN_LINKS]
    return [
        *map(Path, _SYSTEM),
        *map(Path, sorted({*code, *libraries})),
        *(Path(entry) for entry in sys.path if entry),
        *behind_links,
    ]


def directory_of(file: Path) -> Path:
    """Return the directory that ``file`` really is in, if others may take its place; the file alone if that is the root."""
    real = file.resolve()
    return real if len(real.parts) <= _IN_ROOT else real.parent
